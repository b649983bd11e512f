"""The families of points that are found together: their series, and which a mirror exchanges."""

from __future__ import annotations

from typing import NamedTuple

from spinegrade import names
from spinegrade.names import Cell


class Target(NamedTuple):
    """A family of points found together in one kind of series.

    ``points`` in the order of the network's heatmaps. For axial targets they are those of one
    level ("" stands for it), since each level has its own crop.
    """

    name: str
    plane: str
    weighting: str
    points: tuple[Cell, ...]

    @property
    def condition(self) -> str:
        """The condition that all points belong to."""
        return self.points[0].condition

    @property
    def mirror(self) -> tuple[int, ...]:
        """For each point the place of the one that a left/right mirror turns into it."""
        places = {cell: place for place, cell in enumerate(self.points)}
        return tuple(places[cell._replace(side=names.mirrored(cell.side))] for cell in self.points)

    @property
    def chains(self) -> tuple[tuple[int, ...], ...]:
        """Places of the points that follow each other from L1/L2 down, one tuple a side."""
        sides = dict.fromkeys(cell.side for cell in self.points)
        return tuple(
            tuple(place for place, cell in enumerate(self.points) if cell.side == side)
            for side in sides
        )


TARGETS = {
    "foraminal": Target(
        "foraminal",
        "sagittal",
        "t1",
        tuple(
            Cell(names.FORAMINAL, level, side)
            for side in ("left", "right")
            for level in names.LUMBAR_LEVELS
        ),
    ),
    "canal": Target(
        "canal",
        "sagittal",
        "t2",
        tuple(Cell(names.SPINAL, level, "central") for level in names.LUMBAR_LEVELS),
    ),
    "subarticular": Target(
        "subarticular",
        "axial",
        "t2",
        tuple(Cell(names.SUBARTICULAR, "", side) for side in ("left", "right")),
    ),
}
