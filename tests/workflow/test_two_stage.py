"""The two-stage system on the miniature phantom: graders by fold, families, a page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from miniature_run import planned, snakemake

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = [PROJECT / "tests" / "workflow" / name for name in ("miniature.yaml", "two_stage.yaml")]
RESULTS = Path("results/miniature")
CONDITIONS = ["neural_foraminal_narrowing", "spinal_canal_stenosis", "subarticular_stenosis"]
# By grader the roi sets whose crops are of the cells that it grades.
GRADERS = {
    "foramen_gru": ["foramen_sagittal"],
    "canal_levels": ["canal_sagittal"],
    "foramen_gate": ["foramen_sagittal"],
    "recess": ["recess_axial"],
}
KEY = ["study", "condition", "level", "side"]
TARGETS = ("all", "two_stage")
pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the graders have run beside the rest, and what that run said."""
    folder = tmp_path_factory.mktemp("two_stage") / "run"
    shutil.copytree(finished_run, folder)
    code, words = snakemake(folder, CONFIGS, "--", *TARGETS)
    assert code == 0, words[-4000:]
    return folder, words


def test_each_fold_of_each_grader_is_trained_and_nothing_else_again(run: tuple[Path, str]) -> None:
    jobs = planned(run[1])
    assert (jobs.pop("train_grader"), jobs.pop("predict_grader")) == (10, 5)
    assert (jobs.pop("crop_rois"), jobs.pop("crop_sequences")) == (1, 1)
    # The blends of all graders, of those of all views and of those of single ones.
    assert (jobs.pop("fit_system_blend"), jobs.pop("compare")) == (3, 1)
    assert (jobs.pop("write_system_report"), jobs.pop("two_stage")) == (1, 1)
    assert jobs == {"fit_ensemble": 1, "write_submission": 1, "write_report": 1, "all": 1}
    assert planned(snakemake(run[0], CONFIGS, "--dry-run", "--", *TARGETS)[1]) == {}


def predicted(run: tuple[Path, str], grader: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    folder = run[0] / RESULTS / "grade" / grader
    return tuple(pd.read_parquet(folder / f"{name}.parquet") for name in ("oof", "new"))


def test_every_cell_with_a_crop_is_predicted_out_of_fold(run: tuple[Path, str]) -> None:
    folds = pd.read_parquet(run[0] / RESULTS / "cohort" / "folds.parquet")
    for grader, sets in GRADERS.items():
        out_of_fold, new = predicted(run, grader)
        merged = out_of_fold.merge(folds, on="study", suffixes=("", "_own"))
        assert len(merged) == len(out_of_fold) and (merged["fold"] == merged["fold_own"]).all()
        assert new["fold"].isna().all() and new["study"].nunique() == 1
        cropped = pd.concat(
            pd.read_parquet(run[0] / RESULTS / "crop" / name / "0" / "rois.parquet")[KEY]
            for name in sets
        )
        found = pd.concat([out_of_fold, new])[KEY].sort_values(KEY, ignore_index=True)
        pd.testing.assert_frame_equal(found, cropped.sort_values(KEY, ignore_index=True))


def test_all_views_of_a_level_grade_every_condition(run: tuple[Path, str]) -> None:
    out_of_fold, new = predicted(run, "everything")
    assert sorted(set(out_of_fold["condition"])) == CONDITIONS
    table = pd.read_parquet(run[0] / RESULTS / "crop/axial_levels/0/sequences.parquet")
    shown = set(table[["study", "level"]].itertuples(index=False, name=None))
    recesses = pd.concat([out_of_fold, new]).query("condition == 'subarticular_stenosis'")
    assert set(recesses[["study", "level"]].itertuples(index=False, name=None)) == shown


def test_the_ensemble_is_of_those_that_take_part(run: tuple[Path, str]) -> None:
    score = json.loads((run[0] / RESULTS / "combine" / "score.json").read_text())
    members = {"small", *GRADERS, "everything"}
    assert set(score["classifiers"]) == members
    assert score["served"]["foramen_gru"] == ["neural_foraminal_narrowing"]
    assert sorted(score["served"]["everything"]) == CONDITIONS


def test_all_graders_are_compared_with_each_family(run: tuple[Path, str]) -> None:
    folder = run[0] / RESULTS / "systems" / "two_stage"
    scores = {
        blend: json.loads((folder / blend / "score.json").read_text())
        for blend in ("all", "all_view", "single_view")
    }
    assert set(scores["all_view"]["classifiers"]) == {"everything"}
    assert set(scores["single_view"]["classifiers"]) == {*GRADERS}
    assert set(scores["all"]["leave_one_out"]) > {"everything", "recess"}
    found = json.loads((folder / "compare" / "families.json").read_text())
    assert set(found["parts"]) == {"all_view", "single_view"} and found["studies"] == 8
    whole = scores["all"]["ensemble"]["total"]
    assert found["whole"]["total"] == pytest.approx(whole, abs=1e-8)
    for family, part in found["parts"].items():
        assert part["score"]["total"] == pytest.approx(
            scores[family]["ensemble"]["total"], abs=1e-8
        )
        difference = whole - part["score"]["total"]
        assert part["whole_minus_part"]["value"] == pytest.approx(difference, abs=1e-8)


def test_its_page_shows_grades_members_and_detectors(run: tuple[Path, str]) -> None:
    page = (run[0] / RESULTS / "systems" / "two_stage" / "report.html").read_text()
    for words in (
        "What each member adds",
        "Points side by side, out of fold",
        "family single_view",
    ):
        assert words in page
    for detector in ("sagittal_t1", "sagittal_t2", "axial_t2"):
        assert f"<td>{detector}</td>" in page.replace('<td class="text">', "<td>")


def test_the_epoch_was_chosen_on_an_inner_part(run: tuple[Path, str]) -> None:
    history = pd.read_csv(run[0] / RESULTS / "grade/canal_levels/fold_0/history.csv")
    assert len(history) == 2 and history["choice_loss"].notna().all()
    other = pd.read_csv(run[0] / RESULTS / "grade/foramen_gru/fold_0/history.csv")
    assert other["choice_loss"].isna().all()


@pytest.mark.parametrize(
    ("edit", "trained", "predicted"),
    [
        ("looks: [plain]", 0, 1),
        ("training: {epochs: 3, batch_size: 6}", 2, 1),
        ("looks: [plain, mirrored]", 0, 0),
        ("training: {checkpoint_epochs: 2, validate_every: 1}", 0, 0),
    ],
)
def test_a_setting_reruns_what_it_concerns(
    run: tuple[Path, str], tmp_path: Path, edit: str, trained: int, predicted: int
) -> None:
    file = tmp_path / "edit.yaml"
    file.write_text(f"learners: {{foramen_gru: {{{edit}}}}}\n")
    jobs = planned(snakemake(run[0], [*CONFIGS, file], "--dry-run", "--", "all")[1])
    assert jobs.get("train_grader", 0) == trained
    assert jobs.get("predict_grader", 0) == predicted
    assert "crop_rois" not in jobs and "train_localiser" not in jobs
