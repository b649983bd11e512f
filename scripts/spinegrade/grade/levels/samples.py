"""What an all-view grader learns from and grades: levels, with all that shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from spinegrade.grade.levels.sequence_store import SequenceStore
from spinegrade.grade.views.crop_store import CropStore
from spinegrade.grade.views.samples import Batch, Group, crop_places, grades_of
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS
from spinegrade.regions.lumbar_views import MISSING_GRADE, SIDED_CONDITIONS, VIEWS
from spinegrade.sequences import JITTERS

# Places in SIDED_CONDITIONS of what axial slices show, and where a table says that it is graded.
_RECESSES = {3: "left_graded", 4: "right_graded"}
_GROUPS = tuple(
    Group(kind, *view)
    for kind, view in zip(("canal", "foraminal", "foraminal"), VIEWS, strict=True)
)


@dataclass(frozen=True)
class LevelSamples:
    """One row a level of a study that anything shows; a column for each sided condition.

    ``levels`` (n,) places in LUMBAR_LEVELS; ``crops`` (n, 3) the place of each view's crop in its
    store, -1 where there is none; ``owned``: of each row its rows of the sequences' table.
    """

    studies: tuple[str, ...]
    levels: NDArray[np.int64]
    stores: Mapping[str, CropStore]
    crops: NDArray[np.int64]
    sequences: SequenceStore
    owned: tuple[tuple[int, ...], ...]
    positions: int
    grades: NDArray[np.int64]
    speaks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.studies)

    def of(self, studies: Iterable[str]) -> LevelSamples:
        """The rows of these studies alone, in the same order."""
        wanted = set(studies)
        return self.rows([row for row, study in enumerate(self.studies) if study in wanted])

    def rows(self, rows: list[int]) -> LevelSamples:
        """These rows alone, in the order given."""
        return replace(
            self,
            studies=tuple(self.studies[row] for row in rows),
            levels=self.levels[rows],
            crops=self.crops[rows],
            owned=tuple(self.owned[row] for row in rows),
            grades=self.grades[rows],
            speaks=self.speaks[rows],
        )

    def places(self) -> NDArray[np.int64]:
        """(n, 5, 2): sided condition and level of each column of each row."""
        sided = np.arange(len(SIDED_CONDITIONS))
        return np.stack(np.broadcast_arrays(sided[None], self.levels[:, None]), axis=2)

    def read(self, rows: NDArray[np.int64], seed: int | None = None) -> Batch:
        """``rows`` (N,): crops (N, 3, 1, S, height, width), sequences (M, P, 3, rows, cols).

        ``owner`` (M,) is the row of each sequence. With ``seed`` each row has one of its sequences,
        chosen with its jitter by chance; a recess's grade counts only where that stack is known
        to be graded there, or nothing is known. Without it has all, unmoved.
        """
        draws = None if seed is None else np.random.default_rng(seed)
        grades = self.grades[rows].copy()
        images, owner = [], []
        for place, row in enumerate(rows):
            owned = self.owned[row]
            if draws is not None and owned:
                owned = (owned[draws.integers(len(owned))],)
                for column, name in _RECESSES.items():
                    known = self.sequences.table[name].iat[owned[0]]
                    if not pd.isna(known) and not known:
                        grades[place, column] = MISSING_GRADE
            for number in owned:
                jitter = None if draws is None else float(draws.choice(JITTERS))
                images.append(self.sequences.take(number, self.positions, jitter))
                owner.append(place)
        size = self.sequences.arrays[0].shape[1:]
        axial = np.stack(images) if images else np.zeros((0, self.positions, 3, *size), np.uint8)
        chosen = self.crops[rows]
        stores = [self.stores[group.kind] for group in _GROUPS]
        crops = [store.take(chosen[:, place]) for place, store in enumerate(stores)]
        aspects = [store.aspects(chosen[:, place]) for place, store in enumerate(stores)]
        return Batch(
            images={
                "sagittal": torch.from_numpy(np.stack(crops, axis=1)[:, :, None]),
                "axial": torch.from_numpy(axial),
            },
            there={
                "sagittal_there": torch.from_numpy(chosen >= 0),
                "owner": torch.tensor(owner, dtype=torch.int64),
            },
            aspects={"sagittal": torch.from_numpy(np.stack(aspects, axis=1)[:, :, None])},
            grades=torch.from_numpy(grades),
        )

    def digest(self) -> str:
        """Fingerprint of the levels, their grades, and all pixels of their crops and stacks."""
        digest = hashlib.sha256(repr((self.studies, self.levels.tolist(), self.owned)).encode())
        digest.update(self.grades.tobytes() + self.speaks.tobytes())
        used = sorted({number for owned in self.owned for number in owned})
        table = self.sequences.table.iloc[used]
        digest.update(table.drop(columns="source").to_csv(index=False).encode())
        for place in np.flatnonzero(~table.duplicated(["study", "series", "stack"])):
            digest.update(np.ascontiguousarray(self.sequences.whole(used[place])))
        for row in range(len(self)):
            for place, group in enumerate(_GROUPS):
                digest.update(self.stores[group.kind].take(self.crops[row : row + 1, place]))
        return digest.hexdigest()


def level_samples(
    stores: Mapping[str, CropStore],
    sequences: SequenceStore,
    positions: int,
    studies: Iterable[str],
    labels: pd.DataFrame | None,
) -> LevelSamples:
    """The levels of ``studies`` that a crop or a sequence shows, by study and level.

    ``labels`` None: to predict. A cell's grade counts where its own image is there: the sagittal
    crop, or for a recess a sequence of the level.
    """
    by_study = {study: place for place, study in enumerate(sorted(set(studies)))}
    crops = np.stack([crop_places(stores[g.kind], g, by_study) for g in _GROUPS], axis=2)
    owned: dict[tuple[str, str], list[int]] = {}
    table = sequences.table
    for number, key in enumerate(zip(table["study"], table["level"], strict=True)):
        owned.setdefault(key, []).append(number)
    mine = [[tuple(owned.get((study, level), ())) for level in LUMBAR_LEVELS] for study in by_study]
    shown = np.array([[bool(rows) for rows in levels] for levels in mine]).reshape(-1, 5)
    speaks = np.concatenate([crops >= 0, np.stack([shown, shown], axis=2)], axis=2)
    grades = grades_of(labels, by_study).transpose(0, 2, 1)
    grades = np.where(speaks, grades, MISSING_GRADE)
    count, levels = len(by_study), len(LUMBAR_LEVELS)
    everything = LevelSamples(
        studies=tuple(study for study in by_study for _ in range(levels)),
        levels=np.tile(np.arange(levels), count),
        stores=stores,
        crops=crops.reshape(count * levels, -1),
        sequences=sequences,
        owned=tuple(rows for of_study in mine for rows in of_study),
        positions=positions,
        grades=grades.reshape(count * levels, -1),
        speaks=speaks.reshape(count * levels, -1),
    )
    return everything.rows(np.flatnonzero(everything.speaks.any(axis=1)).tolist())
