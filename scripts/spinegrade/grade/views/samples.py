"""What a grader learns from and grades: rows of crops with their grades."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinegrade.grade.views.crop_store import CropStore
from spinegrade.grade.views.settings import CONDITION_OF, Settings
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS
from spinegrade.regions.lumbar_views import MISSING_GRADE, SIDED_CONDITIONS

_LEVEL_PLACE = {level: place for place, level in enumerate(LUMBAR_LEVELS)}


class Batch(NamedTuple):
    """Some rows as they are stored, on the CPU or a device.

    ``images``: uint8 by the name of the network's input, with margins. ``there``: what goes with
    them, by the name of the network's input. ``grades`` int64 (B, C), -1 where none counts.
    """

    images: dict[str, Tensor]
    there: dict[str, Tensor]
    aspects: dict[str, Tensor]
    grades: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``."""

        def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: value.to(device, non_blocking=True) for name, value in tensors.items()}

        # Movements are computed on the CPU: aspects stay there.
        grades = self.grades.to(device, non_blocking=True)
        return Batch(moved(self.images), moved(self.there), self.aspects, grades)

    def pinned(self) -> Batch:
        """The same in memory that CUDA can copy from while it computes."""
        images = {name: value.pin_memory() for name, value in self.images.items()}
        there = {name: value.pin_memory() for name, value in self.there.items()}
        return Batch(images, there, self.aspects, self.grades.pin_memory())


class Samples(Protocol):
    """Rows of a grader, of whichever family.

    ``grades`` int64 (n, C), -1 where none counts. ``speaks`` bool (n, C): whether the grader grades
    the cell and has an image of it. ``studies`` (n,): of each row.
    """

    grades: NDArray[np.int64]
    speaks: NDArray[np.bool_]
    studies: tuple[str, ...]

    def __len__(self) -> int: ...

    def of(self, studies: Iterable[str]) -> Samples:
        """The rows of these studies alone, in the same order."""

    def places(self) -> NDArray[np.int64]:
        """(n, C, 2): sided condition and level of each column of each row."""

    def read(self, rows: NDArray[np.int64], seed: int | None = None) -> Batch:
        """The rows as a batch; what is chosen at random comes from ``seed``, None for all."""

    def digest(self) -> str:
        """Fingerprint of all that a training learns from these rows."""


class Group(NamedTuple):
    """A block of crops of each study: which store, and of which (condition, side)."""

    kind: str
    condition: str
    side: str


@dataclass(frozen=True)
class StudySamples:
    """One row a study that has a crop; G groups of five levels each, C = 5 G columns.

    ``crops``: by input the place (n, G, 5) of each crop in the store of its group, -1 where there
    is none. ``groups``: by input the groups. ``sided_conditions`` (G,) places in SIDED_CONDITIONS.
    """

    studies: tuple[str, ...]
    sided_conditions: tuple[int, ...]
    stores: Mapping[str, CropStore]
    groups: Mapping[str, tuple[Group, ...]]
    crops: Mapping[str, NDArray[np.int64]]
    grades: NDArray[np.int64]
    speaks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.studies)

    def of(self, studies: Iterable[str]) -> StudySamples:
        """The rows of these studies alone, in the same order."""
        wanted = set(studies)
        rows = [row for row, study in enumerate(self.studies) if study in wanted]
        return replace(
            self,
            studies=tuple(self.studies[row] for row in rows),
            crops={name: places[rows] for name, places in self.crops.items()},
            grades=self.grades[rows],
            speaks=self.speaks[rows],
        )

    def places(self) -> NDArray[np.int64]:
        """(n, C, 2): sided condition and level of each column of each row."""
        of_study = [
            (sided, level) for sided in self.sided_conditions for level in _LEVEL_PLACE.values()
        ]
        return np.broadcast_to(np.array(of_study), (len(self), len(of_study), 2))

    def read(self, rows: NDArray[np.int64], seed: int | None = None) -> Batch:
        """The crops of ``rows`` (B,), uint8 (B, G, 5, slices, height, width) of each input.

        Nothing is chosen at random: ``seed`` makes no odds.
        """
        images, there, aspects = {}, {}, {}
        for name, places in self.crops.items():
            chosen = places[rows]
            stores = [self.stores[group.kind] for group in self.groups[name]]
            parts = [store.take(chosen[:, place]) for place, store in enumerate(stores)]
            images[name] = torch.from_numpy(np.stack(parts, axis=1))
            there[f"{name}_there"] = torch.from_numpy(chosen >= 0)
            heights = [store.aspects(chosen[:, place]) for place, store in enumerate(stores)]
            aspects[name] = torch.from_numpy(np.stack(heights, axis=1))
        return Batch(images, there, aspects, torch.from_numpy(self.grades[rows]))

    def digest(self) -> str:
        """Fingerprint of the studies, their grades and all pixels of their crops."""
        digest = hashlib.sha256(repr((self.studies, self.sided_conditions)).encode())
        digest.update(self.grades.tobytes() + self.speaks.tobytes())
        # A few at a time: all of them need not fit into memory.
        for start in range(0, len(self), 8):
            batch = self.read(np.arange(start, min(start + 8, len(self))))
            for name, there in batch.there.items():
                digest.update(f"{name} {tuple(there.shape)}".encode() + there.numpy().tobytes())
            for name, images in batch.images.items():
                digest.update(f"{name} {tuple(images.shape)}".encode())
                digest.update(images.numpy())
        return digest.hexdigest()


def crop_places(store: CropStore, group: Group, studies: Mapping[str, int]) -> NDArray[np.int64]:
    """Where the crops of a group lie in its store, (len(studies), 5); -1 where there is none.

    ``studies``: the row of each. Raises no error for studies without a crop.
    """
    found = np.full((len(studies), len(_LEVEL_PLACE)), -1, np.int64)
    table = store.table
    mine = table[(table["condition"] == group.condition) & (table["side"] == group.side)]
    mine = mine[mine["study"].isin(studies)]
    rows = mine["study"].map(studies).to_numpy(np.int64)
    levels = mine["level"].map(_LEVEL_PLACE).to_numpy(np.int64)
    found[rows, levels] = mine["place"].to_numpy(np.int64)
    return found


def grades_of(labels: pd.DataFrame | None, studies: Mapping[str, int]) -> NDArray[np.int64]:
    """Grades (len(studies), sided conditions, levels) of a labels table, -1 where it has none."""
    found = np.full(
        (len(studies), len(SIDED_CONDITIONS), len(_LEVEL_PLACE)), MISSING_GRADE, np.int64
    )
    if labels is None:
        return found
    place = {key: number for number, key in enumerate(SIDED_CONDITIONS)}
    rows = labels[labels["study"].isin(studies) & labels["grade"].notna()]
    for row in rows.itertuples():
        if (row.condition, row.side) in place and row.level in _LEVEL_PLACE:
            sided = place[row.condition, row.side]
            found[studies[row.study], sided, _LEVEL_PLACE[row.level]] = int(row.grade)
    return found


def recess_samples(
    settings: Settings,
    stores: Mapping[str, CropStore],
    studies: Iterable[str],
    labels: pd.DataFrame | None,
) -> StudySamples:
    """Samples of an ``axial_side`` grader: those of ``studies`` with an axial crop, sorted.

    ``labels`` None: to predict. A cell without an axial crop has no grade that counts; one without
    the sagittal crop beside it has.
    """
    sided = settings.sided_conditions
    groups = {
        name: tuple(Group(kind, *SIDED_CONDITIONS[place]) for place in sided)
        for name, kind in (("sagittal", "beside"), ("axial", "subarticular"))
    }
    rows = {study: row for row, study in enumerate(sorted(set(studies)))}
    crops = {
        name: np.stack([crop_places(stores[g.kind], g, rows) for g in mine], axis=1)
        for name, mine in groups.items()
    }
    speaks = crops["axial"] >= 0
    grades = np.where(speaks, grades_of(labels, rows)[:, list(sided)], MISSING_GRADE)
    samples = StudySamples(
        studies=tuple(rows),
        sided_conditions=sided,
        stores=stores,
        groups=groups,
        crops=crops,
        grades=grades.reshape(len(rows), -1),
        speaks=speaks.reshape(len(rows), -1),
    )
    return samples.of(study for study, row in rows.items() if speaks[row].any())


def view_samples(
    settings: Settings,
    stores: Mapping[str, CropStore],
    studies: Iterable[str],
    labels: pd.DataFrame | None,
) -> StudySamples:
    """Samples of a single-view grader: those of ``studies`` with a crop that it grades, sorted.

    ``labels`` None: to predict. A cell without a crop has no grade that counts: the published
    system keeps it, with an empty crop.
    """
    sided = settings.sided_conditions
    groups = tuple(
        Group("canal" if condition == CONDITION_OF["canal"] else "foraminal", condition, side)
        for condition, side in (SIDED_CONDITIONS[place] for place in sided)
    )
    rows = {study: row for row, study in enumerate(sorted(set(studies)))}
    places = np.stack([crop_places(stores[g.kind], g, rows) for g in groups], axis=1)
    own = np.isin(sided, settings.graded)[None, :, None]
    speaks = (places >= 0) & own
    grades = np.where(speaks, grades_of(labels, rows)[:, list(sided)], MISSING_GRADE)
    samples = StudySamples(
        studies=tuple(rows),
        sided_conditions=sided,
        stores=stores,
        groups={"sagittal": groups},
        crops={"sagittal": places},
        grades=grades.reshape(len(rows), -1),
        speaks=speaks.reshape(len(rows), -1),
    )
    return samples.of(study for study, row in rows.items() if speaks[row].any())
