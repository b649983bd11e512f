"""Where each combined number comes from, on a cohort small enough to say it cell by cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from spinegrade.combine.board import gather
from spinegrade.combine.combine import fit_combinations
from spinegrade.combine.outside import OutsideTable
from spinegrade.combine.prior import cross_fitted_prior
from spinegrade.combine.provenance import trace
from spinegrade.combine.settings import FitSettings
from spinegrade.combine.stage import (
    EnsembleInputs,
    EnsembleOutputs,
    EnsembleSettings,
    apply_ensemble,
    fit_ensemble,
)
from spinegrade.combine.submission import write_submission
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_CELLS, LUMBAR_MRI, SPINAL, SUBARTICULAR
from spinegrade.regions.region import row_id
from spinegrade.runtime.files import read_json, write_json
from spinegrade.tables.files import empty_table, read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.probabilities import PROBABILITIES
from spinegrade.tables.studies import STUDIES

COLUMNS = list(PROBABILITY_COLUMNS)
SETTINGS = EnsembleSettings(bootstrap_resamples=100)
FLAT_PRIOR = [0.5, 0.3, 0.2]
# Two networks: a weight each for the foramina, one alone for the recesses, none for the canal.
WEIGHTS = {
    SPINAL: {"prior": 1.0, "a": 0.0, "b": 0.0},
    FORAMINAL: {"prior": 0.2, "a": 0.5, "b": 0.3},
    SUBARTICULAR: {"prior": 0.1, "a": 0.9},
}


def outputs(folder: Path) -> EnsembleOutputs:
    names = ("weights.json", "all.parquet", "prior.parquet", "filled.csv", "score.json")
    return EnsembleOutputs(*(folder / name for name in names))


def cells_of(study: str, condition: str, name: str) -> pd.DataFrame:
    """A member's rows of one condition of a new study: severe has 0.8 everywhere."""
    cells = [cell._asdict() for cell in LUMBAR_CELLS if cell.condition == condition]
    table = pd.DataFrame(cells).assign(study=study, classifier=name)
    table[COLUMNS] = [0.1, 0.1, 0.8]
    return table.assign(fold=pd.array([pd.NA] * len(table), "Int64"))


def write_trained(folder: Path, weights: dict[str, dict[str, float]], temperature: float) -> Path:
    """A finished run's weights.json whose prior is the same everywhere."""
    levels = {cell.level for cell in LUMBAR_CELLS}
    part = {
        condition: {"weights": names, "temperature": temperature, "severe_factor": 1.0}
        for condition, names in weights.items()
    }
    prior = {condition: dict.fromkeys(levels, FLAT_PRIOR) for condition in weights}
    write_json(folder / "trained.json", {"prior": prior, "all_folds": part, "without_fold": {}})
    return folder / "trained.json"


def write_studies(folder: Path, studies: list[str], split: str) -> Path:
    table = pd.DataFrame({"study": studies, "split": split, "region": "lumbar", "shard": 0})
    table = table.assign(series_count=1, problem=pd.array([None] * len(studies), "str"))
    write_table(folder / "studies.parquet", table, STUDIES)
    return folder / "studies.parquet"


def apply(
    folder: Path,
    rows: dict[str, list[pd.DataFrame]],
    weights: dict[str, dict[str, float]] = WEIGHTS,
    temperature: float = 0.5,
    **outside: OutsideTable,
) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Studies 1 and 2 graded with ``rows`` by member: probabilities, filled.csv and score.json."""
    files = {}
    for name, parts in rows.items():
        table = pd.concat(parts, ignore_index=True) if parts else empty_table(PREDICTIONS)
        write_table(folder / f"{name}.parquet", table, PREDICTIONS)
        files[name] = [str(folder / f"{name}.parquet")]
    write_table(folder / "labels.parquet", empty_table(LABELS), LABELS)
    made = outputs(folder)
    studies = write_studies(folder, ["1", "2"], "test")
    inputs = EnsembleInputs(folder / "labels.parquet", studies, files, outside=outside)
    trained = write_trained(folder, weights, temperature)
    apply_ensemble(inputs, trained, made, SETTINGS, LUMBAR_MRI)
    table = read_table(made.probabilities, PROBABILITIES)
    filled = pd.read_csv(made.filled, dtype={"study": "str"}, keep_default_na=False)
    return table, filled, read_json(made.score)


def of(table: pd.DataFrame, study: str, condition: str) -> list[tuple[str, str, float]]:
    """The distinct (source, members, prior_weight) of a study's cells of a condition."""
    chosen = table[(table["study"] == study) & (table["condition"] == condition)]
    told = chosen[["source", "members", "prior_weight"]].drop_duplicates()
    return list(told.itertuples(index=False, name=None))


def test_a_study_with_one_kind_of_image_has_the_prior_elsewhere(tmp_path: Path) -> None:
    # No study of the folder has what the recesses are graded on: "a" serves them all the same.
    rows = {
        "a": [cells_of("1", FORAMINAL, "a"), cells_of("1", SPINAL, "a")],
        "b": [cells_of("1", FORAMINAL, "b")],
    }
    table, filled, score = apply(tmp_path, rows)
    assert of(table, "1", FORAMINAL) == [("image", "a,b", 0.2)]
    # "a" has rows of the canal, but no weight there: the number is the prior's.
    assert of(table, "1", SPINAL) == [("prior", "", 1.0)]
    assert of(table, "1", SUBARTICULAR) == [("prior", "", 1.0)]
    for condition in WEIGHTS:
        assert of(table, "2", condition) == [("prior", "", 1.0)]
    lacking = filled.groupby(["study", "condition"])["lacking"].agg(["size", "first"])
    assert dict(zip(lacking.index, map(tuple, lacking.to_numpy()), strict=True)) == {
        ("1", SPINAL): (5, "b"),
        ("1", SUBARTICULAR): (10, "a"),
        ("2", SPINAL): (5, "a,b"),
        ("2", FORAMINAL): (10, "a,b"),
        ("2", SUBARTICULAR): (10, "a"),
    }  # fmt: skip
    assert score["counts"]["sources"] == {
        SPINAL: {"image": 0, "outside": 0, "prior": 10},
        FORAMINAL: {"image": 10, "outside": 0, "prior": 10},
        SUBARTICULAR: {"image": 0, "outside": 0, "prior": 20},
    }
    assert score["counts"]["filled"]["a"] == {SPINAL: 5, FORAMINAL: 10, SUBARTICULAR: 20}


def test_what_no_member_graded_is_the_prior_itself_not_calibrated(tmp_path: Path) -> None:
    table, _, _ = apply(tmp_path, {"a": [cells_of("1", FORAMINAL, "a")], "b": []})
    values = table.set_index("study").loc["2", COLUMNS].to_numpy()
    assert np.allclose(values, FLAT_PRIOR, atol=1e-12)
    # 0.5 a + 0.5 prior (its own 0.2, and b's 0.3): 0.3, 0.2, 0.5, squared by the temperature.
    chosen = table[(table["study"] == "1") & (table["condition"] == FORAMINAL)]
    assert np.allclose(chosen[COLUMNS], np.array([0.09, 0.04, 0.25]) / 0.38)


def test_a_cell_that_one_of_two_members_lacks_names_both(tmp_path: Path) -> None:
    whole, holed = cells_of("1", FORAMINAL, "a"), cells_of("1", FORAMINAL, "b").drop(index=3)
    table, filled, _ = apply(tmp_path, {"a": [whole], "b": [holed]})
    assert of(table, "1", FORAMINAL) == [("image", "a,b", 0.2), ("image", "a", 0.5)]
    row = filled[(filled["study"] == "1") & (filled["condition"] == FORAMINAL)]
    columns = ["level", "side", "source", "members", "lacking", "prior_weight"]
    assert row[columns].to_numpy().tolist() == [["l4_l5", "left", "image", "a", "b", 0.5]]


def test_an_outside_table_speaks_for_its_own_condition_alone(tmp_path: Path) -> None:
    weights = {condition: {"prior": 0.4, "mate": 0.6} for condition in WEIGHTS}
    canal = [cell for cell in LUMBAR_CELLS if cell.condition == SPINAL]
    lines = [f"{row_id('1', cell)},0.2,0.2,0.6" for cell in canal]
    (tmp_path / "mate.csv").write_text(
        "\n".join(["row_id,normal_mild,moderate,severe", *lines]) + "\n"
    )
    table, filled, _ = apply(tmp_path, {}, weights, mate=OutsideTable(tmp_path / "mate.csv"))
    assert of(table, "1", SPINAL) == [("outside", "mate", 0.4)]
    assert of(table, "1", FORAMINAL) == of(table, "2", SPINAL) == [("prior", "", 1.0)]
    assert len(filled) == 45 and set(filled["lacking"]) == {"mate"}
    # Where a member of the run speaks too, an image does.
    weights[SPINAL] = {"prior": 0.2, "a": 0.2, "mate": 0.6}
    rows = {"a": [cells_of("1", SPINAL, "a")]}
    table, _, _ = apply(tmp_path, rows, weights, mate=OutsideTable(tmp_path / "mate.csv"))
    assert of(table, "1", SPINAL) == [("image", "a,mate", 0.2)]


def test_the_submission_holds_every_cell_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    apply(tmp_path, {"a": [cells_of("1", FORAMINAL, "a")], "b": []})
    paths = outputs(tmp_path).probabilities, tmp_path / "studies.parquet"
    write_submission(*paths, None, tmp_path / "submission.csv", LUMBAR_MRI)
    rows = pd.read_csv(tmp_path / "submission.csv", index_col="row_id")
    assert len(rows) == 50
    assert rows.loc["2_spinal_canal_stenosis_l1_l2"].tolist() == FLAT_PRIOR
    assert "40 of 50 rows hold the prior alone" in caplog.text


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    """Twelve train studies in three folds; the first has no row, the last lacks one condition."""
    random = np.random.default_rng(4)
    studies = [f"{number}" for number in range(100, 112)]
    folds = pd.DataFrame({"study": studies, "fold": np.arange(12) % 3, "stratum": 0})
    write_table(tmp_path / "folds.parquet", folds, FOLDS)
    cells = pd.DataFrame(LUMBAR_CELLS)
    rows = pd.concat([cells.assign(study=study) for study in studies], ignore_index=True)
    grade = random.choice(3, p=(0.6, 0.25, 0.15), size=len(rows))
    write_table(tmp_path / "labels.parquet", rows.assign(grade=pd.array(grade, "Int64")), LABELS)
    values = random.dirichlet(np.ones(3), len(rows)) + 1.5 * np.eye(3)[grade]
    made = rows.assign(classifier="net")
    made["fold"] = rows["study"].map(folds.set_index("study")["fold"]).astype("Int64")
    made[COLUMNS] = values / values.sum(axis=1, keepdims=True)
    kept = (made["study"] != "100") & ~((made["study"] == "111") & (made["condition"] == SPINAL))
    write_table(tmp_path / "net.parquet", made[kept], PREDICTIONS)
    write_studies(tmp_path, studies, "train")
    return tmp_path


def fit(folder: Path, calibration: str) -> tuple[pd.DataFrame, dict]:
    settings = EnsembleSettings(bootstrap_resamples=100, calibration=calibration)
    files = {"net": [str(folder / "net.parquet")]}
    inputs = EnsembleInputs(folder / "labels.parquet", folder / "studies.parquet", files)
    fit_ensemble(inputs, folder / "folds.parquet", outputs(folder), settings, LUMBAR_MRI)
    table = read_table(outputs(folder).probabilities, PROBABILITIES)
    return table, read_json(outputs(folder).score)


def test_train_studies_have_the_weights_of_their_own_fold(fitted: Path) -> None:
    labels = read_table(fitted / "labels.parquet", LABELS)
    net = read_table(fitted / "net.parquet", PREDICTIONS)
    folds = read_table(fitted / "folds.parquet", FOLDS).set_index("study")["fold"]
    board = gather(
        labels, folds, cross_fitted_prior(labels, folds, LUMBAR_MRI)[0], {"net": net}, LUMBAR_MRI
    )

    def part(share: float) -> dict:
        return {c: {"weights": {"prior": share, "net": 1.0 - share}} for c in WEIGHTS}

    without = {"0": part(0.6), "1": part(0.3), "2": part(1.0)}
    told = trace(board, {"all_folds": part(0.9), "without_fold": without})
    table = told.told(board.predictions(board.values[0], "ensemble"))
    assert of(table, "103", FORAMINAL) == [("image", "net", 0.6)]
    assert of(table, "101", FORAMINAL) == [("image", "net", 0.3)]
    assert of(table, "102", FORAMINAL) == [("prior", "", 1.0)]


def test_labelled_cells_of_the_prior_are_counted_and_are_the_prior(fitted: Path) -> None:
    table, score = fit(fitted, "always")
    assert of(table, "100", FORAMINAL) == of(table, "111", SPINAL) == [("prior", "", 1.0)]
    assert score["counts"]["cells_scored"] == 300
    assert score["counts"]["cells_scored_by_prior_alone"] == 30
    prior = read_table(outputs(fitted).prior, PREDICTIONS)
    alone = table["source"] == "prior"
    key = ["study", "condition", "level", "side"]
    same = table.loc[alone, [*key, *COLUMNS]].merge(prior, on=key)
    assert len(same) == 30
    assert np.allclose(same[[f"{c}_x" for c in COLUMNS]], same[[f"{c}_y" for c in COLUMNS]])


def test_a_calibration_is_fitted_on_what_members_graded(fitted: Path) -> None:
    """Labels of cells that hold the prior alone move neither it nor any other cell."""
    labels = read_table(fitted / "labels.parquet", LABELS)
    net = read_table(fitted / "net.parquet", PREDICTIONS)
    net = net[net["study"].astype(int) < 106]
    folds = read_table(fitted / "folds.parquet", FOLDS).set_index("study")["fold"]
    prior = cross_fitted_prior(labels, folds, LUMBAR_MRI)[0]
    lost = labels["study"].astype(int) >= 106
    found = []
    for grade in (0, 2):  # the prior is right of nearly all of them, then of hardly any
        labels.loc[lost, "grade"] = grade
        board = gather(labels, folds, prior, {"net": net}, LUMBAR_MRI)
        whole, cross_fitted, _ = fit_combinations(board, FitSettings(calibration="always"))
        seen = board.seen
        assert seen.sum() == 125 and np.allclose(cross_fitted[~seen], board.values[0][~seen])
        found.append((whole.whole[FORAMINAL].temperature, cross_fitted[board.condition == 1]))
    (first, before), (second, after) = found
    assert first == pytest.approx(second, rel=1e-3) and abs(first - 1.0) > 0.05
    assert np.allclose(before, after, atol=1e-3)
