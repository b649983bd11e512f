"""Print how far a run's out-of-fold keypoints lie from the true points, or from landmarks.

    python benchmarks/keypoint_accuracy.py results/phantom_lumbar

With phantom/truth.parquet the reference is the true point, transitional anatomies apart;
without it the annotated landmark. Points that were to be found and were not are counted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from spinegrade.localise.heatmap.measure import summary
from spinegrade.metrics.points import affines_of, point_errors
from spinegrade.tables.files import read_table, read_tables
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.truth import TRUTH
from spinegrade.volumes import load_stacks

FIGURES = (
    "median_mm",
    "p90_mm",
    "within_6_mm",
    "side_right",
    "slice_within_1",
    "level_shift_studies",
    "in_plane_sd_mm",
    "slice_sd",
)


def reference_points(results: Path) -> pd.DataFrame:
    """True points with their anatomy, else located landmarks with anatomy "unknown"."""
    truth = results / "phantom" / "truth.parquet"
    if truth.exists():
        return read_table(truth, TRUTH)
    landmarks = sorted(results.glob("convert/*/landmarks.parquet"))
    return read_tables(landmarks, LOCATED_LANDMARKS).assign(anatomy="unknown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="a cohort's results folder")
    results = parser.parse_args().results
    points = reference_points(results)
    folds = set(read_table(results / "cohort" / "folds.parquet", FOLDS)["study"])
    points = points[points["study"].isin(folds)]
    transitional = points.groupby("study")["anatomy"].first().isin(["four_lumbar", "six_lumbar"])
    affines = affines_of(load_stacks(sorted(results.glob("convert/*/stacks.parquet"))))
    rows = []
    for folder in sorted(path.parent for path in results.glob("localise/*/fold_0")):
        shards = [path for path in folder.glob("*.parquet") if path.stem.isdigit()]
        keypoints = read_tables(sorted(shards), KEYPOINTS)
        errors = point_errors(keypoints, points, affines)
        for kind in (False, True):
            chosen = errors[errors["study"].map(transitional) == kind]
            condition = errors["condition"].iloc[0]
            there = points[points["study"].map(transitional) == kind]
            there = (there["condition"] == condition).sum()
            if len(chosen):
                figures = summary(chosen)
                name = "transitional" if kind else "typical"
                rows.append(
                    [folder.name, name, f"{len(chosen)} of {there}", *(figures[f] for f in FIGURES)]
                )
    table = pd.DataFrame(rows, columns=["detector", "anatomy", "found", *FIGURES])
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
