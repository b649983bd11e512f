"""A made-up cohort of sagittal stacks with graded dots, and networks small enough for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from keypoint_helpers import affine_of, stack_row, write_stack
from learner_blocks import filled, merged
from learner_helpers import predict_grades, train_fold
from spinegrade.geometry.affine import to_mm
from spinegrade.grade.volumes.samples import OneStageSamples, training_samples
from spinegrade.grade.volumes.settings import Settings
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS, TARGETS
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.named import kind_named
from spinegrade.volumes import load_stacks

SMALL = {
    "kind": "volumes",
    "model": {"encoder": {"backbone": "test_resnet"}, "widths": [12, 8, 8]},
    "input": {"canvas_px": 64, "image_px": 64},
    "training": {"epochs": 2, "batch_size": 3, "learning_rate": 0.002, "checkpoint_epochs": 1},
}
OF_TARGET = {"foraminal": {"feature_channels": 8}, "canal": {"z_channels": 8}}


def small_block(target: str, **more: Any) -> dict[str, Any]:
    """The block of a network of the target for tests; blocks of ``more`` are merged."""
    name = f"one_stage_{target}"
    own = {
        "grades": target,
        "model": {"name": name, **OF_TARGET[target]},
        "training": {"loss": {"name": name}},
    }
    return filled(merged(merged(SMALL, own), more))


def small(target: str, **more: Any) -> Settings:
    """Settings of the same."""
    return Settings("net", small_block(target, **more))


def write_cohort(
    folder: Path, target: str, studies: int, test_studies: int = 1, two_series: tuple[str, ...] = ()
) -> dict[str, str]:
    """Stacks with a dot a point, brighter with the grade: tables of one shard; their paths.

    Studies are s00, s01 ..., two folds in turn; those in ``two_series`` have a second stack of
    the same kind that nothing is annotated in.
    """
    draws = np.random.default_rng(3)
    family = TARGETS[target]
    convert = folder / "convert"
    stacks, landmarks, rows, labels = [], [], [], []
    for number in range(studies + test_studies):
        study, split = f"s{number:02d}", "train" if number < studies else "test"
        affine = affine_of([0, 4, 0], [0, 0, -4], [5, 0, 0], draws.normal(0, 50, 3))
        volume = draws.normal(40, 8, (8, 40, 32))
        start, step = draws.uniform(5, 8), draws.uniform(5.5, 6.5)
        z, y, x = np.ogrid[:8, :40, :32]
        for cell in family.points:
            grade = int(draws.choice(3, p=[0.5, 0.3, 0.2]))
            index = {"left": 6, "right": 1, "central": 4}[cell.side]
            place = start + LUMBAR_LEVELS.index(cell.level) * step
            point = np.array([16 + draws.uniform(-3, 3), place, index])
            far = (x - point[0]) ** 2 + (y - point[1]) ** 2 + (2 * (z - point[2])) ** 2
            volume += (80 + 60 * grade) * np.exp(-far / 4)
            mm = to_mm(affine, [point])[0]
            landmarks.append(
                {"study": study, "series": "1", "stack": 0, "index": index, **cell._asdict()}
                | {"x_px": point[0], "y_px": point[1]}
                | dict(zip(("x_mm", "y_mm", "z_mm"), mm, strict=True))
                | {"confidence": 1.0, "source": "annotated"}
            )
            labels.append({"study": study, **cell._asdict(), "grade": grade})
        array = np.clip(volume, 0, 255).astype(np.int16)
        names = {"study": study, "split": split, "weighting": family.weighting}
        series = ("1", "2") if study in two_series else ("1",)
        for one in series:
            stack = write_stack(convert, array, affine, series=one, **names)
            stacks.append(stack_row(stack, convert))
        rows.append(
            {"study": study, "split": split, "region": "lumbar", "shard": 0, "series_count": 1}
            | {"problem": None}
        )
    train = [f"s{number:02d}" for number in range(studies)]
    seen = pd.DataFrame(landmarks)
    graded = pd.DataFrame(labels).astype({"grade": "Int64"})
    folds = [{"study": study, "fold": k % 2, "stratum": 0} for k, study in enumerate(train)]
    paths = {
        "studies": (pd.DataFrame(rows), folder / "cohort" / "studies.parquet"),
        "labels": (graded[graded["study"].isin(train)], folder / "cohort" / "labels.parquet"),
        "folds": (pd.DataFrame(folds), folder / "cohort" / "folds.parquet"),
        "stacks": (pd.DataFrame(stacks), convert / "0" / "stacks.parquet"),
        "located_landmarks": (
            seen[seen["study"].isin(train)],
            convert / "0" / "landmarks.parquet",
        ),
    }
    for kind, (content, path) in paths.items():
        write_table(path, content, kind_named(kind))
    return {kind: str(path) for kind, (_, path) in paths.items()}


def inputs_of(cohort: dict[str, str]) -> dict[str, list[str]]:
    """Tables of a cohort as a job has them."""
    return {name: [cohort[name]] for name in ("studies", "folds", "stacks")} | {"volumes": []}


def train(
    folder: Path,
    cohort: dict[str, str],
    block: dict[str, Any],
    fold: int,
    volumes: Sequence[str] = (),
    **run: Any,
) -> Path:
    """Train one fold on the cohort's tables. The weights' path."""
    inputs = inputs_of(cohort) | {"labels": [cohort["labels"]], "volumes": list(volumes)}
    inputs |= {"landmarks": [cohort["located_landmarks"]]}
    return train_fold(folder, ("grade", "volumes"), "net", fold, block, inputs, **run)


def predict(
    folder: Path, cohort: dict[str, str], block: dict[str, Any], weights: list[str], **inputs: Any
) -> dict[str, str]:
    """Paths of all that a network predicts of the cohort; ``inputs`` replace the job's."""
    given = inputs_of(cohort) | {"weights": weights} | inputs
    more = ("keypoints", "plain", "plain_keypoints", "rejected")
    return predict_grades(folder, ("grade", "volumes"), "net", block, given, more=more)


def samples_of(cohort: dict[str, str], settings: Settings) -> OneStageSamples:
    """The eight annotated studies of the cohort as a training sees them."""
    return training_samples(
        settings.target,
        load_stacks([cohort["stacks"]]),
        read_table(cohort["located_landmarks"], LOCATED_LANDMARKS),
        read_table(cohort["labels"], LABELS),
        [f"s{number:02d}" for number in range(8)],
        canvas=settings.canvas_px,
    )
