"""Series of which every voxel tells where in the patient it lies, and from which source it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dicom_helpers import write_slice
from numpy.typing import NDArray
from spinegrade.convert.series import Converted, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource
from spinegrade.geometry.affine import affine_from_columns, to_mm
from spinegrade.volumes import open_volume

SLOPES = np.array([2.0, 3.0, 5.0])
SIZE, SOURCE = 40, 400


def value_at(places_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """The field at (..., 3) LPS mm, before it is rounded to whole numbers."""
    return 1000 + places_mm @ SLOPES


def picture(
    position: NDArray[np.float64], axes: NDArray[np.float64], source: int = 0, spacing: float = 1.0
) -> NDArray[np.uint16]:
    """One slice (SIZE, SIZE) of the field, ``SOURCE`` higher for each source."""
    rows, cols = np.mgrid[:SIZE, :SIZE] * spacing
    places = position + rows[..., None] * axes[3:] + cols[..., None] * axes[:3]
    return np.rint(value_at(places) + SOURCE * source).astype(np.uint16)


@dataclass
class Slice:
    """What is written of a slice: place, axes, source, number, and further elements."""

    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    source: int
    number: int
    tags: dict[str, object]
    spacing: float = 1.0


def write(folder: Path, slices: Sequence[Slice], written: int | None = None) -> None:
    """Write each slice as <number>.dcm; ``written``: decimals of its position."""
    for one in slices:
        pixels = picture(one.position, one.axes, one.source, one.spacing)
        place = one.position if written is None else np.round(one.position, written)
        spacing = (one.spacing, one.spacing)
        write_slice(
            folder / f"{one.number}.dcm", pixels, one.axes, place, one.number, spacing, **one.tags
        )


def row_of(
    heights: Sequence[float],
    axes: NDArray[np.float64],
    source: int = 0,
    numbers: Sequence[int] | None = None,
    start: tuple[float, float, float] = (-20.0, -10.0, 12.0),
    spacing: float = 1.0,
    **tags: object,
) -> list[Slice]:
    """Slices at ``heights`` mm from ``start`` along the normal, numbered from 1 or as given."""
    normal = np.cross(axes[:3], axes[3:])
    numbers = numbers or range(1, len(heights) + 1)
    return [
        Slice(np.array(start) + height * normal, axes, source, number, tags, spacing)
        for height, number in zip(heights, numbers, strict=True)
    ]


@dataclass
class Found:
    """A converted series: its rows, and of each stack the slices' sources and greatest error.

    ``sources``: a list of sets, one a stack. ``off_mm``: by how much the field says that a
    voxel lies elsewhere, at most, beyond the rounding of its value.
    """

    result: Converted
    sources: list[set[int]]
    off_mm: float

    @property
    def lengths(self) -> list[int]:
        return [row["slices"] for row in self.result.stacks]

    @property
    def codes(self) -> list[tuple[str | None, str]]:
        return [(row["file"], row["code"]) for row in self.result.rejected]


def convert(tmp_path: Path, plane: str = "sagittal", **settings: float) -> Found:
    """Convert tmp_path/in and hold every voxel against the field."""
    source = SeriesSource("1", "2", "train", plane, "t2", tmp_path / "in")
    result = convert_series(source, tmp_path / "out", ConvertSettings(**settings))
    sources, worst = [], 0.0
    for row in result.stacks:
        volume = np.array(open_volume(tmp_path / "out" / row["volume"])).astype(float)
        z, y, x = (axis.astype(float) for axis in np.indices(volume.shape))
        places = to_mm(affine_from_columns(row), np.stack([x, y, z], -1).reshape(-1, 3))
        excess = volume - value_at(places).reshape(volume.shape)
        levels = np.rint(excess / SOURCE)
        sources.append({int(level) for level in np.unique(levels)})
        off = np.abs(excess - levels * SOURCE).max() - 0.5
        worst = max(worst, float(off / np.linalg.norm(SLOPES)))
    return Found(result, sources, max(worst, 0.0))
