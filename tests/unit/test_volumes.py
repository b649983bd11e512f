"""Mapping, windowing and resampling of volumes, with answers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from spinegrade.convert.nifti import write_volume
from spinegrade.geometry.affine import affine_from_dicom, to_mm
from spinegrade.volumes import open_volume, resample_grid, window


def ramp(shape: tuple[int, int, int]) -> np.ndarray:
    """Values 100 z + 10 y + x: linear, so that trilinear interpolation is exact."""
    z, y, x = np.indices(shape)
    return (100 * z + 10 * y + x).astype(np.uint16)


AFFINE = affine_from_dicom([1, 0, 0, 0, 1, 0], [0.5, 0.25], [-3.0, 4.0, 5.0], [0.0, 0.0, 4.0])


def shifted(x: float, y: float, z: float, scale: float = 1.0) -> np.ndarray:
    """A grid like the volume's that starts at voxel (x, y, z), with steps times ``scale``."""
    grid = AFFINE.copy()
    grid[:3, 3] = to_mm(AFFINE, [[x, y, z]])[0]
    grid[:3, :2] *= scale
    return grid


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_a_written_volume_maps_back(tmp_path: Path, dtype: str) -> None:
    volume = ramp((3, 4, 5)).astype(dtype)
    write_volume(tmp_path / "v.nii", volume, AFFINE, 0, 9)
    mapped = open_volume(tmp_path / "v.nii")
    assert mapped.dtype == np.dtype(dtype) and mapped.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(mapped, volume)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 0


def test_a_broken_volume_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "v.nii"
    with refused("VOLUME_MISSING", path):
        open_volume(path)
    path.write_bytes(b"short")
    with refused("VOLUME_DAMAGED", path):
        open_volume(path)
    write_volume(path, ramp((3, 4, 5)), AFFINE, 0, 9)
    path.write_bytes(path.read_bytes()[:-1])
    with refused("VOLUME_DAMAGED", path, 471, 472):
        open_volume(path)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_window_is_linear_and_clipped(dtype: str) -> None:
    values = np.array([[0, 100, 150, 200, 999]], dtype)
    assert window(values, 100, 200).tolist() == [[0, 0, 128, 255, 255]]
    assert window(values, 5, 5).tolist() == [[0] * 5]


def test_window_of_negative_integers() -> None:
    assert window(np.array([-1000, 0, 1000], np.int16), -1000, 1000).tolist() == [0, 128, 255]


def test_a_grid_on_the_voxels_returns_them() -> None:
    volume = ramp((4, 6, 7))
    np.testing.assert_array_equal(resample_grid(volume, AFFINE, AFFINE, volume.shape), volume)


@pytest.mark.parametrize("dtype", ["uint16", "int32"])  # the fast way and the general one
def test_a_grid_between_the_voxels_is_interpolated(dtype: str) -> None:
    found = resample_grid(
        ramp((4, 6, 7)).astype(dtype), AFFINE, shifted(1.5, 2.25, 0.5, 0.5), (3, 4, 5)
    )
    z, y, x = np.indices((3, 4, 5))
    expected = 100 * (0.5 + z) + 10 * (2.25 + 0.5 * y) + (1.5 + 0.5 * x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_outside_is_filled_or_repeats_the_edge(dtype: str) -> None:
    volume = ramp((2, 3, 3)).astype(dtype)
    grid = shifted(-1, 0, -1)
    filled = resample_grid(volume, AFFINE, grid, (4, 3, 3), fill=7.0)
    assert (filled[0] == 7).all() and (filled[3] == 7).all() and (filled[:, :, 0] == 7).all()
    np.testing.assert_array_equal(filled[1:3, :, 1:], volume[:, :, :2])
    edge = resample_grid(volume, AFFINE, grid, (4, 3, 3), fill=None)
    np.testing.assert_array_equal(edge[0], edge[1])
    np.testing.assert_array_equal(edge[3], edge[2])
    np.testing.assert_array_equal(edge[1:3, :, 0], volume[:, :, 0])


def test_a_grid_turned_in_the_plane_and_one_across_it() -> None:
    volume = ramp((4, 8, 8))
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    turned = affine.copy()  # a quarter turn: grid x runs along volume y
    turned[:3, 0], turned[:3, 1] = [0, 1, 0], [1, 0, 0]
    np.testing.assert_allclose(
        resample_grid(volume, affine, turned, (4, 8, 8)), volume.swapaxes(1, 2), atol=1e-3
    )
    across = affine.copy()  # grid y runs through the slices
    across[:3, 1], across[:3, 2] = [0, 0, 1], [0, 1, 0]
    np.testing.assert_allclose(
        resample_grid(volume, affine, across, (8, 4, 8)), volume.swapaxes(0, 1), atol=1e-3
    )
