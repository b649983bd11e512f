"""A phantom cohort in the layout of the RSNA 2024 lumbar competition."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spinegrade.kaggle_rsna2024 import KAGGLE_GRADES
from spinegrade.phantom.floor import expected_floor, realised_floor
from spinegrade.phantom.rater import MISSING, with_mislabels
from spinegrade.phantom.study import SPLITS, PhantomSettings, make_study, study_id
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS
from spinegrade.regions.region import row_id
from spinegrade.runtime.files import atomic_path, read_json, write_json
from spinegrade.runtime.fingerprint import code_fingerprint
from spinegrade.runtime.progress import Progress
from spinegrade.tables.files import write_table
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.truth import TRUTH

MARKERS = "study_markers"
_STATISTICS = "resources/anatomy/lumbar_statistics.json"
_LABELS = {grade: label for label, grade in KAGGLE_GRADES.items()}


def write_cohort(settings: PhantomSettings, folder: str | Path, processes: int = 1) -> None:
    """Write the Kaggle tree, truth.parquet, floor.json and phantom.json under ``folder``.

    Studies are made in ``processes`` processes. A study whose marker carries the digest of
    these settings and of the code is kept as it is; studies of an earlier run that no longer
    belong are removed. Every study's bytes depend on seed, split and number alone.
    """
    folder = Path(folder)
    # The code that a study comes from alone: scoring may change and leave studies standing.
    code = code_fingerprint("spinegrade/phantom/study", resources=(_STATISTICS,))
    digest = settings.digest() + code
    wanted = [("train", number) for number in range(settings.studies)]
    wanted += [("test", number) for number in range(settings.test_studies)]
    _remove_strangers(settings, folder, wanted)
    waiting = [job for job in wanted if _read_marker(settings, folder, *job, digest) is None]
    counter = Progress("Making phantom studies", len(wanted))
    if len(waiting) < len(wanted):
        counter.step(len(wanted) - len(waiting), "already made")
    if processes <= 1 or len(waiting) <= 1:
        for split, number in waiting:
            _make(settings, str(folder), split, number, digest)
            counter.step()
    else:
        _make_in_processes(settings, folder, waiting, digest, processes, counter)
    records = {
        split: [
            _read_marker(settings, folder, split, number, digest)
            for which, number in wanted
            if which == split
        ]
        for split in SPLITS
    }
    _write_tables(settings, folder, records, digest)


def _make_in_processes(
    settings: PhantomSettings,
    folder: Path,
    waiting: list[tuple[str, int]],
    digest: str,
    processes: int,
    counter: Progress,
) -> None:
    context = get_context("spawn")
    workers = min(processes, len(waiting))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            jobs = [
                pool.submit(_make, settings, str(folder), split, number, digest)
                for split, number in waiting
            ]
            try:
                for job in as_completed(jobs):
                    job.result()
                    counter.step()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS")
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _make(settings: PhantomSettings, folder: str, split: str, number: int, digest: str) -> None:
    """Make one study and its marker; runs in a worker process on one thread."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    record = make_study(settings, split, number, Path(folder) / f"{split}_images")
    marker = _marker_path(settings, Path(folder), split, number)
    write_json(marker, {"digest": digest, "split": split, "number": number, **record})


def _marker_path(settings: PhantomSettings, folder: Path, split: str, number: int) -> Path:
    return folder / MARKERS / f"{study_id(settings, split, number)}.json"


def _read_marker(
    settings: PhantomSettings, folder: Path, split: str, number: int, digest: str
) -> dict[str, Any] | None:
    path = _marker_path(settings, folder, split, number)
    if not path.is_file():
        return None
    record = read_json(path)
    images = folder / f"{split}_images" / path.stem
    if record.get("digest") != digest or not images.is_dir():
        return None
    return record


def _remove_strangers(
    settings: PhantomSettings, folder: Path, wanted: list[tuple[str, int]]
) -> None:
    """Remove studies that an earlier run made and this one does not ask for."""
    belong = {study_id(settings, split, number) for split, number in wanted}
    for marker in sorted((folder / MARKERS).glob("*.json")):
        if marker.stem not in belong:
            for split in SPLITS:
                images = folder / f"{split}_images" / marker.stem
                if images.is_dir():
                    shutil.rmtree(images)
            marker.unlink()


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def _write_tables(
    settings: PhantomSettings,
    folder: Path,
    records: dict[str, list[dict[str, Any]]],
    digest: str,
) -> None:
    for part in records.values():
        part.sort(key=lambda record: int(record["study"]))
    columns = [cell.column for cell in LUMBAR_CELLS]
    labels = []
    for record in records["train"]:
        grades = [_LABELS.get(row["grade"]) for row in record["truth"]]
        labels.append({"study_id": record["study"], **dict(zip(columns, grades, strict=True))})
    _write_csv(folder / "train.csv", pd.DataFrame(labels, columns=["study_id", *columns]))
    for split, part in records.items():
        described = [
            {"study_id": record["study"], "series_id": series, "series_description": text}
            for record in part
            for series, text in record["series"]
        ]
        fields = ["study_id", "series_id", "series_description"]
        table = pd.DataFrame(described, columns=fields)
        _write_csv(folder / f"{split}_series_descriptions.csv", table)
        (folder / f"{split}_images").mkdir(parents=True, exist_ok=True)
    marks = [row for record in records["train"] for row in record["landmarks"]]
    fields = ["study_id", "series_id", "instance_number", "condition", "level", "x", "y"]
    _write_csv(folder / "train_label_coordinates.csv", pd.DataFrame(marks, columns=fields))
    sample = [
        {
            "row_id": row_id(record["study"], cell),
            **dict.fromkeys(("normal_mild", "moderate", "severe"), 1 / 3),
        }
        for record in records["test"]
        for cell in LUMBAR_CELLS
    ]
    fields = ["row_id", "normal_mild", "moderate", "severe"]
    _write_csv(folder / "sample_submission.csv", pd.DataFrame(sample, columns=fields))
    truth = pd.DataFrame(
        [row for part in records.values() for record in part for row in record["truth"]]
    )
    truth["grade"] = truth["grade"].astype("Int64")
    write_table(folder / "truth.parquet", truth, TRUTH)
    write_json(folder / "floor.json", _floor(settings, records["train"]))
    write_json(
        folder / "phantom.json",
        {
            "seed": settings.seed,
            "studies": settings.studies,
            "test_studies": settings.test_studies,
            "domain_randomisation": settings.domain_randomisation,
            "mislabelled_share": settings.mislabelled_share,
            "missing_series_share": settings.missing_series_share,
            "scale": settings.scale,
            "digest": digest,
        },
    )


def _floor(settings: PhantomSettings, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Best score to expect, and the one that the same predictions get on the labels drawn."""
    probabilities = np.array(
        [[[row[c] for c in PROBABILITY_COLUMNS] for row in r["truth"]] for r in records]
    )
    labels = np.array(
        [[MISSING if row["grade"] is None else row["grade"] for row in r["truth"]] for r in records]
    )
    probabilities = with_mislabels(probabilities, settings.mislabelled_share)
    parts = ("total", "spinal", "foraminal", "subarticular", "any_severe")
    found = {
        "expected": expected_floor(probabilities),
        "realised": realised_floor(labels, probabilities),
    }
    return {
        "studies": len(records),
        **{
            name: {part: float(getattr(score, part)) for part in parts}
            for name, score in found.items()
        },
    }
