"""A tiny made-up run in a folder: every table that the report reads, with chosen values."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pandas as pd
from spinegrade.geometry.affine import affine_from_dicom, affine_to_columns, to_mm
from spinegrade.regions.lumbar_mri import (
    FORAMINAL,
    LUMBAR_CELLS,
    LUMBAR_LEVELS,
    SPINAL,
    SUBARTICULAR,
)
from spinegrade.report.data import Options, Paths
from spinegrade.runtime.files import write_json
from spinegrade.tables.files import empty_table, write_table
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.probabilities import PROBABILITIES
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.rois import ROIS
from spinegrade.tables.stacks import STACKS
from spinegrade.tables.studies import STUDIES
from spinegrade.tables.truth import TRUTH

SAGITTAL = affine_from_dicom([0, 1, 0, 0, 0, -1], [0.8, 0.5], [-20, -40, 60], [5, 0, 0])
AXIAL = affine_from_dicom([1, 0, 0, 0, 1, 0], [0.5, 0.5], [-40, -40, -60], [0, 0, 5])
SERIES = {
    "1001": ("sagittal", "t1", SAGITTAL, (9, 150, 160), FORAMINAL),
    "1002": ("sagittal", "t2", SAGITTAL, (9, 150, 160), SPINAL),
    "1003": ("axial", "t2", AXIAL, (24, 160, 160), SUBARTICULAR),
}
HOSTILE = "<script>alert('x')</script>.dcm"


def write_nifti(path: Path, volume: np.ndarray) -> None:
    """The least single-file NIfTI-1 that holds ``volume`` (z, y, x) uint16."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *volume.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 512, 16)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, 0.0)
    header[344:348] = b"n+1\0"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(header) + volume.astype("<u2").tobytes())


def point_of(cell: tuple[str, str, str]) -> tuple[int, int, int]:
    """(x_px, y_px, index) of a cell in its series: the bright voxel of every study."""
    condition, level, side = cell
    place = LUMBAR_LEVELS.index(level)
    if condition == SUBARTICULAR:
        return (100 if side == "left" else 60), 80, 21 - 4 * place
    index = {"right": 2, "central": 4, "left": 6}[side]
    return 70 + 2 * place, 30 + 20 * place, index


def points_table(study: str, moved_px: float, source: str) -> pd.DataFrame:
    """All 25 points of a study, moved along the rows by ``moved_px``."""
    rows = []
    for cell in LUMBAR_CELLS:
        series = next(name for name, part in SERIES.items() if part[4] == cell.condition)
        x, y, index = point_of(cell)
        at = to_mm(SERIES[series][2], [[x + moved_px, y, index]])[0]
        rows.append(
            {
                "study": study,
                "series": series,
                "stack": 0,
                "index": index,
                **cell._asdict(),
                "x_px": x + moved_px,
                "y_px": y,
                "x_mm": at[0],
                "y_mm": at[1],
                "z_mm": at[2],
                "confidence": 0.9,
                "source": source,
            }
        )
    return pd.DataFrame(rows)


def _cells(studies: list[str]) -> pd.DataFrame:
    return pd.DataFrame([{"study": s, **cell._asdict()} for s in studies for cell in LUMBAR_CELLS])


def make_run(folder: Path, train: int = 6, test: int = 1, phantom: bool = True) -> Paths:
    """Write the run; predicted points lie 2, 4, 6 ... px from the annotated ones by study."""
    random = np.random.default_rng(7)
    ids = [str(4000 + number) for number in range(train + test)]
    split = ["train"] * train + ["test"] * test
    write_table(
        folder / "cohort/studies.parquet",
        pd.DataFrame(
            {
                "study": ids,
                "split": split,
                "region": "lumbar",
                "shard": 0,
                "series_count": 3,
                "problem": None,
            }
        ),
        STUDIES,
    )
    labels = _cells(ids[:train])
    labels["grade"] = pd.array(np.arange(len(labels)) % 3, dtype="Int64")
    labels.loc[3, "grade"] = pd.NA
    write_table(folder / "cohort/labels.parquet", labels, LABELS)
    rejected = pd.DataFrame(
        [
            {
                "study": "4999",
                "series": None,
                "file": HOSTILE,
                "code": "not_dicom",
                "found": "a page of text",
                "action": "remove the file",
            }
        ]
    )
    write_table(folder / "cohort/rejected.parquet", rejected, REJECTED)
    write_table(folder / "convert/0/rejected.parquet", empty_table(REJECTED), REJECTED)
    _write_volumes(folder, ids, split, random)
    landmarks = pd.concat([points_table(s, 0.0, "annotated") for s in ids[:train]])
    write_table(folder / "convert/0/landmarks.parquet", landmarks, LOCATED_LANDMARKS)
    predicted = pd.concat([points_table(s, 2.0 * n, "made up") for n, s in enumerate(ids)])
    for detector, condition in (("t1", FORAMINAL), ("t2", SPINAL), ("axial", SUBARTICULAR)):
        part = predicted[predicted["condition"] == condition]
        write_table(folder / f"keypoints/{detector}/0.parquet", part, KEYPOINTS)
        _write_history(folder / f"keypoints/{detector}/fold_0/history.csv")
    _write_history(folder / "classifiers/small/fold_0/history.csv")
    _write_crops(folder, ids[:train], random)
    _write_probabilities(folder, ids, labels)
    _write_score(folder, phantom, scored=train > 0)
    benchmarks = folder / "benchmarks"
    benchmarks.mkdir()
    head = "s\th:m:s\tmax_rss\tmax_vms\n"
    (benchmarks / "crop_rois_cells_0.tsv").write_text(head + "2.5\t0:00:02\t120.0\t300.0\n")
    (benchmarks / "crop_rois_cells_1.tsv").write_text(head + "1.5\t0:00:01\tNA\tNA\n")
    if phantom:
        _write_truth(folder, ids, landmarks, predicted)
    return paths_of(folder, phantom)


def _write_volumes(
    folder: Path, ids: list[str], split: list[str], random: np.random.Generator
) -> None:
    stacks = []
    for study, part in zip(ids, split, strict=True):
        for series, (plane, weighting, affine, shape, condition) in SERIES.items():
            volume = random.integers(80, 120, shape).astype(np.uint16)
            for cell in LUMBAR_CELLS:
                if cell.condition == condition:
                    x, y, index = point_of(cell)
                    volume[index, y - 1 : y + 2, x - 1 : x + 2] = 1000
            name = f"volumes/{study}/{series}_0.nii"
            write_nifti(folder / "convert" / name, volume)
            stacks.append(
                {
                    "study": study,
                    "series": series,
                    "stack": 0,
                    "split": part,
                    "plane": plane,
                    "weighting": weighting,
                    "slices": shape[0],
                    "rows": shape[1],
                    "cols": shape[2],
                    "row_spacing_mm": np.linalg.norm(affine[:3, 1]),
                    "col_spacing_mm": np.linalg.norm(affine[:3, 0]),
                    "slice_spacing_mm": 5.0,
                    "shear_degrees": 0.0,
                    **affine_to_columns(affine),
                    "intensity_low": 0.0,
                    "intensity_high": 1000.0,
                    "volume": name,
                }
            )
    write_table(folder / "convert/0/stacks.parquet", pd.DataFrame(stacks), STACKS)


def _write_history(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ["0,0.1,1.0,,1.1", "1,0.1,0.8,,", "2,0.1,0.6,,0.9"]
    head = "epoch,learning_rate,loss,choice_loss,held_out_loss"
    path.write_text("\n".join([head, *rows]) + "\n")


def _write_crops(folder: Path, ids: list[str], random: np.random.Generator) -> None:
    parts = []
    for number, study in enumerate(ids):
        part = points_table(study, 0.0, "made up").assign(fold=number % 2)
        part["grade"] = pd.array(np.arange(len(part)) % 3, dtype="Int64")
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(roi_set="cells", row=np.arange(len(table)))
    table = table.assign(jitter_in_plane_mm=1.0, jitter_slices=0.5, **affine_to_columns(AXIAL))
    write_table(folder / "rois/cells/0/rois.parquet", table, ROIS)
    crops = random.integers(0, 255, (len(table), 3, 24, 24)).astype(np.uint8)
    np.save(folder / "rois/cells/0/rois.npy", crops)


def _write_probabilities(folder: Path, ids: list[str], labels: pd.DataFrame) -> None:
    cells = _cells(ids)
    fold = pd.Series(pd.array([n % 2 for n in range(len(ids))], dtype="Int64"), index=ids)
    fold[~fold.index.isin(labels["study"])] = pd.NA
    cells["fold"] = cells["study"].map(fold).astype("Int64")
    grade = np.arange(len(cells)) % 3
    sure = np.full((len(cells), 3), 0.2)
    sure[np.arange(len(cells)), grade] = 0.6
    for name, values in (("ensemble", sure), ("prior", np.full((len(cells), 3), 1 / 3))):
        table = cells.assign(classifier=name)
        table[list(PROBABILITY_COLUMNS)] = values
        if name == "prior":
            write_table(folder / "ensemble/prior.parquet", table, PREDICTIONS)
            continue
        table = table.assign(source="image", members="small", prior_weight=0.25)
        write_table(folder / "ensemble/probabilities.parquet", table, PROBABILITIES)


def _write_score(folder: Path, phantom: bool, scored: bool) -> None:
    parts = {"total": 0.3, "spinal": 0.3, "foraminal": 0.3, "subarticular": 0.3, "any_severe": 0.3}
    score = {
        "scored": scored,
        "reason": "no labelled cell",
        "bootstrap_resamples": 100,
        "classifiers": {"small": parts},
        "floor": {"realised": parts, "expected": parts} if phantom else None,
    }
    write_json(folder / "ensemble/score.json", score)
    filled = (
        "study,condition,level,side,source,members,lacking,prior_weight\n"
        f"4001,{SPINAL},l1_l2,central,prior,,small,1.0\n"
    )
    (folder / "ensemble/filled.csv").write_text(filled)


def _write_truth(
    folder: Path, ids: list[str], landmarks: pd.DataFrame, predicted: pd.DataFrame
) -> None:
    truth = _cells(ids)
    places = points_table(ids[0], 0.0, "truth")[["x_mm", "y_mm", "z_mm"]]
    truth[["x_mm", "y_mm", "z_mm"]] = np.tile(places.to_numpy(), (len(ids), 1))
    truth[list(PROBABILITY_COLUMNS)] = [0.7, 0.2, 0.1]
    truth["grade"] = pd.array(np.arange(len(truth)) % 3, dtype="Int64")
    truth = truth.assign(narrowing=0.5, mislabelled=False, anatomy="typical")
    truth.loc[truth["study"] == ids[0], "anatomy"] = "six_lumbar"
    write_table(folder / "phantom/truth.parquet", truth, TRUTH)


def paths_of(folder: Path, phantom: bool) -> Paths:
    """The paths of a run that ``make_run`` wrote."""
    histories = [*sorted(folder.glob("keypoints/*/fold_*/history.csv"))]
    histories += sorted(folder.glob("classifiers/*/fold_*/history.csv"))
    return Paths(
        studies=str(folder / "cohort/studies.parquet"),
        labels=str(folder / "cohort/labels.parquet"),
        rejected=[str(folder / f"{p}/rejected.parquet") for p in ("cohort", "convert/0")],
        stacks=[str(folder / "convert/0/stacks.parquet")],
        landmarks=[str(folder / "convert/0/landmarks.parquet")],
        keypoints=[str(p) for p in sorted(folder.glob("keypoints/*/0.parquet"))],
        crop_tables=[str(folder / "rois/cells/0/rois.parquet")],
        crop_arrays=[str(folder / "rois/cells/0/rois.npy")],
        histories=[str(p) for p in histories],
        probabilities=str(folder / "ensemble/probabilities.parquet"),
        prior=str(folder / "ensemble/prior.parquet"),
        score=str(folder / "ensemble/score.json"),
        filled=str(folder / "ensemble/filled.csv"),
        benchmarks=str(folder / "benchmarks"),
        truth=str(folder / "phantom/truth.parquet") if phantom else None,
    )


def options() -> Options:
    """Small choices, for speed."""
    return Options(
        examples=3,
        crops_per_grade=4,
        findings=5,
        seed=1,
        fingerprints={"crop_rois": "0123456789abcdef", "write_report": "fedcba9876543210"},
        config={"report": {"examples": 3}},
    )
