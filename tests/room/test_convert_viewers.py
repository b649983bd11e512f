"""Volumes as others open them: the same voxels at the same places, sheared stacks too.

Every voxel holds a linear function of where it lies in the patient, so that a volume that is
turned, mirrored or moved shows. MONAI and TorchIO are asked where they are installed
(``pip install -r benchmarks/requirements.txt``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from scanner_helpers import Acquisition, add_pixels, file_bytes, orientations, slice_dataset
from scipy.spatial.transform import Rotation
from spinegrade.convert.series import Converted, SeriesSource, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.survey import survey_series
from spinegrade.geometry.affine import affine_from_columns, to_mm
from spinegrade.geometry.rigid import corner_voxels
from spinegrade.geometry.stacks import unit_orientation

SLOPE = np.array([2.0, 3.0, 5.0])  # of the field, a millimetre
SAGITTAL, AXIAL = orientations("HFS", "sagittal")[1], orientations("HFS", "axial")[0]
CORONAL = np.array([1.0, 0.0, 0.0, 0.0, 0.0, -1.0])
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned(orientation: np.ndarray, *degrees: float) -> np.ndarray:
    turn = Rotation.from_euler("xyz", degrees, degrees=True)
    return turn.apply(orientation.reshape(2, 3)).ravel()


@dataclass(frozen=True)
class Kind:
    """A stack as a scanner or an archive writes it; ``decimals``: of positions, orientations."""

    orientation: np.ndarray
    plane: str | None = None
    spacing: tuple[float, float] = (0.7, 0.7)
    step_mm: float = 4.0
    shape: tuple[int, int, int] = (8, 40, 36)
    bits: tuple[int, int, bool] = (16, 16, True)
    decimals: tuple[int, int] = (9, 9)
    shear_degrees: float = 0.0
    backwards: bool = False
    headers: dict[str, object] = field(default_factory=dict)


SHORT = (5, 320, 320)
KINDS = {
    "sagittal": Kind(SAGITTAL, "sagittal"),
    "axial": Kind(AXIAL, "axial"),
    "axial, numbered downwards": Kind(AXIAL, "axial", backwards=True),
    "coronal": Kind(CORONAL, "coronal"),
    "oblique": Kind(turned(AXIAL, 17, 0, 0), "axial"),
    "hardly oblique": Kind(turned(AXIAL, 0.02, 0, 0), "axial", shape=SHORT, spacing=(0.5, 0.5)),
    "doubly oblique": Kind(turned(SAGITTAL, 12, -9, 21), "sagittal"),
    "not square": Kind(turned(AXIAL, -11, 4, 0), "axial", spacing=(0.9, 0.4), step_mm=6.5),
    "one slice": Kind(turned(AXIAL, -11, 4, 0), "axial", shape=(1, 40, 36)),
    "one row": Kind(turned(SAGITTAL, -11, 4, 0), "sagittal", shape=(5, 1, 36)),
    "unsigned": Kind(turned(CORONAL, 5, 0, 0), "coronal", bits=(16, 16, False)),
    "fractions": Kind(turned(AXIAL, 5, 0, 0), "axial", headers={"RescaleSlope": "0.5"}),
    "positions of two decimals": Kind(
        turned(AXIAL, 13.1, 2, 0), "axial", shape=SHORT, spacing=(0.5, 0.5), decimals=(2, 9)
    ),
    "orientations of three decimals": Kind(
        turned(AXIAL, 17.3, 3, 0), "axial", shape=SHORT, spacing=(0.5, 0.5), decimals=(9, 3)
    ),
    "both, sagittal": Kind(
        turned(SAGITTAL, 7.3, 3, 2), "sagittal", shape=SHORT, spacing=(0.5, 0.5), decimals=(2, 3)
    ),
    "gantry tilt": Kind(AXIAL, "axial", shape=(30, 64, 64), shear_degrees=0.4),
    "gantry tilt the other way": Kind(AXIAL, "axial", shape=(30, 64, 64), shear_degrees=-0.4),
    "gantry tilt at the limit": Kind(
        turned(AXIAL, 9, 2, 0), "axial", shape=(8, 40, 36), shear_degrees=0.999
    ),
    "gantry tilt, hardly oblique": Kind(
        turned(AXIAL, 0.02, 0, 0), "axial", shape=SHORT, spacing=(0.5, 0.5), shear_degrees=0.5
    ),
}
SHEARED = {name for name in KINDS if "decimals" in name or "gantry" in name or "both" in name}


def rounded(values: np.ndarray, decimals: int) -> list[str]:
    return [f"{value:.{decimals}f}" for value in values]


def convert(folder: Path, kind: Kind) -> tuple[SeriesSource, Converted]:
    """Write the stack's files with the field of their own headers, and convert them."""
    scan = Acquisition(
        kind.orientation, kind.spacing, kind.step_mm, kind.shape, (13.7, -42.1, 8.3), kind.backwards
    )
    along = np.tan(np.radians(kind.shear_degrees)) * kind.step_mm * kind.orientation[3:]
    (folder / "in").mkdir()
    for place, first in enumerate(scan.firsts_mm):
        data = slice_dataset(scan, place, place + 1, kind.bits)
        data.ImagePositionPatient = rounded(first + place * along, kind.decimals[0])
        data.ImageOrientationPatient = rounded(kind.orientation, kind.decimals[1])
        for keyword, value in kind.headers.items():
            setattr(data, keyword, value)
        axes = unit_orientation(np.array(data.ImageOrientationPatient, float))
        row, column = axes.reshape(2, 3)
        y, x = np.mgrid[: kind.shape[1], : kind.shape[2]][..., None] * 1.0
        places = np.array(data.ImagePositionPatient, float) + column * kind.spacing[0] * y
        places = places + row * kind.spacing[1] * x
        values = (places @ SLOPE + 2000) / float(getattr(data, "RescaleSlope", 1))
        add_pixels(data, [np.rint(values).astype(np.int64)])
        (folder / "in" / f"{place}.dcm").write_bytes(file_bytes(data, "1.2.840.10008.1.2.1"))
    source = SeriesSource("1", "2", "train", kind.plane, "t2", folder / "in")
    settings = ConvertSettings(min_slices=1)
    return source, convert_series(source, folder / "out", settings)


Seen = tuple[np.ndarray, np.ndarray]  # voxels (z, y, x) and the affine to LPS mm


def by_simpleitk(path: Path) -> Seen:
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), affine


def by_nibabel(path: Path) -> Seen:
    image = nibabel.load(path)
    return np.asarray(image.dataobj).T, RAS @ image.affine


def by_qform(path: Path) -> Seen:
    image = nibabel.load(path)
    return np.asarray(image.dataobj).T, RAS @ image.get_qform()


def by_monai(path: Path) -> Seen:
    transforms = pytest.importorskip("monai.transforms", reason="monai is not installed")
    image = transforms.LoadImage(image_only=True)(str(path))
    return image.numpy().T, RAS @ image.affine.numpy()


def by_torchio(path: Path) -> Seen:
    torchio = pytest.importorskip("torchio", reason="torchio is not installed")
    image = torchio.ScalarImage(path)
    return image.data[0].numpy().T, RAS @ np.asarray(image.affine)


SFORM: dict[str, Callable[[Path], Seen]] = {"nibabel": by_nibabel, "monai": by_monai}
QFORM: dict[str, Callable[[Path], Seen]] = {
    "SimpleITK": by_simpleitk,
    "the quaternion": by_qform,
    "torchio": by_torchio,
}


@pytest.mark.parametrize("reader", [*SFORM, *QFORM])
@pytest.mark.parametrize("name", KINDS)
def test_every_reader_sees_every_voxel_in_its_place(tmp_path: Path, name: str, reader: str) -> None:
    kind = KINDS[name]
    _, result = convert(tmp_path, kind)
    (row,) = result.stacks
    path = tmp_path / "out" / row["volume"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are not the subject
        voxels, affine = (SFORM | QFORM)[reader](path)
    np.testing.assert_array_equal(voxels, np.asarray(nibabel.load(path).dataobj).T)
    assert voxels.shape == kind.shape
    # The place: that of the headers, which the table holds in double precision.
    true, corners = affine_from_columns(row), corner_voxels(kind.shape)
    apart = np.linalg.norm(to_mm(affine, corners) - to_mm(true, corners), axis=1).max()
    allowed = 1e-3 if reader in SFORM else min(kind.spacing) / 2
    assert apart <= allowed
    # Not turned, not mirrored: each voxel says itself where it lies. Rounding of positions makes
    # single slices stand off the even line.
    index, y, x = np.indices(kind.shape)
    places = to_mm(affine, np.stack([x.ravel(), y.ravel(), index.ravel()], axis=1))
    off = np.abs(places @ SLOPE + 2000 - voxels.ravel()).max()
    assert off <= 0.51 + np.linalg.norm(SLOPE) * (allowed + 2 * 10.0 ** -kind.decimals[0])


@pytest.mark.parametrize("name", KINDS)
def test_a_shear_is_told_and_costs_nothing(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    source, result = convert(tmp_path, kind)
    (row,) = result.stacks
    surveyed = survey_series(source, ConvertSettings(min_slices=1))
    assert surveyed.rejected == result.rejected
    assert surveyed.verdict["verdict"] == "good"
    assert row["slices"] == kind.shape[0]
    codes = [note["code"] for note in result.rejected]
    assert codes == ["SHEARED"] * (name in SHEARED)
    if kind.shear_degrees:
        assert row["shear_degrees"] == pytest.approx(abs(kind.shear_degrees), abs=1e-4)
    elif name not in SHEARED:
        assert row["shear_degrees"] < 1e-4


def test_beyond_half_a_pixel_no_qform_is_written_and_the_note_says_so(tmp_path: Path) -> None:
    kind = Kind(AXIAL, "axial", shape=(40, 128, 128), shear_degrees=0.9)
    source, result = convert(tmp_path, kind)
    (row,), (note,) = result.stacks, result.rejected
    image = nibabel.load(tmp_path / "out" / row["volume"])
    assert image.get_qform(coded=True)[1] == 0
    assert image.get_sform(coded=True)[1] == 1
    true, corners = affine_from_columns(row), corner_voxels(kind.shape)
    seen = to_mm(RAS @ image.affine, corners)
    np.testing.assert_allclose(seen, to_mm(true, corners), atol=1e-3)
    # By hand: the turn that shares the shear out leaves a corner off by its angle times
    # h k / sqrt(h^2 + k^2), h and k being half of the stack's extent across and along.
    across, along = 127 * 0.7 / 2, 39 * 4.0 / 2
    moved = np.radians(0.9) * across * along / np.hypot(across, along)
    assert note["code"] == "NO_QFORM"
    told = float(note["found"].split("up to ")[1].split(" mm")[0])
    assert told == pytest.approx(moved, rel=0.01)
    assert "half a pixel is 0.350 mm" in note["found"]
    assert survey_series(source, ConvertSettings()).verdict["verdict"] == "partial"
