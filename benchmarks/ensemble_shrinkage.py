"""What shrinking the ensemble's fit is worth: cross-fitted scores with it and without.

    python benchmarks/ensemble_shrinkage.py results/phantom_lumbar results/seed7

For each finished run, and for made-up cohorts of growing size (seven of the members of
ensemble_speed.py), the plain mean of the members and the cross-fitted ensemble minus it, as it is
fitted and shrunk. docs/experiments.md has the figures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "scripts"))
sys.path.insert(0, str(PROJECT / "benchmarks"))

from ensemble_speed import made_up_labels, member_probabilities  # noqa: E402, I001 - one core

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from spinegrade.regions.lumbar_mri import LUMBAR_MRI  # noqa: E402
from spinegrade.combine.blend import BLENDS  # noqa: E402
from spinegrade.combine.board import Board, gather  # noqa: E402
from spinegrade.combine.combine import fit_combinations  # noqa: E402
from spinegrade.combine.settings import FitSettings  # noqa: E402
from spinegrade.combine.prior import cross_fitted_prior  # noqa: E402
from spinegrade.combine.scores import equal_mix, labelled_cells  # noqa: E402
from spinegrade.metrics.score import score_cells  # noqa: E402
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS  # noqa: E402
from spinegrade.runtime.seeds import generator  # noqa: E402
from spinegrade.tables.files import read_table, read_tables  # noqa: E402
from spinegrade.tables.folds import FOLDS  # noqa: E402
from spinegrade.tables.labels import LABELS  # noqa: E402
from spinegrade.tables.predictions import PREDICTIONS  # noqa: E402
from spinegrade.tables.studies import STUDIES  # noqa: E402

SKILLS = np.array([1.35, 1.45, 1.5, 1.55, 1.6, 1.65, 1.75])
HEATS = np.array([1.0, 1.3, 0.8, 1.0, 1.2, 0.9, 1.1])


def finished_run(folder: Path) -> Board:
    """The board of a finished run: its labels, folds and classifiers."""
    labels = read_table(folder / "cohort" / "labels.parquet", LABELS)
    fold = read_table(folder / "cohort" / "folds.parquet", FOLDS).set_index("study")["fold"]
    everyone = read_table(folder / "cohort" / "studies.parquet", STUDIES)["study"]
    members = {
        room.name: read_tables([str(room / f"{part}.parquet") for part in ("oof", "new")],
                               PREDICTIONS)
        for room in sorted(path.parent for path in (folder / "grade").glob("*/oof.parquet"))
    }  # fmt: skip
    fold = fold.reindex(everyone)
    return gather(
        labels, fold, cross_fitted_prior(labels, fold, LUMBAR_MRI)[0], members, LUMBAR_MRI
    )


def made_up(studies: int, folds: int = 3) -> Board:
    """The board of a cohort whose members are made up."""
    labels = made_up_labels(studies)
    names = sorted(labels["study"].unique())
    order = generator(2, "ensemble_shrinkage", "folds").permutation(studies) % folds
    fold = pd.Series(pd.array(order, "Int64"), names)
    key = labels.drop(columns="grade").assign(fold=fold.reindex(labels["study"]).array)
    members = {}
    for number, chance in enumerate(member_probabilities(labels, SKILLS, HEATS)):
        members[f"m{number}"] = key.assign(classifier=f"m{number}")
        members[f"m{number}"][list(PROBABILITY_COLUMNS)] = chance
    return gather(
        labels, fold, cross_fitted_prior(labels, fold, LUMBAR_MRI)[0], members, LUMBAR_MRI
    )


def main() -> None:
    """Print one line a cohort and blend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="results folders of finished runs")
    boards = {str(folder): finished_run(folder) for folder in parser.parse_args().runs}
    boards |= {f"made up, {count} studies": made_up(count) for count in (60, 200, 600, 2000)}
    print("| cohort | blend | plain mean | as fitted | shrunk |\n|---|---|---|---|---|")
    for name, board in boards.items():
        cells, mask = labelled_cells(board)
        for blend in BLENDS:
            plain = score_cells(cells, equal_mix(board, blend)[mask]).total
            row = f"| {name} | {blend} | {plain:.4f} |"
            for shrinkage in ("never", "auto"):
                found = fit_combinations(board, FitSettings(blend=blend, shrinkage=shrinkage))[1]
                row += f" {score_cells(cells, found[mask]).total - plain:+.4f} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
