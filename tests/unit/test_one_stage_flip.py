"""Reversed slices: what a network that treats both sides alike gives back when it is undone."""

from __future__ import annotations

import pytest
import torch
from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.flip import Outputs, mean_of_both, reverse_slices, undo_reversal

MIRROR = (1, 0)  # a left point and a right one
LENGTHS = [5, 4]


def volumes() -> torch.Tensor:
    """Packed slices (9, 4, 4), from right to left, with one bright pixel a side."""
    slices = torch.zeros(9, 4, 4)
    slices[4, 1, 2], slices[1, 3, 0] = 0.9, 0.5  # left in the last slice, right in slice 1
    slices[5 + 3, 0, 1], slices[5 + 0, 2, 2] = 0.3, 0.7
    return slices


def both_sides(slices: torch.Tensor) -> Outputs:
    """Left is the brightest pixel of the later half, right that of the earlier; graded by it."""
    points, grades = [], []
    for volume in slices.split(LENGTHS):
        half = len(volume) // 2
        for first, part in ((len(volume) - half, volume[len(volume) - half :]), (0, volume[:half])):
            place = int(part.argmax())
            points.append([place % 4, place // 4 % 4, first + place // 16])
            grades.append([1 - float(part.max()), float(part.max()), 0.0])
    shape = (len(LENGTHS), 2, 3)
    return Outputs(torch.tensor(points).float().view(shape), torch.tensor(grades).view(shape))


def test_undone_outputs_are_those_of_the_slices_in_order() -> None:
    straight = both_sides(volumes())
    assert straight.points[0].tolist() == [[2, 1, 4], [0, 3, 1]]
    reverse = both_sides(reverse_slices(volumes(), LENGTHS))
    # Mirrored, the right point of slice 1 is a left one in slice 5 - 1 - 1.
    assert reverse.points[0].tolist() == [[0, 3, 3], [2, 1, 0]]
    back = undo_reversal(reverse, LENGTHS, MIRROR)
    assert torch.equal(back.points, straight.points)
    assert torch.equal(back.grades, straight.grades)
    mean = mean_of_both(straight, reverse, LENGTHS, MIRROR)
    torch.testing.assert_close(mean.points, straight.points)
    torch.testing.assert_close(mean.grades, straight.grades)


def test_published_means_pull_every_point_into_the_middle_slice() -> None:
    straight = both_sides(volumes())
    reverse = both_sides(reverse_slices(volumes(), LENGTHS))
    mean = mean_of_both(straight, reverse, LENGTHS, MIRROR, slices="published")
    # z and D - 1 - z: the mean is (D - 1) / 2 for 5 and for 4 slices, whatever z was.
    assert mean.points[..., 2].tolist() == [[2.0, 2.0], [1.5, 1.5]]
    torch.testing.assert_close(mean.points[..., :2], straight.points[..., :2])
    torch.testing.assert_close(mean.grades, straight.grades)


def test_central_points_keep_their_places() -> None:
    outputs = Outputs(torch.tensor([[[1.0, 2.0, 0.0], [3.0, 4.0, 3.0]]]), torch.rand(1, 2, 3))
    back = undo_reversal(outputs, [5], (0, 1))
    assert back.points.tolist() == [[[1.0, 2.0, 4.0], [3.0, 4.0, 1.0]]]
    assert torch.equal(back.grades, outputs.grades)


def test_wrong_lengths_and_words_are_refused() -> None:
    with pytest.raises(SpinegradeError, match=r"9 packed slices, .*\[5, 5\]"):
        reverse_slices(volumes(), [5, 5])
    with pytest.raises(SpinegradeError, match="slices is 'kept'; allowed: undone, published"):
        undo_reversal(both_sides(volumes()), LENGTHS, MIRROR, "kept")
