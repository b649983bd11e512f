"""Annotated and predicted points over the slices where they lie, in the patient's proportions.

A point of the shown stack is placed by its pixels as they were stored, so that a mirrored or
shifted prediction looks mirrored or shifted; a point of another stack is brought over through
patient coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import Affine, to_pixels
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL, SUBARTICULAR
from spinegrade.report.parts import Mark, Slice, Slices
from spinegrade.report.style import cell_word, gray_uri, level_word
from spinegrade.volumes import Stack

NEAR_SLICES = 0.5
CLOSE_MM = 10.0

_AXIS_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))


@dataclass(frozen=True)
class View:
    """Which points one picture shows: a condition, some of its levels and sides.

    ``margin_mm`` is kept around them; ``scale`` makes the marks of a smaller picture larger.
    """

    title: str
    condition: str
    levels: tuple[str, ...]
    sides: tuple[str, ...]
    margin_mm: float = 45.0
    scale: float = 1.0


SAGITTAL_VIEWS = (
    View("Sagittal T1, right foramina", FORAMINAL, LUMBAR_LEVELS, ("right",)),
    View("Sagittal T2, canal", SPINAL, LUMBAR_LEVELS, ("central",)),
    View("Sagittal T1, left foramina", FORAMINAL, LUMBAR_LEVELS, ("left",)),
)
AXIAL_VIEWS = tuple(
    View(f"Axial T2, {level_word(level)}", SUBARTICULAR, (level,), ("left", "right"), 35.0, 1.6)
    for level in LUMBAR_LEVELS
)


def letter(direction: NDArray[np.float64]) -> str:
    """The patient direction that a vector (3,) in LPS mm mostly points to: R L A P F H."""
    axis = int(np.abs(direction).argmax())
    return _AXIS_LETTERS[axis][int(direction[axis] > 0)]


def edge_letters(affine: Affine) -> tuple[str, str, str, str]:
    """Patient directions at the left, right, top and bottom edge of a slice as displayed."""
    along_row, along_column = affine[:3, 0], affine[:3, 1]
    return letter(-along_row), letter(along_row), letter(-along_column), letter(along_column)


def _of_view(points: pd.DataFrame, study: str, view: View) -> pd.DataFrame:
    chosen = (points["study"] == study) & (points["condition"] == view.condition)
    chosen &= points["level"].isin(view.levels) & points["side"].isin(view.sides)
    return points[chosen]


def _shown_stack(points: pd.DataFrame) -> tuple[str, int]:
    counts = points.groupby(["series", "stack"], sort=True).size()
    series, stack = counts.idxmax()
    return str(series), int(stack)


def _placed(points: pd.DataFrame, stack: Stack) -> NDArray[np.float64]:
    """(n, 3) x_px, y_px, index of the points in ``stack``."""
    if points.empty:
        return np.empty((0, 3))
    own = points[["x_px", "y_px", "index"]].to_numpy(float)
    mapped = to_pixels(stack.affine, points[["x_mm", "y_mm", "z_mm"]].to_numpy(float))
    here = (points["series"] == stack.series) & (points["stack"] == stack.stack)
    return np.where(here.to_numpy(bool)[:, None], own, mapped)


def _crop(
    places: NDArray[np.float64], stack: Stack, spacing: NDArray[np.float64], margin_mm: float
) -> list[int]:
    """Pixel bounds left, right, top, bottom of a square (in mm) about the points."""
    in_mm = places[:, :2] * spacing
    low, high = in_mm.min(axis=0), in_mm.max(axis=0)
    half = (high - low).max() / 2.0 + margin_mm
    middle = (low + high) / 2.0
    bounds = []
    for axis, size in ((0, stack.cols), (1, stack.rows)):
        first = int(np.clip(np.floor((middle[axis] - half) / spacing[axis]), 0, size - 1))
        last = int(np.clip(np.ceil((middle[axis] + half) / spacing[axis]), first, size - 1))
        bounds += [first, last + 1]
    return bounds


def _marks(
    view: View,
    points: pd.DataFrame,
    places: NDArray[np.float64],
    shown: int,
    spacing: NDArray[np.float64],
    shape: str,
) -> list[Mark]:
    marks = []
    for row, (x, y, index) in zip(points.to_dict("records"), places, strict=True):
        away = float(index) - shown
        where = cell_word(row["level"], row["side"])
        if abs(away) > NEAR_SLICES:
            where_slice = f"{away:+.0f} slices from the one shown"
        else:
            where_slice = "on this slice"
        title = f"{where}, {shape}, {where_slice}"
        if shape == "predicted":
            title += f", confidence {row['confidence']:.2f}"
        near = abs(away) <= NEAR_SLICES
        # The view's title names what all its points share: the side, or else the level.
        label = row["side"] if len(view.levels) == 1 else level_word(row["level"])
        label += "" if near else f" ({away:+.0f})"
        if len(view.sides) == 1:
            anchor = "end" if shape == "annotated" else "start"
        else:
            anchor = "end" if x < places[:, 0].mean() else "start"
        at = float(x * spacing[0]), float(y * spacing[1])
        marks.append(Mark(*at, shape, label, title, near, anchor))
    return marks


def _joined(
    annotated: pd.DataFrame, predicted: pd.DataFrame, marks: list[Mark]
) -> tuple[list[Mark], list[tuple[float, float, float, float]]]:
    """The marks, annotated before predicted, and a line between the two of each cell.

    A predicted mark close to its annotated one does not repeat its label.
    """
    first = {
        (row.level, row.side): mark
        for row, mark in zip(annotated.itertuples(), marks, strict=False)
    }
    shown, links = marks[: len(annotated)], []
    for row, mark in zip(predicted.itertuples(), marks[len(annotated) :], strict=True):
        other = first.get((row.level, row.side))
        if other is not None:
            links.append((other.x, other.y, mark.x, mark.y))
            if np.hypot(other.x - mark.x, other.y - mark.y) <= CLOSE_MM:
                away = mark.label.partition(" ")[2]
                mark = replace(mark, label=away)
        shown.append(mark)
    return shown, links


def slice_with_points(
    view: View,
    study: str,
    stacks: dict[tuple[str, str, int], Stack],
    landmarks: pd.DataFrame,
    keypoints: pd.DataFrame,
) -> Slice | None:
    """The slice where the view's points lie, with all of them marked; None without points.

    ``landmarks`` and ``keypoints`` are tables of located points. The stack that holds most
    annotated points is shown at their median slice; without annotation, the predicted ones
    decide.
    """
    annotated = _of_view(landmarks, study, view)
    predicted = _of_view(keypoints, study, view)
    leading = annotated if len(annotated) else predicted
    if leading.empty:
        return None
    series, number = _shown_stack(leading)
    if (study, series, number) not in stacks:
        raise SpinegradeError(
            f"study {study}: points lie in series {series} stack {number}, which convert does not "
            "have; run convert_dicom and what follows it again",
            code="POINTS_STACK_UNKNOWN",
        )
    stack = stacks[study, series, number]
    here = leading[(leading["series"] == series) & (leading["stack"] == number)]
    shown = int(np.sort(here["index"].to_numpy(int))[(len(here) - 1) // 2])
    spacing = np.linalg.norm(stack.affine[:3, :2], axis=0)
    places = [_placed(annotated, stack), _placed(predicted, stack)]
    first_x, end_x, first_y, end_y = _crop(np.concatenate(places), stack, spacing, view.margin_mm)
    image = stack.window(stack.open()[shown, first_y:end_y, first_x:end_x])
    marks = _marks(view, annotated, places[0], shown, spacing, "annotated")
    marks += _marks(view, predicted, places[1], shown, spacing, "predicted")
    marks, links = _joined(annotated, predicted, marks)
    return Slice(
        source=gray_uri(image),
        title=f"{view.title} (slice {shown + 1} of {stack.slices})",
        left=float((first_x - 0.5) * spacing[0]),
        top=float((first_y - 0.5) * spacing[1]),
        width=float((end_x - first_x) * spacing[0]),
        height=float((end_y - first_y) * spacing[1]),
        edges=edge_letters(stack.affine),
        marks=marks,
        links=links,
        scale=view.scale,
    )


def study_slices(
    heading: str,
    study: str,
    stacks: dict[tuple[str, str, int], Stack],
    landmarks: pd.DataFrame,
    keypoints: pd.DataFrame,
) -> Slices:
    """All views of one study that have points."""
    sagittal, axial = (
        [slice_with_points(view, study, stacks, landmarks, keypoints) for view in views]
        for views in (SAGITTAL_VIEWS, AXIAL_VIEWS)
    )
    return Slices(
        heading,
        [one for one in sagittal if one is not None],
        [one for one in axial if one is not None],
    )
