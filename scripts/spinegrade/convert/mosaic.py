"""Siemens mosaics: the slices of one time point side by side on one sheet.

The sheet's header gives the place of the sheet, as if it were one slice. Number of slices and
the direction in which they are stacked stand in the vendor's private header (CSA), read here
by nibabel. The geometry is that of the NiBabel documentation, "Siemens mosaics and CSA
headers".
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinegrade.convert import tags
from spinegrade.convert.elements import Elements
from spinegrade.convert.pixel_format import Mosaic, PixelFormat
from spinegrade.convert.refusals import Refused

_MARK = b"MOSAIC"
_CREATOR = b"SIEMENS CSA HEADER"
_CREATORS = range(0x00290010, 0x00290100)
_MOST_SLICES = 1024


def is_mosaic(elements: Elements) -> bool:
    """Whether the image type says that the image shows many slices."""
    return _MARK in (elements.raw(tags.IMAGE_TYPE) or b"")


def split_mosaic(
    elements: Elements, pixels: PixelFormat
) -> tuple[PixelFormat, NDArray[np.float64], int]:
    """The format of one tile, the unit normal (3,) of the stack in LPS, the number of slices.

    Raises Refused MOSAIC where the private header is absent or does not fit the sheet.
    """
    header = _csa_header(elements)
    count = _csa_numbers(header, "NumberOfImagesInMosaic", 1)
    normal = _csa_numbers(header, "SliceNormalVector", 3)
    if count is None or normal is None:
        raise Refused("MOSAIC", "no private header says how many slices the image shows")
    slices = int(count[0])
    across = math.ceil(math.sqrt(max(slices, 1)))
    rows, cols = pixels.rows // across, pixels.cols // across
    length = float(np.linalg.norm(normal))
    fits = rows * across == pixels.rows and cols * across == pixels.cols
    if not 1 <= slices <= _MOST_SLICES or not fits or abs(length - 1) > 1e-3:
        found = f"{slices} slices do not fit an image of {pixels.rows} x {pixels.cols}"
        raise Refused("MOSAIC", found)
    sheet = Mosaic(pixels.rows, pixels.cols, across)
    return replace(pixels, rows=rows, cols=cols, mosaic=sheet), np.array(normal) / length, slices


def tile_position(
    number: int,
    pixels: PixelFormat,
    orientation: NDArray[np.float64],
    sheet_mm: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    step_mm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Where the first pixel of tile ``number`` lies, (3,) LPS mm.

    ``sheet_mm`` is ImagePositionPatient: that of a sheet centred where the slice is centred.
    """
    assert pixels.mosaic is not None
    right = (pixels.mosaic.cols - pixels.cols) / 2 * spacing_mm[1] * orientation[:3]
    down = (pixels.mosaic.rows - pixels.rows) / 2 * spacing_mm[0] * orientation[3:]
    return sheet_mm + right + down + number * step_mm


def _csa_header(elements: Elements) -> dict[str, Any]:
    for creator in _CREATORS:
        if creator in elements.values and elements.text(creator).encode() == _CREATOR:
            value = elements.raw((creator & 0xFF) << 8 | 0x00290010)
            break
    else:
        return {}
    with warnings.catch_warnings():
        # NiBabel warns that its DICOM readers are experimental; the golden sets check this one.
        warnings.simplefilter("ignore")
        from nibabel.nicom import csareader
    try:
        return csareader.read(value)["tags"] if value else {}
    except Exception as error:
        # A damaged private header can fail in any way.
        raise Refused("MOSAIC", "its private header cannot be read") from error


def _csa_numbers(header: dict[str, Any], name: str, count: int) -> list[float] | None:
    try:
        items = [float(item) for item in header[name]["items"]][:count]
    except (KeyError, TypeError, ValueError):
        return None
    return items if len(items) == count and all(map(math.isfinite, items)) else None
