"""Axial sequences: every axial slice of a shard once, and which of them belong to which level.

Ranges are those of the published two-stage system (RSNA 2024, 7th place): half the gap to the
level above and half the gap to the level below.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.crop.crop import crop_steps, place_crop, read_crop
from spinegrade.crop.settings import InPlane, SequenceSet
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import normal
from spinegrade.geometry.planes import fractional_index
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS, SUBARTICULAR, TARGETS
from spinegrade.runtime.files import atomic_path
from spinegrade.runtime.progress import progress
from spinegrade.tables.files import check_table, empty_table, read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.sequences import SEQUENCES
from spinegrade.volumes import Stack, load_stacks

_LOGGER = logging.getLogger("spinegrade")
_KIND = TARGETS["subarticular"].plane, TARGETS["subarticular"].weighting
_STACK = ["study", "series", "stack"]
# What stands for the gap where a study has points of one level alone: about the distance
# between two lumbar discs.
LONE_GAP_MM = 30.0


class LevelPosition(NamedTuple):
    """Where a level lies in one stack: ``z_index`` in steps of its index, beyond its ends too.

    ``own``: by points that lie in this very stack, not by others of the study.
    """

    z_index: float
    own: bool
    confidence: float
    source: str


class LevelRange(NamedTuple):
    """Slices ``first`` to ``last`` (inclusive) of a stack that show the level at ``position``."""

    level: str
    position: LevelPosition
    first: int
    last: int


def level_positions(stack: Stack, points: pd.DataFrame) -> dict[str, LevelPosition]:
    """Where each level of the study lies in ``stack``, by level.

    ``points`` are the study's keypoints. Those in the stack count before those in others, which
    are projected along the stack's normal; of each side the most confident one. A level is
    midway between its sides, or at the one that there is.
    """
    found = {}
    for level in LUMBAR_LEVELS:
        rows = points[points["level"] == level]
        home = rows[(rows["series"] == stack.series) & (rows["stack"] == stack.stack)]
        own = not home.empty
        best = (home if own else rows).sort_values("confidence", ascending=False, kind="stable")
        best = best.drop_duplicates("side")
        if best.empty:
            continue
        places = fractional_index(stack.affine, best[["x_mm", "y_mm", "z_mm"]].to_numpy(float))
        confidence = float(best["confidence"].min())
        found[level] = LevelPosition(float(places.mean()), own, confidence, best.iloc[0]["source"])
    return found


def level_ranges(stack: Stack, points: pd.DataFrame) -> list[LevelRange]:
    """The levels that ``stack`` shows and their slices, from L1/L2 down; see ``level_positions``.

    A range reaches half the gap to the level above and half the gap to the one below; the first
    and the last level have one gap, for both ways. Where levels between two are unknown, their
    share of the distance is the gap. Ranges are rounded to whole slices, halves to even, and end
    with the stack. A level whose points lie in other stacks is shown where its range
    meets the slices.
    """
    positions = level_positions(stack, points)
    known = [number for number, level in enumerate(LUMBAR_LEVELS) if level in positions]
    heights = [positions[LUMBAR_LEVELS[number]].z_index for number in known]
    gaps = np.abs(np.diff(heights)) / np.diff(known)
    if len(known) == 1:
        gaps = np.array([LONE_GAP_MM / abs(stack.affine[:3, 2] @ normal(stack.affine))])
    found = []
    for number, z_index in enumerate(heights):
        level = LUMBAR_LEVELS[known[number]]
        above = gaps[max(number - 1, 0)] / 2
        below = gaps[min(number, len(gaps) - 1)] / 2
        low, high = z_index - below, z_index + above
        if not positions[level].own and (high < 0 or low > stack.slices - 1):
            continue
        first, last = np.clip(np.rint([low, high]), 0, stack.slices - 1).astype(int).tolist()
        found.append(LevelRange(level, positions[level], first, last))
    return found


def crop_stack(in_plane: InPlane, stack: Stack) -> NDArray[np.uint8]:
    """Every slice of ``stack`` cut around its middle, uint8 (slices, rows, cols).

    Turned as all crops are. Raises SpinegradeError for a volume that cannot be read.
    """
    shape = (stack.slices, *in_plane.stored_px)
    steps = np.stack([*crop_steps(in_plane, stack), stack.affine[:3, 2]], axis=1)
    centre = (stack.cols - 1) / 2, (stack.rows - 1) / 2, (stack.slices - 1) / 2
    return read_crop(stack, stack.open(), place_crop(steps, stack, centre, shape), shape)


def axial_stacks(stacks: Iterable[Stack]) -> list[Stack]:
    """The stacks whose slices are kept, by study, series and stack.

    A study one of whose volumes is damaged is logged and left out. Raises SpinegradeError for a
    volume that is not there.
    """
    chosen = [stack for stack in stacks if (stack.plane, stack.weighting) == _KIND]
    damaged = set()
    for stack in chosen:
        if not stack.path.exists():
            raise SpinegradeError(
                f"{stack.path}: no such volume; run convert_dicom again", code="VOLUME_MISSING"
            )
        try:
            stack.open()
        except SpinegradeError as error:
            _LOGGER.warning("study %s gets no axial sequences: %s", stack.study, error)
            damaged.add(stack.study)
    kept = [stack for stack in chosen if stack.study not in damaged]
    return sorted(kept, key=lambda stack: (stack.study, stack.series, stack.stack))


def sequence_table(
    stacks: Sequence[Stack],
    keypoints: pd.DataFrame,
    landmarks: pd.DataFrame | None,
    folds: Mapping[str, int] | None,
) -> pd.DataFrame:
    """The "sequences" table of ``stacks``, whose slices lie one after the other.

    ``landmarks`` (located) say which sides of which levels of a stack are graded. With both
    None every study is new to the models: no folds, and nothing is known to be graded.
    """
    annotated = set()
    if landmarks is not None:
        own = landmarks[landmarks["condition"] == SUBARTICULAR]
        annotated = set(own[[*_STACK, "level", "side"]].itertuples(index=False, name=None))
    of_study = dict(list(keypoints.groupby("study")))
    rows: list[dict[str, Any]] = []
    start = 0
    for stack in stacks:
        key = stack.study, stack.series, stack.stack
        fold = None if folds is None else folds.get(stack.study)
        for level, position, first, last in level_ranges(
            stack, of_study.get(stack.study, keypoints.iloc[:0])
        ):
            graded = {
                f"{side}_graded": None if fold is None else (*key, level, side) in annotated
                for side in ("left", "right")
            }
            rows.append(
                dict(zip(_STACK, key, strict=True))
                | {"start": start, "slices": stack.slices, "level": level}
                | {"z_index": position.z_index, "first": first, "last": last}
                | graded
                | {"confidence": position.confidence, "source": position.source, "fold": fold}
            )
        start += stack.slices
    if not rows:
        return empty_table(SEQUENCES)
    return check_table(pd.DataFrame(rows), SEQUENCES)


def write_slices(path: str | Path, in_plane: InPlane, stacks: Sequence[Stack]) -> None:
    """Write the slices of ``stacks`` one after the other as NPY, uint8 (slices, rows, cols).

    A stack at a time, so that a shard need not fit into memory.
    """
    shape = (sum(stack.slices for stack in stacks), *in_plane.stored_px)
    with atomic_path(path) as temporary:
        # Zeros that take no memory make the file; the slices are then written through a map.
        np.save(temporary, np.broadcast_to(np.uint8(0), shape), allow_pickle=False)
        if not shape[0]:
            return
        array = np.load(temporary, mmap_mode="r+", allow_pickle=False)
        start = 0
        for stack in progress(list(stacks), "axial slices"):
            array[start : start + stack.slices] = crop_stack(in_plane, stack)
            start += stack.slices
        array.flush()


def write_sequences(
    sequence_set: SequenceSet,
    keypoints: str | Path,
    stacks: str | Path,
    landmarks: str | Path | None,
    folds: str | Path | None,
    array: str | Path,
    table: str | Path,
) -> None:
    """Cut one shard from its files and write slices.npy and sequences.parquet.

    See ``sequence_table`` and ``write_slices``.
    """
    chosen = axial_stacks(load_stacks([stacks]))
    of_study = None
    if folds:
        read = read_table(folds, FOLDS)
        of_study = dict(zip(read["study"], read["fold"].astype(int).tolist(), strict=True))
    rows = sequence_table(
        chosen,
        read_table(keypoints, KEYPOINTS),
        read_table(landmarks, LOCATED_LANDMARKS) if landmarks else None,
        of_study,
    )
    write_slices(array, sequence_set.in_plane, chosen)
    write_table(table, rows, SEQUENCES)
