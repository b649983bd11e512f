"""A region's score, by the name of its metric: what it adds up by study, and what comes of it.

A metric is a module of this folder, found by its name (``Region.metric``). It has ``PARTS``, the
names of the score's parts, and ``PART_CONDITIONS``, the condition whose cells each sums;
``study_sums`` of cells as arrays; ``score_sums`` of summed losses and weights (parts,), with
``total``, the parts by name and ``as_dict``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from spinegrade.metrics.cells import LabelledCells
from spinegrade.regions.region import Region

_IS_METRIC = re.compile(r"^PARTS = ", re.MULTILINE)


@dataclass(frozen=True)
class StudySums:
    """What each study adds to the score: a score is sums over studies, then a ratio a part.

    ``loss`` (studies, parts): sums of weight times log loss, in the order of the metric's
    ``PARTS``; ``weight`` (studies, parts): sums of weights. Both float64. ``metric``: its name.
    """

    loss: np.ndarray
    weight: np.ndarray
    metric: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the score's parts."""
        return _metric(self.metric).PARTS

    def score(self) -> Any:
        """The metric's score of all studies; raises SpinegradeError for a part without labels."""
        return _metric(self.metric).score_sums(self.loss.sum(axis=0), self.weight.sum(axis=0))


@cache
def metric_names() -> list[str]:
    """The names of all metrics, sorted."""
    files = Path(__file__).resolve().parent.glob("*.py")
    return sorted(path.stem for path in files if _IS_METRIC.search(path.read_text("utf-8")))


def module_of(name: str) -> str:
    """The module of the metric ``name``; raises KeyError for another name."""
    if name not in metric_names():
        raise KeyError(f"no metric {name!r}; known: {', '.join(metric_names())}")
    return f"spinegrade.metrics.{name}"


def _metric(name: str) -> Any:
    return importlib.import_module(module_of(name))


def cell_sums(cells: LabelledCells, probabilities: np.ndarray) -> StudySums:
    """Loss and weight by study and part of matched cells and their probabilities (n, grades)."""
    return _metric(cells.region.metric).study_sums(
        cells.condition, cells.grade, cells.study, probabilities, len(cells.studies)
    )


def score_cells(cells: LabelledCells, probabilities: np.ndarray) -> Any:
    """The score of the cells' region; raises SpinegradeError as ``StudySums.score`` does."""
    return cell_sums(cells, probabilities).score()


def graded_parts(region: Region, conditions: Collection[str]) -> dict[str, int]:
    """The parts of the score that cells of these conditions speak for, and their columns in it."""
    metric = _metric(region.metric)
    return {
        part: column
        for column, (part, condition) in enumerate(
            zip(metric.PARTS, metric.PART_CONDITIONS, strict=True)
        )
        if condition in conditions
    }
