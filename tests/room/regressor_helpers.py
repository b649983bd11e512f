"""A made-up cohort of spines with dots at their places, and regressors small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from keypoint_helpers import affine_of, stack_row, write_stack
from learner_blocks import filled, merged
from learner_helpers import infer_points, train_fold
from spinegrade.geometry.affine import to_mm, to_pixels
from spinegrade.localise.coordinates.settings import Settings
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL, SUBARTICULAR
from spinegrade.tables.files import write_table
from spinegrade.tables.named import kind_named
from spinegrade.volumes import Stack

SMALL: dict[str, Any] = {
    "kind": "coordinates",
    "model": {"encoder": {"backbone": "test_resnet"}},
    "input": {"frame_px": 32, "image_px": 32},
    "training": {"epochs": 2, "batch_size": 4, "learning_rate": 0.003, "checkpoint_epochs": 1},
}
# What was published for each way of looking.
VIEWS: dict[str, dict[str, Any]] = {
    "sagittal_slice": {"finds": "canal", "training": {"loss": {"weight": 512}}},
    "axial_slice": {
        "finds": "subarticular",
        "input": {"in_plane": 512},
        "training": {"loss": {"distance": "smooth_l1", "weight": 1 / 128}},
    },
    "sagittal_stack": {
        "finds": ["foraminal", "canal"],
        "sees": "stack",
        "model": {"name": "volume_regressor"},
        "input": {"depth": 32, "in_plane": 4, "along": 16},
        "training": {"loss": {"distance": "smooth_l1"}},
    },
}
VIEWS["axial_stack"] = {**VIEWS["sagittal_stack"], "finds": "subarticular"}
# By condition and side the place (x, y) in mm from the canal's middle; +x is the patient's left.
PLACES = {
    (SPINAL, "central"): (0.0, 0.0),
    (FORAMINAL, "left"): (24.0, -6.0),
    (FORAMINAL, "right"): (-24.0, -6.0),
    (SUBARTICULAR, "left"): (9.0, -3.0),
    (SUBARTICULAR, "right"): (-9.0, -3.0),
}
LEVEL_MM = 22.0


def small(view: str = "sagittal_stack", **more: Any) -> Settings:
    """Settings of a localiser for tests; blocks of ``more`` are merged."""
    return Settings("net", small_block(view, **more))


def small_block(view: str = "sagittal_stack", **more: Any) -> dict[str, Any]:
    """The block of the same."""
    return filled(merged(merged(SMALL, VIEWS[view]), more))


def spine_points(middle: np.ndarray) -> pd.DataFrame:
    """Every place of a spine whose L3/L4 lies at ``middle``, LPS mm."""
    rows = []
    for (condition, side), (x, y) in PLACES.items():
        for place, level in enumerate(LUMBAR_LEVELS):
            mm = middle + np.array([x, y, (2 - place) * LEVEL_MM])
            rows.append((condition, level, side, *mm))
    return pd.DataFrame(rows, columns=["condition", "level", "side", "x_mm", "y_mm", "z_mm"])


def dotted(points: pd.DataFrame, affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A volume with a bright dot, 5 mm wide and fainter with the level, at each of ``points``."""
    index, y, x = np.indices(shape)
    mm = to_mm(affine, np.stack([x, y, index], axis=-1).reshape(-1, 3))
    volume = np.full(len(mm), 30.0)
    for row in points.itertuples():
        far = ((mm - [row.x_mm, row.y_mm, row.z_mm]) ** 2).sum(axis=1)
        volume += (200 - 25 * LUMBAR_LEVELS.index(row.level)) * np.exp(-far / 50)
    return np.clip(volume, 0, 255).reshape(shape).astype(np.int16)


# By series: plane, weighting, the condition that it is annotated for, its matrix and its axes.
SERIES = {
    "t1": ("sagittal", "t1", FORAMINAL, (12, 40, 24)),
    "t2": ("sagittal", "t2", SPINAL, (8, 40, 24)),
    "ax": ("axial", "t2", SUBARTICULAR, (24, 20, 24)),
}
AXES = {
    "sagittal": ([0.0, 4.0, 0.0], [0.0, 0.0, -4.0]),
    "axial": ([4.0, 0.0, 0.0], [0.0, 4.0, 0.0]),
}


def made_stack(
    convert: Path, study: str, split: str, series: str, middle: np.ndarray, centre: np.ndarray
) -> tuple[Stack, pd.DataFrame]:
    """A series centred on ``centre``, and its points as annotated: in the slice nearest to each."""
    plane, weighting, condition, shape = SERIES[series]
    columns, rows = (np.array(axis) for axis in AXES[plane])
    thick = np.array([72.0 / shape[0], 0, 0]) if plane == "sagittal" else np.array([0, 0, 6.0])
    offset = columns * (shape[2] - 1) / 2 + rows * (shape[1] - 1) / 2 + thick * (shape[0] - 1) / 2
    affine = affine_of(columns, rows, thick, centre - offset)
    points = spine_points(middle)
    points = points[points["condition"] == condition].reset_index(drop=True)
    names = {"study": study, "split": split, "plane": plane, "weighting": weighting}
    volume = dotted(points, affine, shape)
    stack = write_stack(convert, volume, affine, series=series, **names)
    pixels = to_pixels(affine, points[["x_mm", "y_mm", "z_mm"]].to_numpy())
    index = np.rint(pixels[:, 2]).astype(int)
    mm = to_mm(affine, np.column_stack([pixels[:, :2], index]))
    points[["x_mm", "y_mm", "z_mm"]] = mm
    points = points.assign(
        study=study, series=series, stack=0, index=index, x_px=pixels[:, 0], y_px=pixels[:, 1]
    )
    return stack, points.assign(confidence=1.0, source="annotated")


def write_spines(
    folder: Path,
    studies: int,
    test_studies: int = 1,
    series: tuple[str, ...] = ("t1", "t2"),
    lacking: dict[str, tuple[str, ...]] | None = None,
) -> dict[str, str]:
    """Studies s00, s01 ... in two folds in turn: tables of one shard; their paths.

    ``lacking``: by study the series that it has not.
    """
    draws = np.random.default_rng(11)
    convert = folder / "convert"
    stacks, landmarks, rows = [], [], []
    for number in range(studies + test_studies):
        study, split = f"s{number:02d}", "train" if number < studies else "test"
        centre = draws.normal(0, 40, 3)
        middle = centre + draws.uniform(-12, 12, 3) * [0.3, 1, 1]
        for one in series:
            if one not in (lacking or {}).get(study, ()):
                stack, points = made_stack(convert, study, split, one, middle, centre)
                stacks.append(stack_row(stack, convert))
                landmarks.append(points)
        rows.append(
            {"study": study, "split": split, "region": "lumbar", "shard": 0, "series_count": 1}
            | {"problem": None}
        )
    train = [f"s{number:02d}" for number in range(studies)]
    seen = pd.concat(landmarks, ignore_index=True)
    folds = [{"study": study, "fold": k % 2, "stratum": 0} for k, study in enumerate(train)]
    paths = {
        "studies": (pd.DataFrame(rows), folder / "cohort" / "studies.parquet"),
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


def kind_of(block: dict[str, Any]) -> tuple[str, str]:
    """Room and kind of the learner of a block."""
    return "localise", block["kind"]


def train(
    folder: Path,
    cohort: dict[str, str],
    block: dict[str, Any],
    fold: int,
    name: str = "net",
    **run: Any,
) -> str:
    """Train one fold on the cohort's tables. The weights' path."""
    inputs = inputs_of(cohort) | {"landmarks": [cohort["located_landmarks"]]}
    return str(train_fold(folder, kind_of(block), name, fold, block, inputs, **run))


def infer(
    folder: Path,
    cohort: dict[str, str],
    weights: list[str],
    block: dict[str, Any],
    name: str = "net",
    xy_weights: list[str] | None = None,
) -> tuple[str, str]:
    """Find the points of the cohort's shard; paths of the keypoints and of the rejected."""
    inputs = inputs_of(cohort) | {"weights": weights, "xy_weights": xy_weights or []}
    return infer_points(folder, kind_of(block), name, block, inputs)


def inputs_of(cohort: dict[str, str]) -> dict[str, list[str]]:
    """Tables of a cohort as a job has them; a cohort without folds is new to all models."""
    found = {name: [cohort[name]] for name in ("studies", "stacks")}
    return found | {"folds": [cohort["folds"]] if cohort.get("folds") else []}
