"""What disturbs one-stage images, by OpenCV and by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from learner_blocks import of_volumes
from spinegrade.grade.volumes.augment import disturbed
from spinegrade.grade.volumes.augmentation import augmentation_of
from spinegrade.imaging.disturb import (
    filtered,
    gaussian_filtered,
    median_filtered,
    motion_kernel,
)

IMAGE = 64
STILL_BRIGHT = augmentation_of(of_volumes("foraminal", IMAGE, brightness_contrast=1.0))


def test_brightness_and_contrast_by_hand() -> None:
    grey = torch.zeros(1, 4, 4)  # 0.5 of the range
    most = [0.0, 1.0, 1.0, 1.0, *[0.0] * 7]
    # 0.5 times 1.2 plus 0.2 is 0.8 of the range.
    torch.testing.assert_close(disturbed(grey.clone(), STILL_BRIGHT, most), grey + 0.6)
    least = [0.0, 0.0, 0.0, 1.0, *[0.0] * 7]
    torch.testing.assert_close(disturbed(grey.clone(), STILL_BRIGHT, least), grey - 0.6)
    assert disturbed(grey + 1, STILL_BRIGHT, most).max() == 1


@pytest.mark.parametrize("size", [3, 5])
def test_blurs_are_those_of_opencv(size: int) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (2, 20, 24), dtype=np.uint8)
    slices = torch.from_numpy(grey).float() / 127.5 - 1
    median = (median_filtered(slices, size) + 1) * 127.5
    gaussian = (gaussian_filtered(slices, size) + 1) * 127.5
    for place in range(2):
        assert np.array_equal(median[place].round().numpy(), cv2.medianBlur(grey[place], size))
        smooth = cv2.GaussianBlur(grey[place].astype(np.float32), (size, size), 0)
        np.testing.assert_allclose(gaussian[place].numpy(), smooth, atol=0.05)


def test_a_motion_blur_stays_in_the_middle_unless_shifted() -> None:
    row = motion_kernel(3, (0, 0, 2, 0))
    torch.testing.assert_close(row[1], torch.full((3,), 1 / 3, dtype=torch.float64))
    place = torch.arange(5, dtype=torch.float64) - 2
    for ends in ((0, 0, 4, 1), (3, 4, 3, 0), (0, 0, 1, 0), (4, 4, 1, 3)):
        centred, shifted = (motion_kernel(5, ends, how) for how in ("centred", "shifted"))
        for kernel, middle in ((centred, (0.0, 0.0)), (shifted, None)):
            x, y = (kernel.sum(0) * place).sum(), (kernel.sum(1) * place).sum()
            wanted = middle or ((ends[0] + ends[2]) / 2 - 2, (ends[1] + ends[3]) / 2 - 2)
            assert (x.item(), y.item()) == pytest.approx(wanted, abs=1e-9)
            assert kernel.sum() == pytest.approx(1)
    dot = torch.zeros(1, 9, 9)
    dot[0, 4, 4] = 1.0
    # The weights of a kernel's right column bring what lies to the right: the dot goes left.
    assert filtered(dot, motion_kernel(3, (2, 0, 2, 2), "shifted"))[0, 4, 3] == pytest.approx(1 / 3)


def test_lengths_shrink_with_the_canvas() -> None:
    # They are settled for a canvas of 512.
    half = augmentation_of(of_volumes()).limits(256)
    assert (half.shift_px, half.inlier_px) == (5.0, 1.5)
    assert (half.border_px, half.corner_border_px) == (2.5, 2.5)
    assert augmentation_of(of_volumes("canal")).mirror == tuple(range(5))
    kept = augmentation_of(of_volumes(as_published=["recentre", "motion", "mask_offset"]))
    assert (kept.recentre, kept.motion, kept.mask_offset) == ("published", "shifted", "published")
