"""Made-up crops of canals and foramina with their cohort, and a grader of cells for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from learner_blocks import filled, merged
from learner_helpers import predict_grades, train_fold
from roi_helpers import SHAPE, write_crops
from spinegrade.grade.cells.settings import Settings
from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.studies import STUDIES

SHAPES = {"canal": SHAPE, "canal_axial": SHAPE, "foramen": SHAPE}
KIND = ("grade", "cells")


def small_block(**more: Any) -> dict[str, Any]:
    """The block of a grader of cells; blocks of ``more`` are merged, but for ``reads``."""
    block = {
        "kind": "cells",
        "reads": {"canal": ["canal", "canal_axial"], "foraminal": ["foramen"]},
        "model": {"encoder": {"backbone": "test_resnet"}},
        "training": {"epochs": 2, "batch_size": 16, "validate_every": 2},
    }
    whole = {"reads": more.pop("reads")} if "reads" in more else {}
    return filled({**merged(block, more), **whole}, "small")


def small(**more: Any) -> Settings:
    """Settings of the same."""
    return Settings("small", small_block(**more))


def write_cohort(folder: Path, studies: int = 6, folds: int = 3) -> dict[str, Any]:
    """Crops by roi set and the tables of studies and folds; the last study is new."""
    many = {"studies": studies, "folds": folds}
    crops = write_crops(folder, "canal", [SPINAL], **many, seed=1)
    crops |= write_crops(folder, "canal_axial", [SPINAL], **many, axial=True, seed=1)
    crops |= write_crops(folder, "foramen", [FORAMINAL], **many, seed=2)
    return {"crops": crops, **write_tables(folder, studies, folds)}


def write_tables(folder: Path, studies: int, folds: int, new_studies: int = 1) -> dict[str, str]:
    """Tables of studies s000, s001 ..., in the folds in turn; paths by name."""
    known = [f"s{number:03d}" for number in range(studies)]
    new = [f"s{number:03d}" for number in range(studies, studies + new_studies)]
    rows = pd.DataFrame({"study": [*known, *new], "region": "lumbar", "shard": 0})
    rows = rows.assign(
        split=["train"] * len(known) + ["test"] * len(new), series_count=1, problem=None
    )
    write_table(folder / "studies.parquet", rows, STUDIES)
    of_fold = {"study": known, "fold": [n % folds for n in range(studies)], "stratum": 0}
    write_table(folder / "folds.parquet", pd.DataFrame(of_fold), FOLDS)
    return {name: str(folder / f"{name}.parquet") for name in ("studies", "folds")}


def inputs_of(cohort: dict[str, Any], names: Sequence[str] = tuple(SHAPES)) -> dict[str, list[str]]:
    """Files of a cohort as a job of a grader of cells has them."""
    arrays = [str(path) for name in names for path in cohort["crops"][name][0]]
    tables = [str(path) for name in names for path in cohort["crops"][name][1]]
    found = {"arrays": arrays, "tables": tables}
    return found | {name: [cohort[name]] for name in ("studies", "folds")}


def given_of(names: Sequence[str] = tuple(SHAPES)) -> dict[str, Any]:
    """Shapes of the roi sets as a job has them."""
    return {"shapes": {name: SHAPES[name]._asdict() for name in names}}


def train(
    folder: Path, cohort: dict[str, Any], block: dict[str, Any], fold: int, **run: Any
) -> Path:
    """Train one fold. The weights' path."""
    return train_fold(folder, KIND, "small", fold, block, inputs_of(cohort), given_of(), **run)


def predict(
    folder: Path, cohort: dict[str, Any], block: dict[str, Any], weights: Sequence[Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Out-of-fold and new predictions of all studies."""
    inputs = inputs_of(cohort) | {"weights": [str(path) for path in weights]}
    outputs = predict_grades(folder, KIND, "small", block, inputs, given_of())
    return tuple(read_table(outputs[name], PREDICTIONS) for name in ("out_of_fold", "new"))
