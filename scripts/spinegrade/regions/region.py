"""What a region of the spine is to everything general: its cells, its grades, its points.

Left and right are always the patient's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """One graded place of a study: a condition at a level on a side."""

    condition: str
    level: str
    side: str

    @property
    def column(self) -> str:
        """The cell's name in ``train.csv`` and, after the study, in ``row_id``."""
        prefix = "" if self.side == "central" else f"{self.side}_"
        return f"{prefix}{self.condition}_{self.level}"


def row_id(study: str, cell: Cell) -> str:
    """The row id of a cell in submissions, "<study>_<column>"."""
    return f"{study}_{cell.column}"


def mirrored(side: str) -> str:
    """The side that a left/right reflection turns ``side`` into."""
    return {"left": "right", "right": "left"}.get(side, side)


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
        return tuple(places[cell._replace(side=mirrored(cell.side))] for cell in self.points)

    @property
    def chains(self) -> tuple[tuple[int, ...], ...]:
        """Places of the points that follow each other from head to feet, one tuple a side."""
        sides = dict.fromkeys(cell.side for cell in self.points)
        return tuple(
            tuple(place for place, cell in enumerate(self.points) if cell.side == side)
            for side in sides
        )


@dataclass(frozen=True)
class Region:
    """A region of the spine: what is graded in it, how, and what points mark.

    ``sides``: by condition. ``cells``: in the order of the delivered table of grades.
    ``grade_names`` and ``grade_weights``: of the grades 0, 1 and so on, the weights those of the
    log loss. ``overall``: the condition whose highest grade the score asks of a study as a whole,
    if any. ``metric``: the name of its score, a module of ``metrics/``. ``targets``: by name.
    """

    name: str
    spine: str
    levels: tuple[str, ...]
    sides: Mapping[str, tuple[str, ...]]
    cells: tuple[Cell, ...]
    grade_names: tuple[str, ...]
    grade_weights: tuple[float, ...]
    overall: str | None
    metric: str
    targets: Mapping[str, Target]

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions, in the order in which their codes count them."""
        return tuple(self.sides)

    @property
    def grades(self) -> tuple[int, ...]:
        """The grades, from none."""
        return tuple(range(len(self.grade_names)))

    @property
    def probability_columns(self) -> tuple[str, ...]:
        """The columns of a table of predictions, a grade each."""
        return tuple(f"p_{name}" for name in self.grade_names)
