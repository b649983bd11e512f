"""A made-up cohort of crops with its tables, and graders small enough for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from learner_blocks import filled, merged
from learner_helpers import predict_grades, train_fold
from roi_helpers import write_crops
from spinegrade.crop_shape import CropShape
from spinegrade.grade.levels import stores as levels
from spinegrade.grade.views import stores as views
from spinegrade.grade.views.stores import Opened, open_inputs
from spinegrade.learners import learners_of
from spinegrade.models.registry import build
from spinegrade.regions.lumbar_mri import CONDITIONS, LUMBAR_LEVELS
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.rois import ROIS
from spinegrade.tables.sequences import SEQUENCES
from spinegrade.tables.studies import STUDIES

# As roi_helpers stores them: 5 slices of 32 px, of which a network sees 3 of 24.
SHAPE = CropShape(slices=3, slice_margin=1, rows=24, cols=24, margin_px=4)
SETS = {
    "canal_set": ([CONDITIONS[0]], False),
    "foramen_set": ([CONDITIONS[1]], False),
    "recess_set": ([CONDITIONS[2]], True),
    "beside_set": ([CONDITIONS[2]], False),
}
SLICES, SIDE = 20, 32
SHAPES = dict.fromkeys(SETS, SHAPE) | {
    "levels": CropShape(slices=3, slice_margin=0, rows=SIDE, cols=SIDE, margin_px=0)
}
READS = {
    "foraminal": {"foraminal": "foramen_set"},
    "canal": {"canal": "canal_set"},
    "subarticular": {"subarticular": "recess_set", "beside": "beside_set"},
}


def small(architecture: str = "view_plain", **changed: Any) -> Any:
    """A grader of the smallest network; blocks of ``changed`` are merged into its own."""
    block = small_block(architecture, **changed)
    return learners_of({"grader": block})["grader"].settings


def small_block(architecture: str = "view_plain", **changed: Any) -> dict[str, Any]:
    """The block of the same."""
    block: dict[str, Any] = {
        "model": {"name": architecture, "encoder": {"backbone": "test_resnet"}},
        "training": {"epochs": 2, "batch_size": 4, "learning_rate": 0.002},
    }
    if architecture == "all_view":
        block |= {"kind": "levels", "sequence": "levels", "input": {"positions": 3}}
        block["reads"] = {"canal": "canal_set", "foraminal": "foramen_set"}
    else:
        grades = changed.get(
            "grades", "subarticular" if architecture == "axial_side" else "foraminal"
        )
        block |= {"kind": "views", "grades": grades, "reads": READS[grades]}
    if architecture == "axial_side":
        block["augment"] = {"jitter": 0}
    return filled(merged(block, changed), "grader")


def write_cohort(folder: Path, studies: int = 8, folds: int = 2) -> dict[str, Any]:
    """Crops of every kind, and the cohort's tables; the last study is new. Paths by name.

    Study k is in fold k modulo ``folds``; half of the studies' crops lie in either shard.
    """
    crops, labels = {}, []
    for number, (name, (conditions, axial)) in enumerate(SETS.items()):
        crops |= write_crops(
            folder, name, conditions, studies, axial=axial, folds=folds, seed=number
        )
        if name != "beside_set":
            labels += [read_table(path, ROIS) for path in crops[name][1]]
    table = pd.concat(labels)[["study", "condition", "level", "side", "grade", "fold"]]
    graded = table[table["fold"].notna()]
    write_table(folder / "labels.parquet", graded.drop(columns="fold"), LABELS)
    names = sorted(set(table["study"]))
    new = set(table.loc[table["fold"].isna(), "study"])
    rows = {
        "study": names,
        "split": ["test" if name in new else "train" for name in names],
        "region": "lumbar",
        "shard": 0,
        "series_count": 1,
        "problem": None,
    }
    write_table(folder / "studies.parquet", pd.DataFrame(rows), STUDIES)
    known = [name for name in names if name not in new]
    fold_of = [number % folds for number in range(len(known))]
    rows = {"study": known, "fold": fold_of, "stratum": 0}
    write_table(folder / "folds.parquet", pd.DataFrame(rows), FOLDS)
    return {
        "crops": crops,
        "sequences": write_sequences(folder, names, dict(zip(known, fold_of, strict=True))),
        **{name: str(folder / f"{name}.parquet") for name in ("labels", "studies", "folds")},
    }


def write_sequences(
    folder: Path, studies: list[str], folds: dict[str, int]
) -> tuple[list[str], list[str]]:
    """Two shards of axial stacks, whose slice k is of grey 10 k, in a second stack 10 k + 5.

    L1/L2 lies at slices 16 to 19, L5/S1 at 0 to 3. Of study s001 there are two stacks, the second
    of which is graded on the left alone; of study s002 L1/L2 is not shown.
    """
    arrays, tables = [], []
    for shard, names in enumerate((studies[:4], studies[4:])):
        rows, volumes = [], []
        for study in names:
            for stack in range(2 if study == "s001" else 1):
                for number, level in enumerate(LUMBAR_LEVELS):
                    if (study, level) == ("s002", "l1_l2"):
                        continue
                    first = 16 - 4 * number
                    rows.append(
                        {"study": study, "series": "9", "stack": stack}
                        | {"start": SLICES * len(volumes), "slices": SLICES, "level": level}
                        | {"z_index": first + 1.5, "first": first, "last": first + 3}
                        | {"left_graded": True if study in folds else None}
                        | {"right_graded": stack == 0 if study in folds else None}
                        | {"confidence": 0.9, "source": "made up", "fold": folds.get(study)}
                    )
                grey = np.arange(SLICES, dtype=np.uint8) * 10 + 5 * stack
                volumes.append(np.broadcast_to(grey[:, None, None], (SLICES, SIDE, SIDE)))
        place = folder / "levels" / str(shard)
        place.mkdir(parents=True)
        np.save(place / "slices.npy", np.concatenate(volumes))
        table = pd.DataFrame(rows).astype({"left_graded": "boolean", "right_graded": "boolean"})
        write_table(place / "sequences.parquet", table, SEQUENCES)
        arrays.append(str(place / "slices.npy"))
        tables.append(str(place / "sequences.parquet"))
    return arrays, tables


def inputs_of(cohort: dict[str, Any], block: dict[str, Any]) -> dict[str, list[str]]:
    """Files of a cohort as a job of a grader has them, set by set in the order of its ``reads``."""
    names = list(dict.fromkeys(block["reads"].values()))
    slices, sequences = cohort["sequences"] if "sequence" in block else ([], [])
    return {
        "arrays": [str(path) for name in names for path in cohort["crops"][name][0]],
        "tables": [str(path) for name in names for path in cohort["crops"][name][1]],
        "slices": slices,
        "sequences": sequences,
        **{name: [cohort[name]] for name in ("studies", "folds")},
    }


def opened(cohort: dict[str, Any], settings: Any, **inputs: Any) -> Opened:
    """What a grader's job has opened; ``inputs`` replace the job's, of which ``labels`` is none."""
    given = inputs_of(cohort, settings.block) | inputs
    return open_inputs(settings, SimpleNamespace(inputs=given, given=GIVEN))


def rows_of(
    cohort: dict[str, Any], settings: Any, studies: Sequence[str], labels: Any = None, **inputs: Any
) -> Any:
    """The rows of ``studies`` as a grader's kind has them, graded by the table ``labels``."""
    samples_of = (levels if "sequence" in settings.block else views).samples_of
    whole = opened(cohort, settings, **inputs)._replace(labels=labels)
    return samples_of(settings, whole, studies)


def network_of(settings: Any) -> Any:
    """A grader's untrained network."""
    return build(settings.model_name, **settings.network_options(SHAPES))


def given_of(shapes: Mapping[str, CropShape]) -> dict[str, Any]:
    """Shapes of crops and sequences as a job has them."""
    return {"shapes": {name: shape._asdict() for name, shape in shapes.items()}}


GIVEN = given_of(SHAPES)


def train(
    folder: Path,
    cohort: dict[str, Any],
    block: dict[str, Any],
    fold: int,
    name: str = "grader",
    given: dict[str, Any] = GIVEN,
    **run: Any,
) -> Path:
    """Train one fold with its outputs in ``folder``, and return the path of the weights."""
    inputs = inputs_of(cohort, block) | {"labels": [cohort["labels"]]}
    return train_fold(folder, ("grade", block["kind"]), name, fold, block, inputs, given, **run)


def predict(
    folder: Path,
    cohort: dict[str, Any],
    block: dict[str, Any],
    weights: list[str],
    name: str = "grader",
    given: dict[str, Any] = GIVEN,
    **inputs: Any,
) -> dict[str, str]:
    """Paths of what a grader predicts of the cohort; ``inputs`` replace the job's."""
    files = inputs_of(cohort, block) | {"weights": weights} | inputs
    return predict_grades(folder, ("grade", block["kind"]), name, block, files, given)
