"""The stores that a grader reads, opened and brought to its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from spinegrade.grade.views.crop_store import open_all_crops
from spinegrade.grade.views.level_samples import level_samples
from spinegrade.grade.views.samples import Samples, recess_samples, view_samples
from spinegrade.grade.views.sequence_store import open_sequences
from spinegrade.grade.views.settings import CropShape, Settings


class StorePaths(NamedTuple):
    """Where crops lie: ``arrays`` and ``tables`` as ``open_all_crops`` wants them.

    ``slices`` and ``sequences``: arrays and tables of the sequence set's shards, where it has one.
    """

    arrays: Sequence[str]
    tables: Sequence[str]
    slices: Sequence[str] = ()
    sequences: Sequence[str] = ()


def samples_of(
    settings: Settings,
    shapes: Mapping[str, CropShape],
    paths: StorePaths,
    studies: Iterable[str],
    labels: pd.DataFrame | None,
) -> Samples:
    """The rows of ``studies`` for a grader of whichever family; ``labels`` None: to predict.

    Raises SpinegradeError for stores that are not what the config says.
    """
    stores = open_all_crops(settings.crops, dict(shapes), paths.arrays, paths.tables)
    if settings.family == "all_view":
        size = shapes[settings.sequence].seen[1:]
        sequences = open_sequences(size, paths.slices, paths.sequences)
        return level_samples(stores, sequences, settings.positions, studies, labels)
    made = recess_samples if settings.family == "axial_side" else view_samples
    return made(settings, stores, studies, labels)
