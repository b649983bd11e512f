"""Converted volumes: opened by memory map, windowed, resampled in one interpolation.

A volume is an uncompressed NIfTI file whose voxels are already in the units of the image
(rescaled), stored so that the map reads (index, y, x) in C order. Where its voxels lie is
said by the affine of its row in the stacks table ((x_px, y_px, index) to LPS mm).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import Affine, affine_from_columns
from spinegrade.runtime.files import inside
from spinegrade.tables.files import read_table
from spinegrade.tables.stacks import STACKS

# Data type codes of NIfTI-1 (nifti1.h) that this project writes.
NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 256: "i1", 512: "u2", 768: "u4"}
_HEADER_BYTES = 348
# The least and the greatest value of voxels that are no part of the picture.
Padding = tuple[float, float]
_CV2_TYPES = ("uint8", "int16", "uint16", "float32")


@dataclass(frozen=True)
class Stack:
    """One volume of the stacks table: parallel slices of one series.

    ``affine`` maps (x_px, y_px, index) to LPS mm; ``index`` grows with the patient axis
    nearest to the normal (sagittal: right to left, axial: feet to head). Voxels from
    ``padding``'s least to its greatest value are no part of the picture.
    """

    study: str
    series: str
    stack: int
    split: str
    plane: str
    weighting: str
    slices: int
    rows: int
    cols: int
    affine: Affine
    intensity_low: float
    intensity_high: float
    path: Path
    padding: Padding | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (slices, rows, cols)."""
        return self.slices, self.rows, self.cols

    def open(self) -> np.memmap:
        """The voxels, (slices, rows, cols), mapped read-only; see ``open_volume``."""
        volume = open_volume(self.path)
        if volume.shape != self.shape:
            raise SpinegradeError(
                f"{self.path}: holds {volume.shape} voxels, but the stacks table says "
                f"{self.shape}; run convert_dicom again for study {self.study}",
                code="VOLUME_OF_ANOTHER_SHAPE",
            )
        return volume

    def window(self, array: NDArray[np.generic]) -> NDArray[np.uint8]:
        """``array``, voxels of this stack, windowed to its intensities; see ``window``."""
        return window(array, self.intensity_low, self.intensity_high, self.padding)


def load_stacks(paths: Iterable[str | Path]) -> list[Stack]:
    """Every stack of the given ``convert/<shard>/stacks.parquet`` files, in their order.

    Volume paths in the table are relative to ``convert``, two folders above the file.
    Raises SpinegradeError for a missing or broken table.
    """
    found: list[Stack] = []
    for path in paths:
        table = read_table(path, STACKS)
        found.extend(stacks_of_table(table, Path(path).resolve().parent.parent))
    return found


def stacks_of_table(table: pd.DataFrame, convert_folder: Path) -> list[Stack]:
    """The rows of a stacks table as ``Stack``s, their volumes below ``convert_folder``.

    Raises SpinegradeError for a row whose volume would lie elsewhere.
    """
    return [
        Stack(
            study=row["study"],
            series=row["series"],
            stack=int(row["stack"]),
            split=row["split"],
            plane=row["plane"],
            weighting=row["weighting"],
            slices=int(row["slices"]),
            rows=int(row["rows"]),
            cols=int(row["cols"]),
            affine=affine_from_columns(row),
            intensity_low=float(row["intensity_low"]),
            intensity_high=float(row["intensity_high"]),
            path=inside(convert_folder, *row["volume"].split("/")),
            padding=_padding(row),
        )
        for row in table.to_dict("records")
    ]


def _padding(row: dict[str, Any]) -> Padding | None:
    ends = row["padding_low"], row["padding_high"]
    return None if any(map(pd.isna, ends)) else (float(ends[0]), float(ends[1]))


def open_volume(path: str | Path) -> np.memmap:
    """Map an uncompressed NIfTI-1 file read-only as a (z, y, x) array of its stored type.

    Raises SpinegradeError for a missing file, one that is no single-file NIfTI-1, is
    scaled in its header, has another dimension than three, or is shorter than it says.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise SpinegradeError(
            f"{path}: no such volume; run convert_dicom for it", code="VOLUME_MISSING"
        ) from error
    problem = "it is no single-file NIfTI-1"
    if len(header) == _HEADER_BYTES and header[344:348] == b"n+1\0":
        order = "<" if struct.unpack_from("<i", header)[0] == _HEADER_BYTES else ">"
        dimensions = struct.unpack_from(order + "8h", header, 40)
        code = struct.unpack_from(order + "h", header, 70)[0]
        offset, slope, intercept = struct.unpack_from(order + "3f", header, 108)
        problem = ""
        if code not in NIFTI_TYPES:
            problem = f"its data type code is {code}, expected one of {sorted(NIFTI_TYPES)}"
        elif dimensions[0] != 3 or min(dimensions[1:4]) < 1:
            problem = f"its dimensions are {dimensions}, expected three"
        elif (slope, intercept) not in ((0.0, 0.0), (1.0, 0.0)):
            problem = "its header scales the voxels"
    if not problem:
        dtype = np.dtype(order + NIFTI_TYPES[code])
        shape = dimensions[3], dimensions[2], dimensions[1]
        needed = int(offset) + int(np.prod(shape)) * dtype.itemsize
        if size >= needed:
            return np.memmap(path, dtype, "r", int(offset), shape)
        problem = f"it has {size} bytes, its header asks for {needed}"
    raise SpinegradeError(
        f"{path}: {problem}; remove it and run convert_dicom again", code="VOLUME_DAMAGED"
    )


def window(
    array: NDArray[np.generic], low: float, high: float, padding: Padding | None = None
) -> NDArray[np.uint8]:
    """Map ``low`` .. ``high`` linearly to 0 .. 255, clipped; any shape, returns uint8.

    Voxels of ``padding`` are background: 0. Integers of 16 bits go through a table, three times
    as fast as arithmetic. ``high`` not above ``low`` (a constant image) gives zeros.
    """
    if not high > low:
        return np.zeros(array.shape, np.uint8)
    if array.dtype in (np.uint16, np.int16):
        values = np.arange(65536, dtype=np.uint16).view(array.dtype)
        table = _to_bytes(values.astype(np.float32), low, high)
        if padding is not None:
            table[_padded(values, padding)] = 0
        return table[np.asarray(array).view(np.uint16)]
    found = _to_bytes(np.asarray(array, np.float32), low, high)
    if padding is not None:
        found[_padded(array, padding)] = 0
    return found


def _padded(array: NDArray[np.generic], padding: Padding) -> NDArray[np.bool_]:
    return (array >= padding[0]) & (array <= padding[1])


def _to_bytes(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    scaled = (values - np.float32(low)) * np.float32(255.0 / (high - low))
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)


def resample_grid(
    volume: NDArray[np.generic],
    volume_affine: Affine,
    grid_affine: Affine,
    shape: tuple[int, int, int],
    fill: float | None = 0.0,
    padding: tuple[Padding, float] | None = None,
) -> NDArray[np.float32]:
    """Sample ``volume`` (z, y, x) on a regular grid in patient space, in one interpolation.

    ``grid_affine`` maps the grid's (x, y, index) to LPS mm, ``volume_affine`` the volume's;
    ``shape`` is the grid's (slices, rows, cols). Trilinear; where the grid lies outside the
    voxel centres it takes ``fill``, or with None the nearest voxel. ``padding``: a range of values
    and the one that such voxels are taken for. Returns float32 of ``shape``.
    """
    to_volume = np.linalg.solve(volume_affine, grid_affine)
    # Rounding of an affine through mm must not push a grid off the slice it coincides with.
    to_volume = np.where(
        np.abs(to_volume - np.rint(to_volume)) < 1e-7, np.rint(to_volume), to_volume
    )
    if not to_volume[2, :2].any() and volume.dtype.name in _CV2_TYPES:
        return _resample_parallel(volume, to_volume, shape, fill, padding)
    flipped = to_volume[:3, :3][::-1, ::-1]
    return ndimage.affine_transform(
        _without(volume, padding),
        flipped,
        offset=to_volume[:3, 3][::-1],
        output_shape=shape,
        output=np.float32,
        order=1,
        mode="nearest" if fill is None else "constant",
        cval=0.0 if fill is None else fill,
        prefilter=False,
    )


def _resample_parallel(
    volume: NDArray[np.generic],
    to_volume: Affine,
    shape: tuple[int, int, int],
    fill: float | None,
    padding: tuple[Padding, float] | None,
) -> NDArray[np.float32]:
    """Grid slices parallel to the volume's: each is a blend of at most two remapped slices."""
    out = np.empty(shape, np.float32)
    columns = np.arange(shape[2])
    rows = np.arange(shape[1])[:, None]
    border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
    height, width = volume.shape[1:]
    for place in range(shape[0]):
        z = to_volume[2, 2] * place + to_volume[2, 3]
        if fill is not None and not 0.0 <= z <= len(volume) - 1:
            out[place] = fill
            continue
        z = float(np.clip(z, 0.0, len(volume) - 1))
        base = to_volume[:2, 2] * place + to_volume[:2, 3]
        map_x, map_y = (
            (to_volume[axis, 0] * columns + to_volume[axis, 1] * rows + base[axis]).astype(
                np.float32
            )
            for axis in range(2)
        )
        low = int(z)
        share = z - low
        out[place] = _remap(volume[low], map_x, map_y, border, padding)
        if share > 0.0:
            above = _remap(volume[low + 1], map_x, map_y, border, padding)
            out[place] += np.float32(share) * (above - out[place])
        if fill is not None:
            beyond = (map_x < 0) | (map_y < 0) | (map_x > width - 1) | (map_y > height - 1)
            out[place][beyond] = fill
    return out


def _remap(
    image: NDArray[np.generic],
    map_x: NDArray[np.float32],
    map_y: NDArray[np.float32],
    border: int,
    padding: tuple[Padding, float] | None,
) -> NDArray[np.float32]:
    """Bilinear samples of one slice at (map_x, map_y), as float32."""
    left = max(int(map_x.min()) - 1, 0)
    top = max(int(map_y.min()) - 1, 0)
    right = min(int(map_x.max()) + 3, image.shape[1])
    bottom = min(int(map_y.max()) + 3, image.shape[0])
    if left >= right or top >= bottom:
        left, top, right, bottom = 0, 0, image.shape[1], image.shape[0]
    # Only the part that is read becomes float; the rest of the slice stays on disk.
    part = _without(image[top:bottom, left:right], padding)
    part = np.ascontiguousarray(part, np.float32)
    return cv2.remap(part, map_x - left, map_y - top, cv2.INTER_LINEAR, borderMode=border)


def _without(
    array: NDArray[np.generic], padding: tuple[Padding, float] | None
) -> NDArray[np.generic]:
    """``array`` with its padding replaced, as float32; itself where there is none."""
    if padding is None:
        return array
    return np.where(_padded(array, padding[0]), np.float32(padding[1]), array).astype(np.float32)
