"""A small localiser of heatmaps, trained on the dots of ``keypoint_helpers``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keypoint_helpers import write_canal_cohort
from learner_blocks import filled
from learner_helpers import infer_points, train_fold

__all__ = ["KIND", "NAME", "infer", "inputs_of", "small_block", "train", "write_canal_cohort"]

NAME = "t2"
KIND = ("localise", "heatmap")


def small_block(**training: Any) -> dict[str, Any]:
    """The block of a localiser of canal points; ``training`` keys are merged."""
    given = {"epochs": 50, "batch_size": 2, "checkpoint_epochs": 2, "learning_rate": 0.02}
    block: dict[str, Any] = {
        "kind": "heatmap",
        "finds": "canal",
        "model": {"name": "heatmap_unet", "width": 8, "depth": 3},
        "input": {"slices": 6, "rows": 32, "cols": 16, "pixel_mm": 5.0, "slice_mm": 5.0},
        "training": given | training,
        "augment": {"shift_mm": 6, "scale": 0.05, "slice_shift_mm": 3, "slice_scale": 0},
    }
    return filled(block, NAME)


def inputs_of(cohort: dict[str, str]) -> dict[str, list[str]]:
    """Tables of a cohort as a job has them."""
    return {name: [cohort[name]] for name in ("studies", "folds", "stacks")} | {"levels": []}


def train(
    folder: Path, cohort: dict[str, str], block: dict[str, Any], fold: int, **run: Any
) -> Path:
    """Train one fold. The weights' path."""
    inputs = inputs_of(cohort) | {"landmarks": [cohort["located_landmarks"]]}
    return train_fold(folder, KIND, NAME, fold, block, inputs, **run)


def infer(
    folder: Path, cohort: dict[str, str], block: dict[str, Any], weights: list[str]
) -> tuple[str, str]:
    """Paths of the keypoints and of the rejected."""
    return infer_points(folder, KIND, NAME, block, inputs_of(cohort) | {"weights": weights})
