"""The one-stage system as a target of its own, on the miniature phantom."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from miniature_run import planned, snakemake

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = [PROJECT / "tests" / "workflow" / name for name in ("miniature.yaml", "one_stage.yaml")]
RESULTS = Path("results/miniature")
SYSTEM = RESULTS / "systems/one_stage"
pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the system has run beside the rest, and what that run said."""
    folder = tmp_path_factory.mktemp("one_stage") / "run"
    shutil.copytree(finished_run, folder)
    code, words = snakemake(folder, CONFIGS, "--", "one_stage")
    assert code == 0, words[-4000:]
    return folder, words


def test_it_trains_each_fold_of_each_network_and_nothing_of_the_others(
    run: tuple[Path, str],
) -> None:
    assert planned(run[1]) == {
        "prepare_canvases": 2,  # one shard: canvases for the foraminal and for the canal networks
        "train_grader": 6,
        "predict_points_and_grades": 3,
        "measure_grader": 3,
        "compare": 1,
        "fit_system_blend": 1,
        "write_system_report": 1,
        "one_stage": 1,
    }
    assert planned(snakemake(run[0], CONFIGS, "--dry-run", "--", "one_stage")[1]) == {}


def test_every_cell_of_its_conditions_is_predicted_out_of_fold(run: tuple[Path, str]) -> None:
    folds = pd.read_parquet(run[0] / "results/miniature/cohort/folds.parquet")
    for network, cells in (("foraminal", 10), ("foraminal_bugged", 10), ("canal", 5)):
        table = pd.read_parquet(run[0] / RESULTS / "grade" / network / "oof.parquet")
        assert len(table) == 8 * cells
        merged = table.merge(folds, on="study", suffixes=("", "_own"))
        assert (merged["fold"] == merged["fold_own"]).all()
        new = pd.read_parquet(run[0] / RESULTS / "grade" / network / "new.parquet")
        assert len(new) == cells and new["fold"].isna().all()
        points = pd.read_parquet(run[0] / RESULTS / "grade" / network / "keypoints.parquet")
        assert len(points) == 9 * cells


def test_the_ensemble_is_of_the_networks_that_take_part(run: tuple[Path, str]) -> None:
    score = json.loads((run[0] / SYSTEM / "all" / "score.json").read_text())
    assert set(score["classifiers"]) == {"foraminal", "canal"}
    served = {"foraminal": ["neural_foraminal_narrowing"], "canal": ["spinal_canal_stenosis"]}
    assert {name: score["served"][name] for name in served} == served
    # Each condition has one network: its equal weights are that network.
    for network, part in (("foraminal", "foraminal"), ("canal", "spinal"), ("canal", "any_severe")):
        assert score["equal_weights"][part] == score["classifiers"][network][part]


def test_the_page_shows_every_part_and_the_flip(run: tuple[Path, str]) -> None:
    page = (run[0] / SYSTEM / "report.html").read_text()
    for heading in ("Grades, out of fold", "What each member adds", "Points of the graders"):
        assert heading in page
    flips = json.loads((run[0] / SYSTEM / "compare/foraminal_bugged_foraminal.json").read_text())
    assert flips["networks"] == {"bugged": "foraminal_bugged", "fixed": "foraminal"}
    assert "side_confusion" in flips["bugged_minus_fixed"]
    assert "foraminal_bugged against foraminal" in page
    assert page.count("<figure") >= 4 and "http://" not in page


@pytest.mark.parametrize(
    ("edit", "trained", "predicted"),
    [
        ("looks: [plain, mirrored]", 0, 1),
        ("training: {epochs: 3, batch_size: 2}", 2, 1),
        ("training: {checkpoint_epochs: 2}", 0, 0),
    ],
)
def test_a_setting_reruns_what_it_concerns(
    run: tuple[Path, str], tmp_path: Path, edit: str, trained: int, predicted: int
) -> None:
    file = tmp_path / "edit.yaml"
    file.write_text(f"learners: {{canal: {{{edit}}}}}\n")
    jobs = planned(snakemake(run[0], [*CONFIGS, file], "--dry-run", "--", "one_stage")[1])
    assert jobs.get("train_grader", 0) == trained
    assert jobs.get("predict_points_and_grades", 0) == predicted
    assert "prepare_canvases" not in jobs


def test_the_whole_ensemble_takes_the_networks_in(run: tuple[Path, str]) -> None:
    jobs = planned(snakemake(run[0], CONFIGS, "--dry-run")[1])
    assert jobs == {"fit_ensemble": 1, "write_submission": 1, "write_report": 1, "all": 1}
