"""Writing a volume as an uncompressed NIfTI-1 file that viewers open the right way round."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from spinegrade.geometry.affine import Affine, to_ras
from spinegrade.runtime.files import atomic_path

_HEADER_BYTES = 352


def write_volume(
    path: str | Path, volume: NDArray[np.generic], affine: Affine, low: float, high: float
) -> None:
    """Write ``volume`` (z, y, x) with its LPS ``affine``; ``low``, ``high``: display window.

    NIfTI's first axis varies fastest, so the C-ordered (z, y, x) array is written as it lies
    and read back as (x, y, z). The affine goes to sform (exact) and qform, in NIfTI's RAS
    frame, in scanner coordinates. No text from the DICOM header is copied.
    """
    header = nibabel.Nifti1Header()
    header.set_data_dtype(volume.dtype)
    header.set_data_shape(volume.shape[::-1])
    ras = to_ras(affine)
    header.set_qform(ras, code="scanner")
    header.set_sform(ras, code="scanner")
    header.set_xyzt_units("mm")
    header["vox_offset"] = _HEADER_BYTES
    header["cal_min"], header["cal_max"] = low, high
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header.binaryblock.ljust(_HEADER_BYTES, b"\0"))
        np.ascontiguousarray(volume).tofile(file)
