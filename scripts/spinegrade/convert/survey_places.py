"""Where the slices of surveyed series lie: enough to place annotated points before conversion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.convert.plan import PlannedStack
from spinegrade.convert.refusals import plain_name
from spinegrade.convert.source import SeriesSource
from spinegrade.geometry.affine import AFFINE_COLUMNS, Affine

_SLICES = ["study", "series", "stack", "index", "instance_number", "file"]


@dataclass(frozen=True)
class StackPlaces:
    """One stack: affine to LPS mm, image size in px, numbers (n,) and files by index.

    ``copies``: (index of the kept slice, number, file) of slices left out as its exact copies.
    """

    affine: Affine
    rows: int
    cols: int
    numbers: NDArray[np.int64]
    files: tuple[str, ...]
    copies: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class SeriesPlaces:
    """The stacks of one series. ``frames_of_reference`` never leaves the process as it is."""

    study: str
    series: str
    plane: str
    weighting: str
    stacks: tuple[StackPlaces, ...]
    frames_of_reference: frozenset[bytes]


def series_places(source: SeriesSource, planned: list[PlannedStack]) -> SeriesPlaces:
    """The places of a series' slices, as conversion numbers its stacks."""
    stacks = tuple(
        StackPlaces(
            stack.affine,
            stack.frames[0].pixels.rows,
            stack.frames[0].pixels.cols,
            np.array([frame.instance_number for frame in stack.frames], np.int64),
            tuple(plain_name(frame.file) for frame in stack.frames),
            tuple(
                (index, frame.instance_number, plain_name(frame.file))
                for index, members in stack.copies.items()
                for frame in members
            ),
        )
        for stack in planned
    )
    references = {frame.frame_of_reference for stack in planned for frame in stack.frames}
    return SeriesPlaces(
        source.study,
        source.series,
        source.plane,
        source.weighting,
        stacks,
        frozenset(references - {b""}),
    )


def place_tables(places: Iterable[SeriesPlaces]) -> dict[str, pd.DataFrame]:
    """Tables ``stacks`` (geometry alone), ``slices`` (without position) and ``copies``."""
    stacks: list[tuple[object, ...]] = []
    slices: list[tuple[object, ...]] = []
    copies: list[tuple[object, ...]] = []
    for one in places:
        for number, stack in enumerate(one.stacks):
            key = (one.study, one.series, number)
            affine = stack.affine[:3].ravel().tolist()
            stacks.append((*key, one.plane, one.weighting, stack.rows, stack.cols, *affine))
            copies += [(*key, *copy) for copy in stack.copies]
            slices += [
                (*key, index, instance, file)
                for index, (instance, file) in enumerate(
                    zip(stack.numbers.tolist(), stack.files, strict=True)
                )
            ]
    columns = ["study", "series", "stack", "plane", "weighting", "rows", "cols", *AFFINE_COLUMNS]
    return {
        "stacks": pd.DataFrame(stacks, columns=columns),
        "slices": pd.DataFrame(slices, columns=_SLICES),
        "copies": pd.DataFrame(copies, columns=_SLICES),
    }


@dataclass(frozen=True)
class FramesOfReference:
    """Studies whose series name frames of reference, and those whose series differ in them."""

    studies: int
    differing: frozenset[str]


def compare_frames(places: Iterable[SeriesPlaces]) -> FramesOfReference:
    """Whether the positions of a study's series claim to be comparable.

    An anonymiser may have given every series a frame of its own, so that this alone says nothing
    against a study. Counted are studies of which two series or more name one.
    """
    by_study: dict[str, list[frozenset[bytes]]] = defaultdict(list)
    for one in places:
        if one.frames_of_reference:
            by_study[one.study].append(one.frames_of_reference)
    several = {study: found for study, found in by_study.items() if len(found) > 1}
    differing = {study for study, found in several.items() if len(set(found)) > 1}
    return FramesOfReference(len(several), frozenset(differing))
