"""Fit resources/anatomy/lumbar_statistics.json from the RSNA 2024 lumbar spine tables.

Anyone with the competition's CSV files can run it again (plain or .gz), from the project root:

    PYTHONPATH=scripts python scripts/tools/fit_lumbar_statistics.py \
        --labels train.csv --coordinates train_label_coordinates.csv \
        --descriptions train_series_descriptions.csv --images train_images

Image sizes come from columns ``height`` and ``width`` of the coordinates where they exist, else
from the DICOM headers under ``--images``. Series statistics come from ``--inventory`` (one row
a series: series_description, n_instances, n_gaps, height_max, width_max), else from the
images. Only aggregates are written, no row of any table.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.procrustes import similarity_to
from spinegrade.kaggle_rsna2024 import KAGGLE_GRADES, kaggle_condition, kaggle_level
from spinegrade.phantom import fit
from spinegrade.phantom.floor import expected_score
from spinegrade.phantom.rater import grade_probabilities
from spinegrade.phantom.statistics import RESOURCE, parse_statistics
from spinegrade.regions.lumbar_mri import (
    CONDITIONS,
    FORAMINAL,
    GRADE_WEIGHTS,
    GRADES,
    LUMBAR_CELLS,
    LUMBAR_LEVELS,
    SPINAL,
)
from spinegrade.runtime.files import write_json

FRAME_PX = 512
# Priors and aims that no table holds.
THRESHOLDS = (0.45, 0.7)
FLOOR = 0.34
MODES_EXPLAINED = 0.85  # what is smaller is mostly how annotators place points
SCALE_PRIOR = {"spacing_mm": 30.5, "spacing_sd_mm": 1.5, "spacing_range_mm": [27.0, 34.5]}
FORMULAS = {
    "points": "px times 512 / max(rows, columns); studies with every point; generalised Procrustes "
    "(similarity); sets beyond median + 6 median deviations left out",
    "modes": "principal components of the 15 aligned points of studies whose T1 and T2 share a "
    "frame, to 85 % of the variance, scaled to one standard deviation",
    "registration": "canal mean of all studies laid on the canal mean of the shared frames, whose "
    "foramina are laid on the foraminal mean of all studies (similarities)",
    "scale": "a prior, not fitted: mean foraminal level spacing in mm",
    "severity": "normal per cell; narrowing = 1 / (1 + exp(-severity)); mean and total spread from "
    "the two margins at the common thresholds; spread^2 = total^2 - noise^2",
    "correlation": "pairwise latent correlations that imply the Spearman correlations of the "
    "grades; noise taken off the diagonal; nearest definite matrix (Higham), "
    "cells weighted by their share of untied pairs",
    "noise": "set so that the expected floor of the score is the floor aimed at",
}


def series_files(images: Path, study: str, series: str) -> list[Path]:
    """The DICOM files of one series under train_images."""
    files = sorted((images / study / series).glob("*.dcm"))
    if not files:
        raise SpinegradeError(f"{images / study / series}: no .dcm files; download the series")
    return files


def image_size(file: Path) -> tuple[int, int]:
    """Rows and columns from a DICOM header."""
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    return int(header.Rows), int(header.Columns)


def point_sets(rows: pd.DataFrame, columns: list[tuple[str, str]]) -> pd.DataFrame:
    """Complete studies only: one row a study, one (x, y) pair a (level, side) column, at 512."""
    rows = rows.drop_duplicates(["study_id", "level", "side"])
    scale = FRAME_PX / rows[["height", "width"]].max(axis=1)
    rows = rows.assign(x=rows["x"] * scale, y=rows["y"] * scale)
    wide = rows.pivot(index="study_id", columns=["level", "side"], values=["x", "y"])
    wanted = [(axis, *column) for column in columns for axis in ("x", "y")]
    return wide.reindex(columns=pd.MultiIndex.from_tuples(wanted)).dropna()


def read_coordinates(path: Path, images: Path | None) -> pd.DataFrame:
    """Coordinates with names of this project, side and image size."""
    table = pd.read_csv(path, dtype={"study_id": str, "series_id": str})
    pairs = table["condition"].map(kaggle_condition)
    table["condition"], table["side"] = pairs.str[0], pairs.str[1]
    table["level"] = table["level"].map(kaggle_level)
    if not {"height", "width"} <= set(table.columns):
        if images is None:
            raise SpinegradeError(f"{path}: no columns height and width; give --images")
        sizes = {}
        for study, series in set(zip(table["study_id"], table["series_id"], strict=True)):
            sizes[series] = image_size(series_files(images, study, series)[0])
        size = table["series_id"].map(sizes)
        table["height"], table["width"] = size.str[0], size.str[1]
    return table


def read_inventory(inventory: Path | None, descriptions: Path, images: Path | None) -> pd.DataFrame:
    """One row a series: study_id, series_description, slices, rows, cols, holes."""
    if inventory is not None:
        table = pd.read_csv(inventory, dtype={"study_id": str, "series_id": str})
        table["holes"] = table["n_gaps"] > 0
        renamed = {"n_instances": "slices", "height_max": "rows", "width_max": "cols"}
        return table.rename(columns=renamed)
    if images is None:
        raise SpinegradeError("give --inventory or --images for the series statistics")
    table = pd.read_csv(descriptions, dtype={"study_id": str, "series_id": str})
    found = []
    for row in table.itertuples():
        files = series_files(images, row.study_id, row.series_id)
        numbers = [int(file.stem) for file in files]
        holes = max(numbers) - min(numbers) + 1 != len(numbers)
        found.append((len(files), *image_size(files[0]), holes))
    return table.join(pd.DataFrame(found, columns=["slices", "rows", "cols", "holes"]))


def rounded(values: Any, digits: int = 5) -> Any:
    """Nested lists of rounded numbers, for JSON."""
    return np.round(np.asarray(values, float), digits).tolist()


def shape_statistics(coordinates: pd.DataFrame) -> dict[str, Any]:
    """The block ``shape`` of the resource."""
    levels = LUMBAR_LEVELS
    parts = {}
    for part, condition, sides in (
        ("canal", SPINAL, ("central",)),
        ("foraminal", FORAMINAL, ("left", "right")),
    ):
        rows = coordinates[coordinates["condition"] == condition]
        columns = [(level, side) for side in sides for level in levels]
        table = point_sets(rows, columns)
        sets = table.to_numpy().reshape(len(table), len(columns), 2)
        size = rows.drop_duplicates("study_id").set_index("study_id")[["height", "width"]]
        parts[part] = (table.index, sets, size, fit.screened_procrustes(sets))
        print(f"{part}: {len(table)} complete studies, {parts[part][3].kept.sum()} kept")
    both = parts["canal"][0].intersection(parts["foraminal"][0])
    same = (parts["canal"][2].loc[both] == parts["foraminal"][2].loc[both]).all(axis=1)
    both = both[same.to_numpy()]
    canal, foraminal = (
        parts[part][1][parts[part][0].get_indexer(both)] for part in ("canal", "foraminal")
    )
    shared = fit.share_of_frame(canal, foraminal)
    joint = fit.screened_procrustes(np.concatenate([canal, foraminal], axis=1)[shared])
    print(
        f"joint: {len(both)} of equal matrix, {shared.sum()} in one frame, {joint.kept.sum()} kept"
    )
    foraminal_mean, canal_mean = parts["foraminal"][3].mean, parts["canal"][3].mean
    to_frame = similarity_to(joint.mean[5:], foraminal_mean)
    canal_there = to_frame.apply(joint.mean[:5])
    canal_mean = similarity_to(canal_mean, canal_there).apply(canal_mean)
    modes, variances = fit.principal_modes(joint.aligned, joint.mean, MODES_EXPLAINED)
    modes = modes @ to_frame.rotation.T * to_frame.scale
    print(
        f"modes: {len(modes)}; canal means apart by {np.abs(canal_mean - canal_there).max():.2f} px"
    )
    return {
        "unit": "px at 512; x to the back, y to the feet; origin at the foraminal centroid",
        "points": "canal 5, left foraminal 5, right foraminal 5, each l1_l2 to l5_s1",
        "canal": {"mean_px": rounded(canal_mean, 3), "studies": int(parts["canal"][3].kept.sum())},
        "foraminal": {
            "mean_px": rounded(foraminal_mean, 3),
            "studies": int(parts["foraminal"][3].kept.sum()),
        },
        "modes_px": rounded(modes, 3),
        "variances_px2": rounded(variances * to_frame.scale**2, 3),
        "modes_studies": int(joint.kept.sum()),
        "turn_deg": round(fit.turn_deg(parts["foraminal"][1], foraminal_mean), 3),
        "scale_prior": SCALE_PRIOR,
    }


def label_statistics(labels: pd.DataFrame) -> dict[str, Any]:
    """The block ``labels``: prevalence, missing rates, rank correlations."""
    columns = [cell.column for cell in LUMBAR_CELLS]
    grades = labels[columns].apply(lambda column: column.map(KAGGLE_GRADES)).astype(float)
    shares = np.stack([(grades == grade).sum() for grade in GRADES], axis=1)
    gaps = grades.isna().to_numpy()
    together = (gaps[:, 15:20] & gaps[:, 20:]).sum(axis=0) / np.maximum(
        gaps[:, 15:20].sum(axis=0), 1
    )
    prevalence = np.round(shares / shares.sum(axis=1, keepdims=True), 6)
    prevalence[:, 0] = 1 - prevalence[:, 1:].sum(axis=1)
    by_condition = {
        condition: round(float(gaps[:, [c.condition == condition for c in LUMBAR_CELLS]].mean()), 5)
        for condition in CONDITIONS
    }
    return {
        "studies": len(grades),
        "prevalence": rounded(prevalence, 6),
        "missing_rate": rounded(gaps.mean(axis=0)),
        "missing_rate_by_condition": by_condition,
        "missing_together": rounded(together),
        "rank_correlation": rounded(grades.corr(method="spearman")),
    }


def series_statistics(series: pd.DataFrame) -> dict[str, Any]:
    """The block ``series``: matrices, slice counts, how many series a study has."""
    series = series.dropna(subset=["rows", "cols"])
    groups = dict(list(series.groupby("series_description")))
    per_study = series.groupby(["study_id", "series_description"]).size().unstack(fill_value=0)
    rows = {}
    for name, group in groups.items():
        share = group["rows"].astype(int).value_counts(normalize=True)
        share = share[share >= 0.01].sort_index()  # rare sizes say nothing and could name a study
        rows[name] = {str(n): round(float(s / share.sum()), 5) for n, s in share.items()}
    axial = per_study["Axial T2"].clip(upper=3).value_counts(normalize=True).sort_index()
    quantiles = np.linspace(0, 1, 21)
    return {
        "series": len(series),
        "rows": rows,
        "slices": {k: rounded(g["slices"].quantile(quantiles), 1) for k, g in groups.items()},
        "cols_differ": {
            k: round(float((g["rows"] != g["cols"]).mean()), 5) for k, g in groups.items()
        },
        "axial_counts": {str(int(n)): round(float(s), 5) for n, s in axial.items()},
        "lacking": {k: round(float((per_study[k] == 0).mean()), 5) for k in groups},
        "holes": round(float(series["holes"].mean()), 5),
    }


def set_noise(content: dict[str, Any], studies: int = 20_000, seed: int = 1) -> dict[str, Any]:
    """Fill ``disease`` and ``rater``: bisect the rater's noise until the floor is as aimed."""
    prevalence = np.asarray(content["labels"]["prevalence"])
    readings = fit.polychoric_matrix(prevalence, np.asarray(content["labels"]["rank_correlation"]))
    low, high = 0.2, 0.7
    for _ in range(16):
        noise = round((low + high) / 2, 5)
        disease = fit.disease_for_noise(prevalence, readings, THRESHOLDS, noise)
        content["disease"] = {
            "mean": rounded(disease.mean),
            "spread": rounded(disease.spread),
            "correlation": rounded(disease.correlation),
        }
        content["rater"] = {"thresholds": [list(THRESHOLDS)] * len(prevalence), "noise": noise}
        statistics = parse_statistics(content)
        floor = fit.floor_for_noise(statistics, studies, seed)
        low, high = (noise, high) if floor < FLOOR else (low, noise)
    narrowing = fit.draw_narrowing(np.random.default_rng(seed + 1), statistics, studies)
    truth = grade_probabilities(narrowing, statistics)
    constants = prevalence * np.asarray(GRADE_WEIGHTS)
    constants /= constants.sum(axis=1, keepdims=True)
    constant = expected_score(truth, np.broadcast_to(constants, truth.shape))
    content["check"] = {
        "expected_floor": {k: round(v, 4) for k, v in fit.expected_floor(truth).as_dict().items()},
        "constant_per_cell": {k: round(v, 4) for k, v in constant.as_dict().items()},
        "readings_correlation_error_rms": correlation_error(statistics, readings),
    }
    print(f"noise {noise}: {content['check']}")
    return content


def correlation_error(statistics: Any, readings: np.ndarray) -> float:
    """Root mean square between the readings' correlations modelled and asked."""
    spread, noise = statistics.disease.spread, statistics.rater.noise
    root = spread / np.sqrt(spread**2 + noise**2)
    upper = np.triu_indices(len(root), 1)
    error = (statistics.disease.correlation * np.outer(root, root) - readings)[upper]
    return round(float(np.sqrt((error**2).mean())), 5)


def digest(path: Path) -> dict[str, str]:
    """Name and SHA-256 of a source file."""
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def main() -> None:
    """Read the tables, fit, write the resource."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("labels", "coordinates", "descriptions"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("inventory", "images"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--output", type=Path, default=RESOURCE)
    given = parser.parse_args()
    coordinates = read_coordinates(given.coordinates, given.images)
    series = read_inventory(given.inventory, given.descriptions, given.images)
    sources = [given.labels, given.coordinates, given.descriptions, given.inventory]
    content = {
        "cells": [cell.column for cell in LUMBAR_CELLS],
        "provenance": {
            "script": "scripts/tools/fit_lumbar_statistics.py",
            "data": "RSNA 2024 Lumbar Spine Degenerative Classification (Kaggle), training tables",
            "sources": [digest(path) for path in sources if path],
            "formulas": FORMULAS,
            "floor_aimed_at": FLOOR,
        },
        "shape": shape_statistics(coordinates),
        "labels": label_statistics(pd.read_csv(given.labels)),
        "series": series_statistics(series),
    }
    write_json(given.output, set_noise(content))
    print(f"wrote {given.output}")


if __name__ == "__main__":
    main()
