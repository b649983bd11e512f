"""What the one-stage networks learn from and look at: whole stacks with points and grades."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import to_pixels as solve_affine
from spinegrade.geometry.procrustes import generalised_procrustes
from spinegrade.grade.volumes.canvas import FRAME_PX, CanvasGeometry, check_slices, on_canvas
from spinegrade.grade.volumes.store import Volumes, key_of
from spinegrade.regions.lumbar_mri import TARGETS
from spinegrade.regions.region import Target
from spinegrade.runtime.progress import progress
from spinegrade.volumes import Stack

TARGET_NAMES = ("foraminal", "canal")
MISSING_GRADE = -1

_LOGGER = logging.getLogger("spinegrade")


@dataclass(frozen=True)
class OneStageSamples:
    """n stacks on their canvases, with what is known of their points; one row of each a stack.

    ``volumes``: uint8 (slices, canvas, canvas) each, in memory or mapped. ``points`` float32
    (n, P, 3): x, y in px of the canvas and the slice, 0-based; zeros where not ``known`` bool
    (n, P). ``grades`` int64 (n, P), -1 where missing. P and the points' order are the network's:
    left L1/L2 to L5/S1, then right (foraminal), or L1/L2 to L5/S1 (canal). ``to_pixels`` (n, 4, 4)
    maps the canvas's (x, y, slice) to the stack's (x_px, y_px, index). ``fold``: the one that is
    held out from a training or that these are, None for new studies.
    """

    volumes: list[NDArray[np.uint8]]
    points: NDArray[np.float32]
    known: NDArray[np.bool_]
    grades: NDArray[np.int64]
    studies: tuple[str, ...]
    series: tuple[str, ...]
    stacks: tuple[int, ...]
    to_pixels: NDArray[np.float64]
    fold: int | None = None

    def __len__(self) -> int:
        return len(self.volumes)

    @property
    def lengths(self) -> list[int]:
        """Slices of each volume."""
        return [len(volume) for volume in self.volumes]

    def of(self, studies: Iterable[str]) -> OneStageSamples:
        """The samples of these studies alone, in the same order."""
        wanted = set(studies)
        rows = [row for row, study in enumerate(self.studies) if study in wanted]
        return replace(
            self,
            volumes=[self.volumes[row] for row in rows],
            points=self.points[rows],
            known=self.known[rows],
            grades=self.grades[rows],
            studies=tuple(self.studies[row] for row in rows),
            series=tuple(self.series[row] for row in rows),
            stacks=tuple(self.stacks[row] for row in rows),
            to_pixels=self.to_pixels[rows],
        )


def training_samples(
    target: str,
    stacks: Iterable[Stack],
    landmarks: pd.DataFrame,
    labels: pd.DataFrame,
    studies: Iterable[str],
    *,
    canvas: int = FRAME_PX,
    fold: int | None = None,
    partial_studies: bool = False,
    volumes: Volumes | None = None,
    network: str | None = None,
) -> OneStageSamples:
    """One sample a study: of the target's stacks the one with most landmarks, then most slices.

    ``target`` foraminal or canal. ``landmarks`` and ``labels``: tables "located_landmarks" and
    "labels". Only landmarks in that very stack count; of one annotated twice the first does. A
    study takes part with all points, as in the published system, or with any of them under
    ``partial_studies``; the others are named in a warning. ``volumes``: canvases made earlier
    (``open_volumes``), else they are made here. ``network``: what messages call it. Raises
    SpinegradeError where no study is left.
    """
    family = target_of(target)
    named = network or target
    of_target = landmarks[landmarks["condition"] == family.condition]
    tables = dict(list(of_target.groupby(["study", "series", "stack"])))
    by_study = stacks_by_study(stacks, family)
    asked = sorted(set(studies))
    needed = 1 if partial_studies else len(family.points)
    rows, left_out = [], []
    for study in asked:
        rivals = [(s, _places(tables.get(key_of(s)), family)) for s in by_study.get(study, [])]
        counts = [(int(np.isfinite(p[:, 0]).sum()), s.slices) for s, p in rivals]
        best = max(counts, default=(0, 0))
        if best[0] < needed:
            left_out.append(f"{study} ({best[0]})")
        else:
            rows.append(rivals[counts.index(best)])
    kind = f"{family.plane} {family.weighting.upper()} stack of two or more slices"
    if left_out:
        _LOGGER.warning(
            "network %s: %d studies take no part in training, since no %s bears %s its %d "
            "landmarks (in brackets how many): %s",
            *(named, len(left_out), kind, "any of" if partial_studies else "all"),
            *(len(family.points), ", ".join(left_out)),
        )
    if not rows:
        raise SpinegradeError(
            f"network {named}{_in_fold(fold)}: none of the {len(asked)} training studies has a "
            f"{kind} with {'any' if partial_studies else 'all'} of the {len(family.points)} "
            f"{target} landmarks; annotate one fully, set partial_studies, or use fewer folds"
        )
    return _samples(family, rows, labels, canvas, fold, volumes)


def new_samples(
    target: str,
    stacks: Iterable[Stack],
    studies: Iterable[str],
    *,
    canvas: int = FRAME_PX,
    fold: int | None = None,
    every_stack: bool = False,
    volumes: Volumes | None = None,
    network: str | None = None,
) -> OneStageSamples:
    """Samples to predict, without points and grades: a study's stack with most slices.

    Of several with as many the first. ``every_stack``: all stacks of the target's kind, since the
    published inference means over a study's series. No landmark decides here, so that a
    held-out study is seen as a new one would be. Studies without a stack of two or more slices
    are named in a warning; raises SpinegradeError where none is left. The rest is as in
    ``training_samples``.
    """
    family = target_of(target)
    named = network or target
    by_study = stacks_by_study(stacks, family)
    asked = sorted(set(studies))
    nothing = np.full((len(family.points), 3), np.nan)
    rows = []
    for study in asked:
        rivals = by_study.get(study, [])
        if rivals and not every_stack:
            rivals = [max(rivals, key=lambda stack: stack.slices)]
        rows += [(stack, nothing) for stack in rivals]
    left_out = [study for study in asked if study not in by_study]
    kind = f"{family.plane} {family.weighting.upper()} stack of two or more slices"
    if left_out:
        _LOGGER.warning(
            "network %s: %d studies get no prediction, since they have no %s: %s",
            *(named, len(left_out), kind, ", ".join(left_out)),
        )
    if not rows:
        raise SpinegradeError(
            f"network {named}{_in_fold(fold)}: none of the {len(asked)} studies has a {kind}; "
            "look into the rejected tables of convert_dicom"
        )
    return _samples(family, rows, None, canvas, fold, volumes)


def target_of(name: str) -> Target:
    """The points of a one-stage network; raises SpinegradeError for an unknown name."""
    if name not in TARGET_NAMES:
        raise SpinegradeError(
            f"target {name!r} has no one-stage network; allowed: {', '.join(TARGET_NAMES)}"
        )
    return TARGETS[name]


def stacks_by_study(stacks: Iterable[Stack], target: Target) -> dict[str, list[Stack]]:
    """By study the stacks of the target's kind that have two slices or more, in their order."""
    found: dict[str, list[Stack]] = {}
    for stack in stacks:
        kind = (stack.plane, stack.weighting)
        if kind == (target.plane, target.weighting) and stack.slices > 1:
            found.setdefault(stack.study, []).append(stack)
    return found


def mean_shape_of(samples: OneStageSamples) -> NDArray[np.float64]:
    """Mean shape (P, 2) of the samples' own points, px of the canvas, centred on zero.

    By generalised Procrustes over the samples whose points are all known, so that no study
    outside a fold's training set has a part in it. Raises SpinegradeError where there is none.
    """
    complete = samples.known.all(axis=1)
    if not complete.any():
        raise SpinegradeError(
            f"no mean shape{_in_fold(samples.fold)}: none of the {len(samples)} samples has all of "
            f"its {samples.known.shape[1]} points; annotate one study fully, or give a mean shape"
        )
    return generalised_procrustes(samples.points[complete][:, :, :2])[0]


def _places(rows: pd.DataFrame | None, target: Target) -> NDArray[np.float64]:
    """(P, 3) x_px, y_px and index of one stack's landmarks, NaN for the missing ones."""
    found = np.full((len(target.points), 3), np.nan)
    places = {(cell.level, cell.side): place for place, cell in enumerate(target.points)}
    for row in [] if rows is None else reversed(rows.to_dict("records")):
        if (row["level"], row["side"]) in places:
            place = places[row["level"], row["side"]]
            found[place] = row["x_px"], row["y_px"], row["index"]
    return found


def _samples(
    target: Target,
    rows: list[tuple[Stack, NDArray[np.float64]]],
    labels: pd.DataFrame | None,
    canvas: int,
    fold: int | None,
    volumes: Volumes | None,
) -> OneStageSamples:
    graded = {} if labels is None else _grades(labels, target)
    count = len(target.points)
    images, points, affines = [], [], []
    for stack, places in progress(rows, f"Reading {target.name} stacks"):
        check_slices(stack)
        geometry = CanvasGeometry(stack, canvas)
        affines.append(geometry.to_pixels)
        seen = np.isfinite(places[:, 0])
        placed = np.full(places.shape, np.nan)
        placed[seen] = solve_affine(geometry.to_pixels, places[seen])
        points.append(placed)
        made = None if volumes is None else volumes.get(key_of(stack))
        if volumes is not None and (made is None or made.shape != (stack.slices, canvas, canvas)):
            raise SpinegradeError(
                f"study {stack.study}, series {stack.series}, stack {stack.stack}: no canvas of "
                f"{(stack.slices, canvas, canvas)} was prepared for it; prepare the stacks again"
            )
        images.append(on_canvas(stack, canvas) if made is None else made)
    all_points = np.stack(points)
    known = np.isfinite(all_points).all(axis=2)
    missing = np.full(count, MISSING_GRADE, np.int64)
    return OneStageSamples(
        volumes=images,
        points=np.nan_to_num(all_points).astype(np.float32),
        known=known,
        grades=np.stack([graded.get(stack.study, missing) for stack, _ in rows]),
        studies=tuple(stack.study for stack, _ in rows),
        series=tuple(stack.series for stack, _ in rows),
        stacks=tuple(stack.stack for stack, _ in rows),
        to_pixels=np.stack(affines),
        fold=fold,
    )


def _grades(labels: pd.DataFrame, target: Target) -> dict[str, NDArray[np.int64]]:
    """By study the grades (P,) of the target's points, -1 where the table has none."""
    places = {(cell.level, cell.side): place for place, cell in enumerate(target.points)}
    rows = labels[(labels["condition"] == target.condition) & labels["grade"].notna()]
    found: dict[str, NDArray[np.int64]] = {}
    for row in rows.itertuples():
        if (row.level, row.side) in places:
            grades = found.setdefault(row.study, np.full(len(places), MISSING_GRADE, np.int64))
            grades[places[row.level, row.side]] = int(row.grade)
    return found


def _in_fold(fold: int | None) -> str:
    return "" if fold is None else f", fold {fold}"
