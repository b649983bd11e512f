"""The ensemble with a member that others made: fitted, scored, and applied as it was fitted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from spinegrade.combine.outside import OutsideTable
from spinegrade.combine.settings import FitSettings
from spinegrade.combine.stage import (
    EnsembleInputs,
    EnsembleOutputs,
    EnsembleSettings,
    apply_ensemble,
    fit_ensemble,
)
from spinegrade.metrics.rsna2024 import score
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_CELLS, LUMBAR_MRI, SPINAL
from spinegrade.regions.region import Cell, row_id
from spinegrade.runtime.files import read_json, write_json
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.probabilities import PROBABILITIES
from spinegrade.tables.studies import STUDIES
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # As in a job: more threads than free cores make small sums many times as slow.
    with threadpool_limits(1):
        yield


COLUMNS = list(PROBABILITY_COLUMNS)
SETTINGS = EnsembleSettings(bootstrap_resamples=100, seed=1)
TRAIN, NEW = [str(n) for n in range(100, 124)], ["7"]


def outputs(folder: Path) -> EnsembleOutputs:
    names = ("weights.json", "all.parquet", "prior.parquet", "filled.csv", "score.json")
    return EnsembleOutputs(*(folder / name for name in names))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A cohort with one classifier, and mate.csv: canal cells of most train studies alone."""
    random = np.random.default_rng(4)
    everyone = [*TRAIN, *NEW]
    studies = pd.DataFrame({"study": everyone, "split": "train", "region": "lumbar", "shard": 0})
    studies = studies.assign(series_count=3, problem=pd.array([None] * len(everyone), "str"))
    write_table(tmp_path / "studies.parquet", studies, STUDIES)
    folds = pd.DataFrame({"study": TRAIN, "fold": np.arange(len(TRAIN)) % 3, "stratum": 0})
    write_table(tmp_path / "folds.parquet", folds, FOLDS)
    cells = pd.DataFrame(LUMBAR_CELLS)
    rows = pd.concat([cells.assign(study=study) for study in everyone], ignore_index=True)
    grade = random.choice(3, p=(0.6, 0.25, 0.15), size=len(rows))
    labels = rows.assign(grade=pd.array(grade, "Int64"))[rows["study"] != "7"]
    write_table(tmp_path / "labels.parquet", labels, LABELS)
    values = random.dirichlet(np.ones(3), len(rows)) + 0.5 * np.eye(3)[grade]
    net = rows.assign(classifier="net")
    net["fold"] = rows["study"].map(folds.set_index("study")["fold"]).astype("Int64")
    net[COLUMNS] = values / values.sum(axis=1, keepdims=True)
    write_table(tmp_path / "net.parquet", net, PREDICTIONS)
    better = random.dirichlet(np.ones(3), len(rows)) + 3.0 * np.eye(3)[grade]
    better /= better.sum(axis=1, keepdims=True)
    kept = (rows["condition"] == SPINAL) & ~rows["study"].isin([TRAIN[0], "7"])
    mate = pd.DataFrame(better.round(4), columns=["normal_mild", "moderate", "severe"])
    mate["row_id"] = [row_id(s, Cell(*c)) for *c, s in rows.itertuples(index=False)]
    mate[kept].to_csv(tmp_path / "mate.csv", index=False)
    return tmp_path


def inputs_of(folder: Path, **outside: OutsideTable) -> EnsembleInputs:
    files = {"net": [str(folder / "net.parquet")]}
    labels, studies = folder / "labels.parquet", folder / "studies.parquet"
    return EnsembleInputs(labels, studies, files, outside=outside)


def fit(folder: Path, settings: EnsembleSettings = SETTINGS, outside: str = "mate.csv") -> dict:
    inputs = inputs_of(folder, mate=OutsideTable(folder / outside))
    fit_ensemble(inputs, folder / "folds.parquet", outputs(folder), settings, LUMBAR_MRI)
    return read_json(outputs(folder).score)


@pytest.mark.parametrize("blend", ["probabilities", "logits"])
def test_a_partial_table_joins_and_no_cell_is_dropped(run: Path, blend: str) -> None:
    settings = EnsembleSettings(bootstrap_resamples=100, seed=1, blend=blend)
    report = fit(run, settings)
    made = outputs(run)
    combined = read_table(made.probabilities, PROBABILITIES)
    assert len(combined) == 25 * 25 and report["counts"]["cells_scored"] == 25 * len(TRAIN)
    labels = read_table(run / "labels.parquet", LABELS)
    assert report["ensemble"] == pytest.approx(score(labels, combined).as_dict(), abs=1e-8)
    # Its canal cells of the first and of the new study are filled; the rest it does not serve.
    assert report["served"]["mate"] == [SPINAL]
    assert report["counts"]["filled"] == {"net": dict.fromkeys(report["served"]["net"], 0),
                                          "mate": {SPINAL: 10}}  # fmt: skip
    filled = pd.read_csv(made.filled, dtype="str")
    assert set(filled["study"]) == {TRAIN[0], "7"} and set(filled["condition"]) == {SPINAL}
    weights = read_json(made.weights)
    assert weights["blend"] == report["blend"] == blend
    assert weights["all_folds"][SPINAL]["weights"]["mate"] > 0.3
    assert list(weights["all_folds"][FORAMINAL]["weights"]) == ["net", "prior"]
    left = report["leave_one_out"]
    assert set(left) == {"prior", "net", "mate"} and left["mate"]["difference"]["high"] < 0
    assert left["mate"]["score"]["foraminal"] == report["ensemble"]["foraminal"]
    again = {name: getattr(made, name).read_bytes() for name in ("weights", "score")}
    fit(run, settings)
    assert again == {name: getattr(made, name).read_bytes() for name in again}


def test_a_finished_run_with_a_table_is_applied_as_it_was_fitted(run: Path) -> None:
    settings = EnsembleSettings(bootstrap_resamples=100, seed=1, blend="logits")
    fit(run, settings)
    weights, new = run / "weights.json", outputs(run / "applied")
    fitted = read_table(outputs(run).probabilities, PROBABILITIES).set_index("study")

    def apply(how: EnsembleSettings = settings, **outside: OutsideTable) -> dict:
        apply_ensemble(inputs_of(run, **outside), weights, new, how, LUMBAR_MRI)
        return read_json(new.score)

    mate = OutsideTable(run / "mate.csv")
    report = apply(mate=mate)
    assert report["blend"] == "logits" and report["leave_one_out"] is None
    applied = read_table(new.probabilities, PROBABILITIES).set_index("study")
    # The new study's member cells are missing in both: the prior stands in alike.
    assert np.allclose(applied.loc["7", COLUMNS], fitted.loc["7", COLUMNS], atol=1e-7)
    with refused("WEIGHTS_MEMBER_MISSING", "'mate'"):
        apply()
    other = ("WEIGHTS_OF_ANOTHER_BLEND", weights, "logits", "probabilities")
    with refused(*other, key="combine.blend"):
        apply(SETTINGS, mate=mate)
    # Files from before there was a choice of blend were fitted on probabilities, and are read so.
    old = read_json(weights)
    for key in ("blend", "prune"):
        del old[key]
    for part in old["all_folds"].values():
        del part["pruned"]
    write_json(weights, old)
    assert apply(SETTINGS, mate=mate)["blend"] == "probabilities"
    with refused(*other, key="combine.blend"):
        apply(mate=mate)
    # A member that lost its weight need not be there.
    for part in old["all_folds"].values():
        part["weights"] = {**dict.fromkeys(part["weights"], 0.0), "net": 1.0}
    write_json(weights, old)
    assert apply(SETTINGS)["scored"] is True


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (["all_folds"], None, f"all_folds.{SPINAL}"),
        (["prior", SPINAL, "l1_l2"], [0.5, 0.5], f"prior.{SPINAL}.l1_l2"),
        (["all_folds", SPINAL, "weights", "net"], 3.0, f"all_folds.{SPINAL}.weights"),
        (["all_folds", SPINAL, "temperature"], 0, f"all_folds.{SPINAL}"),
        (["all_folds", SPINAL, "severe_factor"], "two", f"all_folds.{SPINAL}"),
    ],
)
def test_weights_that_fit_ensemble_did_not_write_are_refused(
    run: Path, path: list[str], value: object, where: str
) -> None:
    fit(run)
    weights = read_json(run / "weights.json")
    place = weights
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    write_json(run / "weights.json", weights)
    with refused("WEIGHTS_MALFORMED", f"weights.json: {where}: "):
        applied = outputs(run / "applied")
        apply_ensemble(inputs_of(run), run / "weights.json", applied, SETTINGS, LUMBAR_MRI)


def test_a_table_may_not_take_a_classifiers_name(run: Path) -> None:
    with refused("MEMBER_NAME_TAKEN", "'net'", key="combine.outside"):
        inputs = inputs_of(run, net=OutsideTable(run / "mate.csv"))
        fit_ensemble(inputs, run / "folds.parquet", outputs(run), SETTINGS, LUMBAR_MRI)


def test_unknown_words_are_refused() -> None:
    with refused("COMBINE_WORD", "'logit'", "logits", key="combine.blend"):
        FitSettings(blend="logit")
    with refused("COMBINE_WORD", "'often'", "never", key="combine.calibration"):
        FitSettings(calibration="often")
