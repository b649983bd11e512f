"""What regressors learn from and look at: stacks in frames, and where the points lie in them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.localise.coordinates.frames import Frame, nearest_places
from spinegrade.localise.coordinates.settings import Settings
from spinegrade.regions.region import Cell, Target
from spinegrade.volumes import Stack

_LOGGER = logging.getLogger("spinegrade")

Chosen = tuple[Stack | None, ...]
"""The stacks of one look, a channel each; None where the study has no such series."""


class Look(NamedTuple):
    """What a network sees at once: by channel a frame (None: zeros) and the slices shown of it."""

    frames: tuple[Frame | None, ...]
    places: tuple[NDArray[np.int64] | None, ...]


@dataclass(frozen=True)
class RegressionSamples:
    """n looks of ``studies``, with what is known of their points.

    ``points`` float32 (n, P, 3): x and y in px of the frame, and the frame's slice as a share of
    the stack's slices (0-based slice / slices, as published); zeros where not ``known`` bool
    (n, P).
    """

    looks: list[Look]
    points: NDArray[np.float32]
    known: NDArray[np.bool_]
    studies: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.looks)

    def of(self, studies: Iterable[str]) -> RegressionSamples:
        """The samples of these studies alone, in the same order."""
        wanted = set(studies)
        rows = [row for row, study in enumerate(self.studies) if study in wanted]
        return replace(
            self,
            looks=[self.looks[row] for row in rows],
            points=self.points[rows],
            known=self.known[rows],
            studies=tuple(self.studies[row] for row in rows),
        )

    def digest(self) -> str:
        """Fingerprint of what is learnt from: volumes by file, size and time, and points.

        Volumes are read batch by batch, so that their pixels are not gone through here.
        """
        digest = hashlib.sha256(repr(self.studies).encode())
        for look in self.looks:
            add_look(digest, look)
        digest.update(np.ascontiguousarray(self.points))
        digest.update(np.ascontiguousarray(self.known))
        return digest.hexdigest()


def add_look(digest: Any, look: Look) -> None:
    """Add what tells a look from others to a hashlib ``digest``.

    Raises SpinegradeError for a volume that is not there.
    """
    for frame, places in zip(look.frames, look.places, strict=True):
        if frame is None or places is None:
            digest.update(b"none")
            continue
        stack = frame.stack
        if not stack.path.exists():
            raise SpinegradeError(f"{stack.path}: no such volume; run convert_dicom again")
        file = stack.path.stat()
        named = (stack.study, stack.series, stack.stack, stack.shape, places.tolist())
        seen = (stack.intensity_low, stack.intensity_high, file.st_size, file.st_mtime_ns)
        digest.update(repr((named, seen)).encode())
        digest.update(np.ascontiguousarray(stack.affine))


def stacks_by_study(stacks: Iterable[Stack], target: Target) -> dict[str, list[Stack]]:
    """The stacks of the target's plane and weighting, by study, in their order."""
    found: dict[str, list[Stack]] = {}
    for stack in stacks:
        if (stack.plane, stack.weighting) == (target.plane, target.weighting):
            found.setdefault(stack.study, []).append(stack)
    return found


def whole_look(settings: Settings, stacks: Chosen) -> Look:
    """A look at whole stacks, each brought to the ``depth`` slices nearest to even places."""
    frames = tuple(None if s is None else Frame(s, settings.frame_px) for s in stacks)
    places = tuple(None if s is None else nearest_places(s.slices, settings.depth) for s in stacks)
    return Look(frames, places)


def slice_look(settings: Settings, stack: Stack, index: int) -> Look:
    """A look at one slice of a stack, by its index in the stack."""
    frame = Frame(stack, settings.frame_px)
    return Look((frame,), (np.array([frame.place_of(index)]),))


def image_of(settings: Settings, look: Look) -> NDArray[np.uint8]:
    """A look's images, uint8 (channels, depth, frame_px, frame_px); zeros for a missing series."""
    side = settings.frame_px
    depth = max(len(places) for places in look.places if places is not None)
    image = np.zeros((len(look.frames), depth, side, side), np.uint8)
    for channel, (frame, places) in enumerate(zip(look.frames, look.places, strict=True)):
        if frame is not None:
            image[channel] = frame.slices(places)
    return image


def points_in(
    frame: Frame | None, rows: pd.DataFrame | None, cells: Sequence[Cell]
) -> NDArray[np.float64]:
    """(P, 3) places of ``cells`` by the landmarks ``rows`` of the frame's stack, NaN if missing.

    x and y in px of the frame, slice as a share of the stack's; of a cell annotated twice the
    first counts.
    """
    found = np.full((len(cells), 3), np.nan)
    if frame is None or rows is None or rows.empty:
        return found
    rows = rows.drop_duplicates(["condition", "level", "side"])
    by_cell = {
        Cell(row.condition, row.level, row.side): place
        for place, row in enumerate(rows.itertuples())
    }
    placed = frame.places(rows[["x_px", "y_px", "index"]].to_numpy(float))
    placed[:, 2] /= frame.stack.slices
    for place, cell in enumerate(cells):
        if cell in by_cell:
            found[place] = placed[by_cell[cell]]
    return found


def training_samples(
    settings: Settings, stacks: Sequence[Stack], landmarks: pd.DataFrame, studies: Iterable[str]
) -> RegressionSamples:
    """The samples of ``studies`` that a regressor's kind learns from; may be none.

    ``landmarks``: table "located_landmarks". Studies without any are named in a warning.
    """
    wanted = sorted(set(studies))
    conditions = {target.condition for target in settings.targets}
    of_targets = landmarks[
        landmarks["condition"].isin(conditions) & landmarks["study"].isin(wanted)
    ]
    tables = dict(list(of_targets.groupby(["study", "series", "stack"], sort=True)))
    by_channel = [stacks_by_study(stacks, target) for target in settings.channels]
    looks, points, kept = [], [], []
    for study in wanted:
        rivals = [channel.get(study, []) for channel in by_channel]
        for look, placed in _SAMPLES[settings.view](settings, rivals, tables):
            looks.append(look)
            points.append(placed)
            kept.append(study)
    left_out = sorted(set(wanted) - set(kept))
    if left_out:
        _LOGGER.warning(
            "%s: %d studies without a series that bears landmarks take no part in training: %s",
            *(settings.name, len(left_out), ", ".join(left_out)),
        )
    placed = np.array(points) if points else np.zeros((0, len(settings.cells), 3))
    known = np.isfinite(placed).all(axis=2)
    return RegressionSamples(looks, np.nan_to_num(placed).astype(np.float32), known, tuple(kept))


Tables = Mapping[tuple[str, str, int], pd.DataFrame]
Made = Iterable[tuple[Look, NDArray[np.float64]]]


def _key(stack: Stack) -> tuple[str, str, int]:
    return stack.study, stack.series, stack.stack


def _sagittal_volumes(settings: Settings, rivals: list[list[Stack]], tables: Tables) -> Made:
    """One sample a study: in each channel the stack with most landmarks, then most slices."""
    chosen: Chosen = tuple(
        max(given, key=lambda s: (len(tables.get(_key(s), ())), s.slices)) if given else None
        for given in rivals
    )
    look = whole_look(settings, chosen)
    placed = np.full((len(settings.cells), 3), np.nan)
    for channel, stack in enumerate(chosen):
        own = np.array(settings.channel_of_point) == channel
        cells = [cell for cell, mine in zip(settings.cells, own, strict=True) if mine]
        if stack is not None:
            placed[own] = points_in(look.frames[channel], tables.get(_key(stack)), cells)
    if np.isfinite(placed).any():
        yield look, placed


def _sagittal_slices(settings: Settings, rivals: list[list[Stack]], tables: Tables) -> Made:
    """One sample a side and slice that bears landmarks, of any of the study's stacks."""
    for stack in rivals[0]:
        rows = tables.get(_key(stack))
        if rows is None:
            continue
        for (index, side), of_slice in rows.groupby(["index", "side"], sort=True):
            cells = [cell._replace(side=side) for cell in settings.cells]
            look = slice_look(settings, stack, int(index))
            yield look, points_in(look.frames[0], of_slice, cells)


def _axial_volumes(settings: Settings, rivals: list[list[Stack]], tables: Tables) -> Made:
    """One sample a stack that bears landmarks."""
    for stack in rivals[0]:
        if _key(stack) in tables:
            look = whole_look(settings, (stack,))
            yield look, points_in(look.frames[0], tables[_key(stack)], settings.cells)


def _axial_slices(settings: Settings, rivals: list[list[Stack]], tables: Tables) -> Made:
    """One sample an annotated slice and level, of any of the study's stacks."""
    for stack in rivals[0]:
        rows = tables.get(_key(stack))
        if rows is None:
            continue
        for (index, level), of_slice in rows.groupby(["index", "level"], sort=True):
            cells = [cell._replace(level=level) for cell in settings.cells]
            look = slice_look(settings, stack, int(index))
            yield look, points_in(look.frames[0], of_slice, cells)


_SAMPLES = {
    "axial_slice": _axial_slices,
    "sagittal_slice": _sagittal_slices,
    "sagittal_stack": _sagittal_volumes,
    "axial_stack": _axial_volumes,
}
