"""Scores that need no image: uniform, constants and the prior, on a Kaggle train.csv.

    python benchmarks/metric_reference.py train.csv            # also .csv.gz
    python benchmarks/metric_reference.py train.csv --folds 5 --repeats 20

Also prints what the metric, a bootstrap and the join cost. docs/metric.md has the figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "scripts"))

from spinegrade.combine.prior import cross_fitted_prior  # noqa: E402
from spinegrade.kaggle_rsna2024 import CELL_BY_COLUMN, KAGGLE_GRADES  # noqa: E402
from spinegrade.metrics.bootstrap import bootstrap_score  # noqa: E402
from spinegrade.metrics.cells import KEY, match  # noqa: E402
from spinegrade.metrics.rsna2024 import Score, score  # noqa: E402
from spinegrade.metrics.score import score_cells  # noqa: E402
from spinegrade.regions.lumbar_mri import GRADE_WEIGHTS, LUMBAR_MRI  # noqa: E402
from spinegrade.runtime.seeds import generator  # noqa: E402
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS  # noqa: E402


def read_labels(path: Path) -> pd.DataFrame:
    """The labels of a train.csv as a long table."""
    wide = pd.read_csv(path, dtype={"study_id": "str"})
    long = wide.melt(id_vars="study_id", var_name="column", value_name="grade")
    cells = pd.DataFrame([CELL_BY_COLUMN[column] for column in long["column"]])
    grade = long["grade"].map(KAGGLE_GRADES).astype("Int64")
    return cells.assign(study=long["study_id"], grade=grade)


def constants(labels: pd.DataFrame, by: list[str], weights: tuple[float, ...]) -> pd.DataFrame:
    """Grade shares of each group, sample-weighted, as predictions for all its cells."""
    counts = labels.groupby([*by, "grade"]).size().unstack("grade") * np.asarray(weights)
    shares = counts.div(counts.sum(axis=1), axis=0)
    shares.columns = list(PROBABILITY_COLUMNS)
    return labels[KEY].join(shares, on=by)


def show(name: str, found: Score) -> None:
    """One line of the table."""
    parts = (found.spinal, found.foraminal, found.subarticular, found.any_severe)
    print(f"| {name} | {' | '.join(f'{part:.4f}' for part in parts)} | **{found.total:.5f}** |")


def seconds(call: Callable[[], Any], repeats: int = 7) -> float:
    """Median wall time of ``call``."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def main() -> None:
    """Print the table and the timings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=10, help="random splits of the prior")
    chosen = parser.parse_args()
    labels = read_labels(chosen.train)
    print("| prediction | spinal | foraminal | subarticular | any severe | score |")
    print("|---|---|---|---|---|---|")
    uniform = labels[KEY].assign(**dict.fromkeys(PROBABILITY_COLUMNS, 1 / 3))
    show("1/3 everywhere", score(labels, uniform))
    show("shares per condition", score(labels, constants(labels, ["condition"], (1, 1, 1))))
    weighted = constants(labels, ["condition"], GRADE_WEIGHTS)
    show("weighted shares per condition", score(labels, weighted))
    by_level = constants(labels, ["condition", "level"], GRADE_WEIGHTS)
    show("weighted shares per condition and level", score(labels, by_level))
    studies = np.sort(labels["study"].unique())
    found = []
    for repeat in range(chosen.repeats):
        order = generator(0, "metric_reference", repeat).permutation(len(studies))
        fold = pd.Series(pd.array(order % chosen.folds, dtype="Int64"), index=studies)
        found.append(score(labels, cross_fitted_prior(labels, fold, LUMBAR_MRI)[0]))
    mean = [np.mean([getattr(part, name) for part in found]) for name in Score.__annotations__]
    show(f"the prior, cross-fitted over {chosen.folds} folds", Score(*map(float, mean)))
    spread = np.std([part.total for part in found])
    print(f"\nprior: standard deviation {spread:.5f} over {chosen.repeats} random splits")
    cells, (values,) = match(LUMBAR_MRI, labels, by_level)
    intervals = bootstrap_score(cells, values)["total"]
    print(
        f"95 % interval by study of condition and level: {intervals.low:.3f}-{intervals.high:.3f}"
    )
    print(f"{len(cells)} labelled cells, {len(cells.studies)} studies; milliseconds:")
    print(f"  score of arrays {1e3 * seconds(lambda: score_cells(cells, values)):.1f}")
    print(f"  join and checks {1e3 * seconds(lambda: match(LUMBAR_MRI, labels, by_level)):.1f}")
    print(f"  1,000 resamples {1e3 * seconds(lambda: bootstrap_score(cells, values), 3):.1f}")


if __name__ == "__main__":
    main()
