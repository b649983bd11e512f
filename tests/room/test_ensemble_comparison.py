"""One ensemble against its parts, with answers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from spinegrade.combine.compare import compare_blends
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS, LUMBAR_MRI
from spinegrade.runtime.files import read_json
from spinegrade.tables.files import write_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.probabilities import PROBABILITIES

STUDIES = [f"s{number}" for number in range(6)]


def rows() -> pd.DataFrame:
    cells = pd.DataFrame(LUMBAR_CELLS)
    return pd.concat([cells.assign(study=study) for study in STUDIES], ignore_index=True)


def write_blend(path: Path, sure: float) -> str:
    """Every cell is severe; it has ``sure``, the other grades share the rest."""
    table = rows().assign(classifier="ensemble", fold=pd.array([0] * 150, "Int64"))
    table[list(PROBABILITY_COLUMNS)] = np.array([(1 - sure) / 2, (1 - sure) / 2, sure])
    table = table.assign(source="image", members="net", prior_weight=0.0)
    write_table(path, table, PROBABILITIES)
    return str(path)


def compared(folder: Path, labels: pd.DataFrame, **parts: str) -> dict:
    write_table(folder / "labels.parquet", labels, LABELS)
    compare_blends(
        whole_path=write_blend(folder / "whole.parquet", 0.5),
        part_paths=parts,
        labels_path=str(folder / "labels.parquet"),
        comparison_path=str(folder / "comparison.json"),
        resamples=50,
        seed=1,
        region=LUMBAR_MRI,
    )
    return read_json(folder / "comparison.json")


def test_by_hand(tmp_path: Path) -> None:
    worse = write_blend(tmp_path / "worse.parquet", 0.25)
    same = write_blend(tmp_path / "same.parquet", 0.5)
    labels = rows().assign(grade=pd.array([2] * 150, "Int64"))
    found = compared(tmp_path, labels, worse=worse, same=same)
    assert found["scored"] and found["studies"] == 6
    # All four parts of the score are minus the logarithm of what the severe grade was given.
    assert found["whole"]["total"] == pytest.approx(math.log(2))
    assert found["parts"]["worse"]["score"]["total"] == pytest.approx(math.log(4))
    # Every study says the same, so that no resample differs.
    for bound in ("value", "low", "high"):
        assert found["parts"]["worse"]["whole_minus_part"][bound] == pytest.approx(-math.log(2))
        assert found["parts"]["same"]["whole_minus_part"][bound] == 0


def test_a_part_that_lacks_a_labelled_cell_is_refused(tmp_path: Path) -> None:
    table = pd.read_parquet(write_blend(tmp_path / "part.parquet", 0.3))
    write_table(tmp_path / "part.parquet", table.drop(index=7), PROBABILITIES)
    labels = rows().assign(grade=pd.array([1] * 150, "Int64"))
    with refused("CELL_WITHOUT_PREDICTION", "study=s0", "level=l3_l4", "side=left"):
        compared(tmp_path, labels, part=str(tmp_path / "part.parquet"))


def test_without_labels_of_a_condition_there_is_no_comparison(tmp_path: Path) -> None:
    labels = rows().assign(grade=pd.array([1] * 150, "Int64"))
    labels.loc[labels["condition"] == "subarticular_stenosis", "grade"] = pd.NA
    found = compared(tmp_path, labels)
    assert found == {"scored": False, "reason": "no labelled cell of subarticular_stenosis"}
