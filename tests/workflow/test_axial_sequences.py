"""Axial sequences and sampled crops on the miniature phantom, as targets of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from miniature_run import planned, snakemake

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = [PROJECT / "tests" / "workflow" / name for name in ("miniature.yaml", "sequences.yaml")]
RESULTS = Path("results/miniature")
TARGETS = [
    f"{RESULTS}/crop/{name}"
    for name in ("levels/0/slices.npy", "by_canal/0/slices.npy", "foramina_sampled/0/rois.npy")
]
pytestmark = pytest.mark.workflow


def jobs_of(folder: Path, configs: list[Path], *arguments: str) -> dict[str, int]:
    """Jobs by rule of a run to the stores."""
    code, words = snakemake(folder, configs, *arguments, "--", *TARGETS)
    assert code == 0, words[-4000:]
    return planned(words)


@pytest.fixture(scope="module")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A folder in which the stores were made beside the rest, and the jobs that made them."""
    folder = tmp_path_factory.mktemp("sequences") / "run"
    shutil.copytree(finished_run, folder)
    return folder, jobs_of(folder, CONFIGS)


def test_they_need_no_more_than_a_finished_run_has(run: tuple[Path, dict]) -> None:
    assert run[1] == {"crop_sequences": 2, "crop_rois": 1}
    assert jobs_of(run[0], CONFIGS, "--dry-run") == {}


def test_every_axial_slice_is_there_and_every_level_lies_in_its_stack(
    run: tuple[Path, dict],
) -> None:
    stacks = pd.read_parquet(run[0] / RESULTS / "convert/0/stacks.parquet")
    axial = stacks[stacks["plane"] == "axial"]
    folds = pd.read_parquet(run[0] / RESULTS / "cohort/folds.parquet")
    for name, side in (("levels", 256), ("by_canal", 64)):
        place = run[0] / RESULTS / "crop" / name / "0"
        slices = np.load(place / "slices.npy", mmap_mode="r", allow_pickle=False)
        assert slices.shape == (axial["slices"].sum(), side, side)
        table = pd.read_parquet(place / "sequences.parquet")
        assert set(table["study"]) <= set(axial["study"])
        assert ((table["first"] <= table["last"]) & (table["last"] < table["slices"])).all()
        assert (table["start"] + table["slices"] <= len(slices)).all()
        train = table["study"].isin(folds["study"])
        assert (table["fold"].notna() == train).all() and (~train).any()
        assert (table["left_graded"].notna() == train).all()
        # Brighter than nothing: the middle of every level's slices shows the patient.
        middle = (table["start"] + (table["first"] + table["last"]) // 2).to_numpy(int)
        assert (slices[middle].reshape(len(middle), -1).mean(axis=1) > 10).all()


def test_graded_sides_are_those_that_are_annotated(run: tuple[Path, dict]) -> None:
    """Every level has a row in the stack that its points lie in, with one flag a landmark."""
    landmarks = pd.read_parquet(run[0] / RESULTS / "convert/0/landmarks.parquet")
    recess = landmarks[landmarks["condition"] == "subarticular_stenosis"]
    table = pd.read_parquet(run[0] / RESULTS / "crop/levels/0/sequences.parquet")
    for side in ("left", "right"):
        key = ["study", "series", "stack", "level"]
        own = recess.loc[recess["side"] == side, key].merge(table[key])
        assert len(own) == table[f"{side}_graded"].sum() > 10


def test_sampled_crops_have_five_slices(run: tuple[Path, dict]) -> None:
    place = run[0] / RESULTS / "crop/foramina_sampled/0"
    crops = np.load(place / "rois.npy", allow_pickle=False)
    table = pd.read_parquet(place / "rois.parquet")
    assert crops.shape == (len(table), 5, 128, 128) and set(table["side"]) == {"left", "right"}


@pytest.mark.parametrize(
    ("edit", "jobs"),
    [
        ("sequences: {by_canal: {size: 120}}", {"crop_sequences": 1}),
        ("sequences: {levels: {detector: sagittal_t1}}", {"crop_sequences": 1}),
        ("sets: {foramina_sampled: {keep_inside: false}}", {"crop_rois": 1}),
        ("sets: {recess_axial: {keep_inside: true}}", {}),
    ],
)
def test_a_setting_reruns_what_it_concerns(
    run: tuple[Path, dict], tmp_path: Path, edit: str, jobs: dict[str, int]
) -> None:
    file = tmp_path / "edit.yaml"
    file.write_text(f"crop: {{{edit}}}\n")
    assert jobs_of(run[0], [*CONFIGS, file], "--dry-run") == jobs
