from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from spinegrade.combine.stage import (
    EnsembleInputs,
    EnsembleOutputs,
    EnsembleSettings,
    apply_ensemble,
    fit_ensemble,
)
from spinegrade.combine.submission import rounded_units, write_submission
from spinegrade.metrics.rsna2024 import score
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS, LUMBAR_MRI
from spinegrade.runtime.files import read_json
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.probabilities import PROBABILITIES
from spinegrade.tables.studies import STUDIES

TRAIN = [f"{n}" for n in range(100, 112)]
TEST = ["7", "31"]
SETTINGS = EnsembleSettings(bootstrap_resamples=100, seed=1)


def outputs(folder: Path) -> EnsembleOutputs:
    return EnsembleOutputs(
        *(folder / name for name in ("weights.json", "all.parquet", "prior.parquet")),
        folder / "filled.csv",
        folder / "score.json",
    )


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    random = np.random.default_rng(4)
    everyone = [*TRAIN, *TEST]
    studies = pd.DataFrame(
        {
            "study": everyone,
            "split": ["train"] * len(TRAIN) + ["test"] * len(TEST),
            "region": "lumbar",
            "shard": 0,
            "series_count": 3,
            "problem": ["no images", *([None] * (len(everyone) - 1))],
        }
    )
    write_table(tmp_path / "studies.parquet", studies, STUDIES)
    folds = pd.DataFrame({"study": TRAIN, "fold": np.arange(len(TRAIN)) % 3, "stratum": 0})
    write_table(tmp_path / "folds.parquet", folds, FOLDS)
    cells = pd.DataFrame(LUMBAR_CELLS)
    rows = pd.concat([cells.assign(study=study) for study in everyone], ignore_index=True)
    grade = random.choice(3, p=(0.6, 0.25, 0.15), size=len(rows))
    train = rows["study"].isin(TRAIN)
    labels = rows.assign(grade=pd.array(grade, "Int64"))[train]
    labels.iloc[3, labels.columns.get_loc("grade")] = pd.NA
    write_table(tmp_path / "labels.parquet", labels, LABELS)
    fold = rows["study"].map(folds.set_index("study")["fold"]).astype("Int64")
    values = random.dirichlet(np.ones(3), len(rows)) + 1.5 * np.eye(3)[grade]
    made = rows.assign(classifier="net", fold=fold)
    made[list(PROBABILITY_COLUMNS)] = values / values.sum(axis=1, keepdims=True)
    made = made[made["study"] != TRAIN[0]]  # the study without images has no prediction
    write_table(tmp_path / "oof.parquet", made[made["fold"].notna()], PREDICTIONS)
    write_table(tmp_path / "new.parquet", made[made["fold"].isna()], PREDICTIONS)
    return tmp_path


def inputs_of(folder: Path) -> EnsembleInputs:
    files = {"net": [str(folder / "oof.parquet"), str(folder / "new.parquet")]}
    return EnsembleInputs(folder / "labels.parquet", folder / "studies.parquet", files)


def fit(folder: Path, into: Path, **changed: object) -> EnsembleOutputs:
    inputs = inputs_of(folder)._replace(**changed)
    fit_ensemble(inputs, folder / "folds.parquet", outputs(into), SETTINGS, LUMBAR_MRI)
    return outputs(into)


def test_every_cell_is_covered_and_scored(tables: Path) -> None:
    made = fit(tables, tables / "a")
    ensemble = read_table(made.probabilities, PROBABILITIES)
    prior = read_table(made.prior, PREDICTIONS)
    assert len(ensemble) == len(prior) == 25 * (len(TRAIN) + len(TEST))
    labels = read_table(tables / "labels.parquet", LABELS)
    report = read_json(made.score)
    assert report["ensemble"] == pytest.approx(score(labels, ensemble).as_dict(), abs=1e-8)
    assert report["prior"] == pytest.approx(score(labels, prior).as_dict(), abs=1e-8)
    assert report["counts"]["studies_scored"] == len(TRAIN)
    assert report["counts"]["cells_scored"] == 25 * len(TRAIN) - 1
    assert sum(report["counts"]["filled"]["net"].values()) == 25
    assert set(pd.read_csv(made.filled, dtype="str")["study"]) == {TRAIN[0]}
    ratio = report["ratio_to_prior"]
    assert ratio["low"] < ratio["value"] < ratio["high"] < 1
    assert report["ensemble_in_sample"]["total"] < report["ensemble"]["total"]


def test_same_bytes_from_two_runs(tables: Path) -> None:
    first, second = fit(tables, tables / "a"), fit(tables, tables / "b")
    for name in ("weights", "probabilities", "prior", "filled", "score"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes()


def test_floor_is_read_and_a_broken_one_refused(tables: Path) -> None:
    floor = tables / "floor.json"
    floor.write_text('{"expected": {"total": 0.35}, "realised": {"total": 0.25}}')
    made = fit(tables, tables / "a", floor=floor)
    report = read_json(made.score)
    assert report["floor"]["ratio_to_realised"] == pytest.approx(
        report["ensemble"]["total"] / 0.25, abs=1e-8
    )
    floor.write_text('{"expected": {"total": 0.35}}')
    with refused("FLOOR_MALFORMED", "realised"):
        fit(tables, tables / "a", floor=floor)


def test_a_finished_run_is_applied(tables: Path) -> None:
    made = fit(tables, tables / "a")
    new = outputs(tables / "applied")
    inputs, labels = inputs_of(tables), tables / "labels.parquet"
    apply_ensemble(inputs, made.weights, new, SETTINGS, LUMBAR_MRI)
    applied = read_table(new.probabilities, PROBABILITIES).set_index(["study"])
    fitted = read_table(made.probabilities, PROBABILITIES).set_index(["study"])
    columns = list(PROBABILITY_COLUMNS)
    assert applied["fold"].isna().all()
    assert np.allclose(applied.loc[TEST, columns], fitted.loc[TEST, columns], atol=1e-7)
    assert read_json(new.score)["ensemble_in_sample"] is None
    # Without a single label there is no score, and that is said.
    blank = read_table(labels, LABELS).assign(grade=pd.array([pd.NA] * 300, "Int64"))
    write_table(labels, blank, LABELS)
    apply_ensemble(inputs, made.weights, new, SETTINGS, LUMBAR_MRI)
    report = read_json(new.score)
    assert report["scored"] is False and "no labelled cell" in report["reason"]


def test_wrong_classifier_in_a_table_is_refused(tables: Path) -> None:
    oof = read_table(tables / "oof.parquet", PREDICTIONS).assign(classifier="other")
    write_table(tables / "oof.parquet", oof, PREDICTIONS)
    with refused("PREDICTIONS_OF_ANOTHER", "'net'", "'other'"):
        fit(tables, tables / "a")


def test_units_sum_to_one_exactly() -> None:
    random = np.random.default_rng(0)
    values = random.dirichlet(np.full(3, 0.3), 2000)
    units = rounded_units(values)
    assert (units.sum(axis=1) == 1_000_000).all() and (units >= 0).all()
    assert np.abs(units / 1e6 - values).max() < 1e-6
    assert rounded_units(np.array([[1.0, 1.0, 1.0]])).tolist() == [[333334, 333333, 333333]]


def test_submission_follows_the_sample(tables: Path) -> None:
    made = fit(tables, tables / "a")
    submission, studies = tables / "submission.csv", tables / "studies.parquet"
    write_submission(made.probabilities, studies, None, submission, LUMBAR_MRI)
    plain = pd.read_csv(submission, dtype="str")
    assert list(plain.columns) == ["row_id", "normal_mild", "moderate", "severe"]
    assert list(plain["row_id"][:2]) == [
        "31_spinal_canal_stenosis_l1_l2",
        "31_spinal_canal_stenosis_l2_l3",
    ]
    assert len(plain) == 50 and not plain["row_id"].duplicated().any()
    assert plain["severe"].str.fullmatch(r"[01]\.\d{6}").all()
    sample = tables / "sample_submission.csv"
    shuffled = plain.sample(frac=1, random_state=0)
    shuffled.to_csv(sample, index=False)
    write_submission(made.probabilities, studies, sample, submission, LUMBAR_MRI)
    assert pd.read_csv(submission, dtype="str").equals(shuffled.reset_index(drop=True))
    cases = {
        "unknown": (
            pd.concat([plain, plain.iloc[:1].replace("31_", "9_", regex=True)]),
            "ROW_UNKNOWN",
            "'9_",
        ),
        "short": (plain.iloc[1:], "ROW_MISSING", plain["row_id"][0]),
        "doubled": (pd.concat([plain, plain.iloc[:1]]), "ROW_TWICE", plain["row_id"][0]),
        "column": (plain.rename(columns={"row_id": "row"}), "COLUMN", "row_id"),
    }
    for table, code, value in cases.values():
        table.to_csv(sample, index=False)
        with refused(f"SUBMISSION_{code}", sample, value):
            write_submission(made.probabilities, studies, sample, submission, LUMBAR_MRI)


def test_submission_needs_every_test_study(tables: Path) -> None:
    made = fit(tables, tables / "a")
    table = read_table(made.probabilities, PROBABILITIES)
    write_table(made.probabilities, table[table["study"] != "7"], PROBABILITIES)
    with refused("SUBMISSION_CELL_MISSING", "25 rows", "'7_"):
        write_submission(
            made.probabilities, tables / "studies.parquet", None, tables / "s.csv", LUMBAR_MRI
        )
