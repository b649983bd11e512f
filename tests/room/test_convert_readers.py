"""Affines from pixels to patient space and back, and as other readers see them in NIfTI."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from spinegrade.convert.nifti import write_volume
from spinegrade.geometry.affine import (
    affine_from_columns,
    affine_from_dicom,
    affine_to_columns,
    to_mm,
    to_pixels,
)

BOUNDED = settings(
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def corners_px(shape: tuple[int, int, int]) -> np.ndarray:
    """The eight corner voxels (x, y, index) of (slices, rows, cols)."""
    return np.array(list(itertools.product(*((0.0, size - 1.0) for size in shape[::-1]))))


def affine_of(turn: np.ndarray, drawn: dict) -> np.ndarray:
    """Slices in the first two columns of ``turn``, of the drawn spacing, step and place."""
    step = turn[:, 2] * drawn["step"] * drawn["flip"]
    return affine_from_dicom(turn[:, :2].T.ravel(), drawn["spacing"], drawn["first"], step)


GEOMETRY = {
    "turn": st.tuples(*[st.floats(-180, 180)] * 3),
    "spacing": st.tuples(*[st.floats(0.2, 5.0)] * 2),
    "step": st.floats(0.2, 5.0),
    "flip": st.sampled_from((-1.0, 1.0)),
    "first": st.tuples(*[st.floats(-1000, 1000)] * 3),
    "shape": st.tuples(st.integers(1, 200), st.integers(1, 1024), st.integers(1, 1024)),
}


@settings(BOUNDED, max_examples=300)
@given(drawn=st.fixed_dictionaries(GEOMETRY))
def test_pixel_to_mm_and_back(drawn: dict) -> None:
    affine = affine_of(Rotation.from_euler("xyz", drawn["turn"], degrees=True).as_matrix(), drawn)
    affine = affine_from_columns(affine_to_columns(affine))
    slices, rows, cols = drawn["shape"]
    points = np.array(
        [(x, y, z) for z in range(slices) for x in (0, cols - 1) for y in (0, rows - 1)], float
    )
    np.testing.assert_allclose(to_pixels(affine, to_mm(affine, points)), points, atol=1e-6)


def read_back(folder: Path, affine: np.ndarray) -> tuple[nibabel.Nifti1Image, SimpleITK.Image]:
    """A written volume as other readers see it. Two voxels a side: the transform is the same."""
    path = folder / "volume.nii"
    write_volume(path, np.zeros((2, 2, 2), np.int16), affine, 0.0, 1.0)
    return nibabel.load(path), SimpleITK.ReadImage(str(path))


def off_mm(theirs: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int]) -> float:
    """The greatest distance along an axis between a corner in RAS and where it lies."""
    corners = corners_px(shape)
    return float(np.abs(to_mm(theirs, corners) * [-1, -1, 1] - to_mm(affine, corners)).max())


def itk_affine(image: SimpleITK.Image) -> np.ndarray:
    """SimpleITK's transform in RAS, as nibabel gives it."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


# NIfTI keeps single precision. Half a unit in the last place times the index is 1e-4 mm and
# more where a volume is wider than half a metre (5 mm x 1024 pixels: 2.5e-4 mm), so that the
# field of view is bounded here by what a scanner has.
@settings(BOUNDED, max_examples=250)
@given(drawn=st.fixed_dictionaries(GEOMETRY), wide_mm=st.floats(100.0, 500.0))
def test_other_readers_agree_on_corners(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict, wide_mm: float
) -> None:
    turn = Rotation.from_euler("xyz", drawn["turn"], degrees=True).as_matrix()
    affine = affine_of(turn, drawn)
    steps = (drawn["step"], *drawn["spacing"])
    pairs = zip(drawn["shape"], steps, strict=True)
    shape = tuple(max(min(size, int(wide_mm / step)), 1) for size, step in pairs)
    image, itk = read_back(tmp_path_factory.getbasetemp(), affine)
    assert off_mm(image.get_sform(), affine, shape) <= 1e-4
    assert off_mm(image.affine, affine, shape) <= 1e-4
    assert off_mm(itk_affine(itk), affine, shape) <= 1e-4


@settings(BOUNDED, max_examples=100)
@given(
    drawn=st.fixed_dictionaries({**GEOMETRY, "turn": st.tuples(*[st.floats(-15, 15)] * 3)}),
)
def test_the_quaternion_of_sagittal_stacks_agrees(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict
) -> None:
    # As scanners write them: rows to the back, columns to the feet.
    upright = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    turn = Rotation.from_euler("xyz", drawn["turn"], degrees=True).as_matrix() @ upright
    drawn = {**drawn, "first": np.array(drawn["first"]) / 2}
    affine = affine_of(turn, drawn)
    shape = tuple(int(200 / step) for step in (4 * drawn["step"], *drawn["spacing"]))
    image, _ = read_back(tmp_path_factory.getbasetemp(), affine)
    assert off_mm(image.get_qform(), affine, shape) <= 1e-4


def axial(tilt: float, shear: float, skew: float) -> np.ndarray:
    """Axial slices of 0.6 mm pixels, 4 mm apart: tilted, shifted (degrees), not square."""
    turn = Rotation.from_euler("xyz", [tilt, 1.3, 2.1], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, 0] = turn[:, 0] * 0.6
    affine[:3, 1] = (turn[:, 1] * np.cos(skew) + turn[:, 0] * np.sin(skew)) * 0.6
    angle = np.radians(shear)
    affine[:3, 2] = (turn[:, 2] * np.cos(angle) + turn[:, 1] * np.sin(angle)) * 4.0
    return affine


# 40 slices 4 mm apart of 384 x 384 px of 0.6 mm: half a pixel is 0.27 degrees of shear.
@pytest.mark.parametrize(
    ("tilt", "shear", "skew", "code"),
    [
        *((7.0, 0.0, 0.0, 1), (0.0, 0.2, 0.0, 1), (0.0, 0.5, 0.0, 0)),
        *((0.0, 0.0, 0.002, 1), (0.0, 0.0, 0.005, 0)),
    ],
)
def test_a_quaternion_is_within_half_a_pixel_or_marked_unknown(
    tmp_path: Path, tilt: float, shear: float, skew: float, code: int
) -> None:
    affine = axial(tilt, shear, skew)
    volume = np.zeros((40, 384, 384), np.uint8)
    path = tmp_path / "volume.nii"
    write_volume(path, volume, affine, 0.0, 1.0)
    image = nibabel.load(path)
    assert off_mm(image.get_sform(), affine, volume.shape) <= 1e-4
    quaternion, found = image.get_qform(coded=True)
    assert found == code
    assert not code or off_mm(quaternion, affine, volume.shape) <= 0.3
