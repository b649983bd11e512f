"""Localisers of coordinates in the workflow: trained, measured, cropped around, rerun as little."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from miniature_run import planned, snakemake

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = [PROJECT / "tests" / "workflow" / name for name in ("miniature.yaml", "regressors.yaml")]
RESULTS = Path("results/miniature")
pytestmark = pytest.mark.workflow


SETS = ("foramen_sagittal", "recess_axial")
CROPS = [str(RESULTS / f"crop/{roi_set}/0/rois.parquet") for roi_set in SETS]
ADDED = ("joint", "middle", "levels", "projected")
ERRORS = [str(RESULTS / f"localise/{name}/errors.json") for name in ADDED]


@pytest.fixture(scope="module")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which regressors were measured and cropped around, and what that run said."""
    folder = tmp_path_factory.mktemp("regressors") / "run"
    shutil.copytree(finished_run, folder)
    code, words = snakemake(folder, CONFIGS, "--", *CROPS, *ERRORS)
    assert code == 0, words[-4000:]
    return folder, words


def test_each_fold_is_trained_measured_and_cropped_around(run: tuple[Path, str]) -> None:
    # Four regressors, of which one only tells another where in its slices points lie.
    assert planned(run[1]) == {
        "train_localiser": 8,
        "infer_localiser": 3,
        "fit_projection": 2,
        "project_keypoints": 1,
        "measure_localiser": 4,
        "crop_rois": 2,
    }
    again = snakemake(run[0], CONFIGS, "--dry-run", "--", *CROPS, *ERRORS)[1]
    assert "Nothing to be done" in again
    folds = pd.read_parquet(run[0] / RESULTS / "cohort/folds.parquet")
    figures = {}
    for name, path in zip(ADDED, ERRORS, strict=True):
        figures[name] = json.loads((run[0] / path).read_text())
        assert figures[name]["detector"] == name and figures[name]["points"] > 0
        points = pd.read_parquet(run[0] / RESULTS / f"localise/{name}/0.parquet")
        own = points.merge(folds, on="study")
        assert (own["source"] == f"{name}:fold_" + own["fold"].astype(str)).all()
        assert set(points["source"]) == {f"{name}:fold_0", f"{name}:fold_1", f"{name}:mean"}
    for path, name in zip(CROPS, ("joint", "projected"), strict=True):
        crops = pd.read_parquet(run[0] / path)
        assert set(crops["source"]) <= {f"{name}:fold_0", f"{name}:fold_1", f"{name}:mean"}
        assert crops["jitter_in_plane_mm"].unique().tolist() == [figures[name]["in_plane_sd_mm"]]


def test_a_setting_reruns_what_it_concerns(run: tuple[Path, str], tmp_path: Path) -> None:
    file = tmp_path / "edit.yaml"
    file.write_text("learners: {places: {training: {epochs: 3}}}\n")
    jobs = planned(snakemake(run[0], [*CONFIGS, file], "--dry-run", "--", *CROPS, *ERRORS)[1])
    # Its networks are used by the regressor of levels, around whose points nothing is cropped.
    assert jobs == {"train_localiser": 2, "infer_localiser": 1, "measure_localiser": 1}


def test_crops_wait_for_their_own_detector_alone(finished_run: Path) -> None:
    jobs = planned(snakemake(finished_run, CONFIGS, "--dry-run", "--", CROPS[0])[1])
    assert jobs == {
        "train_localiser": 2,
        "infer_localiser": 1,
        "measure_localiser": 1,
        "crop_rois": 1,
    }


def test_the_default_run_knows_of_no_regressor(finished_run: Path) -> None:
    words = snakemake(finished_run, CONFIGS[:1], "--dry-run")[1]
    assert "Nothing to be done" in words


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            "projected: {kind: coordinates, finds: canal, model: {encoder: {backbone: resnet18}}}",
            "the name is taken",
        ),
        (
            "joint: {model: {encoder: {backbone: resnet81}}}",
            "learners.joint.model.encoder.backbone is 'resnet81'",
        ),
        ("joint: {input: {image_px: 128}}", "joint.input.image_px is 128"),
        ("joint: {training: {batch_size: 5}}", "joint.training.accumulation is 2"),
        ("joint: {kind: coordinate}", "joint.kind is 'coordinate'; did you mean coordinates?"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    run: tuple[Path, str], tmp_path: Path, edit: str, message: str
) -> None:
    file = tmp_path / "edit.yaml"
    file.write_text(f"learners: {{{edit}}}\n")
    code, words = snakemake(run[0], [*CONFIGS, file], "--dry-run", "--", *CROPS)
    assert code != 0 and message in words
