"""Writing a volume as an uncompressed NIfTI-1 file that viewers open the right way round."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from spinegrade.geometry.affine import Affine, to_ras
from spinegrade.geometry.rigid import corners_apart_mm, nearest_rigid
from spinegrade.runtime.files import atomic_path

_HEADER_BYTES = 352
# Readers of the qform may see a corner voxel so far from its place, in pixels.
QFORM_MOVE_PX = 0.5
# Below this square of its first number nifti_clib, which ITK reads with, takes a turn for one of
# 180 degrees. nibabel does not.
_HALF_TURN = 1e-7


def write_volume(
    path: str | Path, volume: NDArray[np.generic], affine: Affine, low: float, high: float
) -> None:
    """Write ``volume`` (z, y, x) with its LPS ``affine``; ``low``, ``high``: display window.

    NIfTI's first axis varies fastest, so the C-ordered (z, y, x) array is written as it lies
    and read back as (x, y, z). Where it lies is written as ``place_header`` says. No text from
    the DICOM header is copied.
    """
    header, _ = place_header(affine, volume.shape)
    header.set_data_dtype(volume.dtype)
    header.set_xyzt_units("mm")
    header["vox_offset"] = _HEADER_BYTES
    header["cal_min"], header["cal_max"] = low, high
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header.binaryblock.ljust(_HEADER_BYTES, b"\0"))
        np.ascontiguousarray(volume).tofile(file)


def place_header(affine: Affine, shape: tuple[int, ...]) -> tuple[nibabel.Nifti1Header, float]:
    """A header that says where (slices, rows, columns) of an LPS ``affine`` lie; and a distance.

    Both transforms are in NIfTI's RAS frame, in scanner coordinates. The sform is the affine
    itself. A quaternion knows no shear: the qform is the nearest rigid one. It is marked unknown
    where a corner voxel would move by more than half a pixel. The distance is how far in mm the
    worst corner voxel lies from its place for a reader of that quaternion, written or not.
    """
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape[::-1])
    ras = to_ras(affine)
    header.set_sform(ras, code="scanner")
    header.set_qform(nearest_rigid(ras, shape), code="scanner")
    moved_mm = max(corners_apart_mm(seen, ras, shape) for seen in _as_seen(header))
    if moved_mm > QFORM_MOVE_PX * np.linalg.norm(affine[:3, :2], axis=0).min():
        header.set_qform(None, code="unknown")
    return header, moved_mm


def _as_seen(header: nibabel.Nifti1Header) -> Iterator[Affine]:
    """The qform as nibabel and as nifti_clib read it: single precision leaves them apart."""
    qform = header.get_qform()
    yield qform
    vector = np.array([header[f"quatern_{name}"] for name in "bcd"], float)
    if 1 - vector @ vector < _HALF_TURN:
        sizes = header["pixdim"][1:4] * [1, 1, header["pixdim"][0]]
        turned = qform.copy()
        turned[:3, :3] = Rotation.from_quat([*vector, 0.0]).as_matrix() * sizes
        yield turned
