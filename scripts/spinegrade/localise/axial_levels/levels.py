"""Axial studies as sequences: every slice of all series, from head to feet, and its labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.geometry.affine import normal
from spinegrade.localise.axial_levels.settings import Settings
from spinegrade.localise.coordinates.frames import Frame, nearest_places
from spinegrade.localise.coordinates.samples import Look, add_look, points_in, stacks_by_study
from spinegrade.losses.sequence_terms import IGNORED
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS, SUBARTICULAR
from spinegrade.regions.region import Cell
from spinegrade.volumes import Stack

# Slices this far from a point are still of its level; what those beyond are worth.
_REACH = 2
_FAR = 0.001
CELLS = tuple(
    Cell(SUBARTICULAR, level, side) for side in ("left", "right") for level in LUMBAR_LEVELS
)


@dataclass(frozen=True)
class StudySequence:
    """All axial slices of one study. ``places`` (n, 2, 5): left and right points of the levels.

    Places are in slices of each series as it is seen, NaN where not annotated.
    """

    study: str
    look: Look
    places: NDArray[np.float64]

    @property
    def segments(self) -> list[tuple[int, int]]:
        """(first, end) of each series' slices in the sequence."""
        ends = np.cumsum([0, *(len(places) for places in self.look.places)])
        return [(int(first), int(end)) for first, end in pairwise(ends)]


def sequence_of(settings: Settings, stacks: Sequence[Stack]) -> Look:
    """The series from head to feet by their first slice, each brought to ``slice_mm`` a slice."""
    frames = [Frame(stack, settings.frame_px) for stack in stacks]
    # The first slice of a frame is the stack's last, nearest to the head.
    frames.sort(key=lambda frame: -_height(frame.stack))
    places = []
    for frame in frames:
        stack = frame.stack
        spacing = abs(float(stack.affine[:3, 2] @ normal(stack.affine)))
        depth = max(1, int(stack.slices * spacing / settings.slice_mm))
        places.append(nearest_places(stack.slices, depth))
    return Look(tuple(frames), tuple(places))


def _height(stack: Stack) -> float:
    centre = [(stack.cols - 1) / 2, (stack.rows - 1) / 2, stack.slices - 1, 1.0]
    return float(stack.affine[2] @ centre)


def training_sequences(
    settings: Settings, stacks: Sequence[Stack], landmarks: pd.DataFrame, studies: Iterable[str]
) -> list[StudySequence]:
    """The sequences of the ``studies`` that have annotated axial points, sorted by study."""
    of_kind = landmarks[landmarks["condition"] == SUBARTICULAR]
    tables = dict(list(of_kind.groupby(["study", "series", "stack"], sort=True)))
    by_study = stacks_by_study(stacks, settings.target)
    found = []
    for study in sorted(set(studies)):
        if study not in by_study:
            continue
        look = sequence_of(settings, by_study[study])
        places = np.full((len(look.frames), 2, len(LUMBAR_LEVELS)), np.nan)
        for row, (frame, shown) in enumerate(zip(look.frames, look.places, strict=True)):
            stack = frame.stack
            rows = tables.get((stack.study, stack.series, stack.stack))
            shares = points_in(frame, rows, CELLS)[:, 2]
            places[row] = (shares * len(shown)).reshape(2, -1)
        if np.isfinite(places).any():
            found.append(StudySequence(study, look, places))
    return found


def digest_of(sequences: Sequence[StudySequence]) -> str:
    """Fingerprint of what is learnt from: volumes by file, size and time, and places."""
    digest = hashlib.sha256()
    for one in sequences:
        add_look(digest, one.look)
        digest.update(np.ascontiguousarray(one.places))
    return digest.hexdigest()


def read_slices(settings: Settings, look: Look) -> NDArray[np.uint8]:
    """Every slice of a sequence, uint8 (L, image_px, image_px): the middle of the frames."""
    side, crop = settings.image_px, settings.crop_px
    first = (settings.frame_px - crop) // 2
    inner = slice(first, first + crop)
    how = cv2.INTER_AREA if side < crop else cv2.INTER_LINEAR
    seen = []
    for frame, places in zip(look.frames, look.places, strict=True):
        for image in frame.slices(places)[:, inner, inner]:
            seen.append(cv2.resize(image, (side, side), interpolation=how))
    return np.stack(seen)


def labels_of(
    sequence: StudySequence,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Level (L,) of each slice, how near it is to each point (L, 2, 5), and what of it counts.

    Slices within two of a point are of its level, and 1 - 0.5 |i - z| / d near to it, d being
    the larger half of that window; others are of none and 0.001 near. A side and level count
    in the series where they are annotated.
    """
    length = sequence.segments[-1][1]
    labels = np.full(length, IGNORED, np.int64)
    wanted = np.full((length, 2, len(LUMBAR_LEVELS)), _FAR, np.float32)
    counted = np.zeros(wanted.shape, bool)
    for (first, end), places in zip(sequence.segments, sequence.places, strict=True):
        for side, level in np.argwhere(np.isfinite(places)):
            place = places[side, level]
            start = max(0, round(place - _REACH))
            stop = min(end - first, round(place + _REACH) + 1)
            half = max(stop - place, place - start)
            near = np.arange(start, stop)
            labels[first + start : first + stop] = level
            wanted[first + start : first + stop, side, level] = (
                1 - np.abs(near - place) * 0.5 / half
            )
            counted[first:end, side, level] = True
    return labels, wanted, counted
