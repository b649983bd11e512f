"""The stages fit_projection and project_keypoints: tables in, steps and tables out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spinegrade.errors import SpinegradeError
from spinegrade.keypoint_rows import write_found
from spinegrade.localise.coordinates.projection import Offsets, fit_steps, project
from spinegrade.runtime.files import read_json, write_json
from spinegrade.tables.files import read_table, read_tables
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.studies import STUDIES
from spinegrade.training.fold_models import read_cohort
from spinegrade.training.fold_studies import fold_studies
from spinegrade.volumes import load_stacks


def fit_projection(
    *,
    name: str,
    fold: int,
    studies_path: str,
    folds_path: str,
    landmarks_paths: Sequence[str],
    offsets_path: str,
) -> None:
    """Measure the steps to the recesses on the studies outside ``fold`` and write them.

    Raises SpinegradeError where no study shows a recess and a sagittal point of one level.
    """
    outside = fold_studies(
        read_table(studies_path, STUDIES),
        read_table(folds_path, FOLDS),
        fold,
        select="last",
        inner_share=0.0,
        where=f"projection {name}, fold {fold}",
        seed=0,
        stream=(),
    ).learning
    landmarks = read_tables(list(landmarks_paths), LOCATED_LANDMARKS)
    steps, seen = fit_steps(landmarks, outside)
    if not steps:
        raise SpinegradeError(
            f"projection {name}, fold {fold}: none of the {len(outside)} training studies has "
            "landmarks of both recesses and of the canal or the foramina at one level; check "
            "train_label_coordinates.csv"
        )
    write_json(offsets_path, {"fold": fold, "steps_mm": steps, "trained_on": seen})


def load_offsets(path: str) -> Offsets:
    """What ``fit_projection`` wrote; raises SpinegradeError for any other file."""
    if not Path(path).is_file():
        raise SpinegradeError(f"{path}: no such file; run fit_projection")
    stored = read_json(path)
    try:
        return Offsets(stored["steps_mm"], stored["fold"], tuple(stored["trained_on"]), path)
    except (KeyError, TypeError) as error:
        raise SpinegradeError(
            f"{path}: no steps of this version ({error}); remove it and run fit_projection"
        ) from error


def project_keypoints(
    *,
    name: str,
    shard: int,
    studies_path: str,
    folds_path: str | None,
    stacks_path: str,
    offsets_paths: Sequence[str],
    points_paths: Sequence[str],
    keypoints_path: str,
    rejected_path: str,
    max_distance_mm: float,
) -> None:
    """Project the sagittal points of every usable study of one shard and write what was found.

    ``points_paths``: the shard's keypoints of sagittal detectors. Raises SpinegradeError as
    ``project`` does.
    """
    tables = {"studies": [studies_path], "folds": [folds_path] if folds_path else []}
    found = project(
        name,
        [load_offsets(path) for path in offsets_paths],
        read_cohort(tables, shard),
        load_stacks([stacks_path]),
        read_tables(list(points_paths), KEYPOINTS),
        max_distance_mm,
    )
    write_found(name, *found, keypoints_path, rejected_path)
