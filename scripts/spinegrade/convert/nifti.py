"""Writing a volume as an uncompressed NIfTI-1 file that viewers open the right way round."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from spinegrade.geometry.affine import Affine, to_ras
from spinegrade.runtime.files import atomic_path

_HEADER_BYTES = 352
_QFORM_TOLERANCE_MM = 1e-4


def write_volume(
    path: str | Path, volume: NDArray[np.generic], affine: Affine, low: float, high: float
) -> None:
    """Write ``volume`` (z, y, x) with its LPS ``affine``; ``low``, ``high``: display window.

    NIfTI's first axis varies fastest, so the C-ordered (z, y, x) array is written as it lies
    and read back as (x, y, z). The affine goes to sform and, where a quaternion can say it to
    a ten-thousandth of a millimetre, to qform, in NIfTI's RAS frame, in scanner coordinates.
    No text from the DICOM header is copied.
    """
    header = nibabel.Nifti1Header()
    header.set_data_dtype(volume.dtype)
    header.set_data_shape(volume.shape[::-1])
    ras = to_ras(affine)
    header.set_sform(ras, code="scanner")
    header.set_qform(ras, code="scanner", strip_shears=True)
    if _apart_mm(header.get_qform(), ras, volume.shape) > _QFORM_TOLERANCE_MM:
        # A quaternion knows no shear, and in single precision no small angle on a wide image:
        # better marked unknown than followed by a reader that asks it first.
        header.set_qform(None, code="unknown")
    header.set_xyzt_units("mm")
    header["vox_offset"] = _HEADER_BYTES
    header["cal_min"], header["cal_max"] = low, high
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header.binaryblock.ljust(_HEADER_BYTES, b"\0"))
        np.ascontiguousarray(volume).tofile(file)


def _apart_mm(first: Affine, second: Affine, shape: tuple[int, ...]) -> float:
    """The greatest distance between what two affines make of a volume's corner voxels."""
    ends = [(0, size - 1) for size in shape[::-1]]
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*ends)])
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())
