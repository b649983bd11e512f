"""Seconds of one core that a phantom study takes at the real medians, by part.

Sagittal T1 and T2 of 17 slices with 512 x 512 px, one axial T2 series of 29 slices with
384 x 384 px: run ``python benchmarks/phantom_speed.py [studies]`` on an idle machine. The
bound is 3 s of one core a study.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import cv2
import numpy as np
import torch
from spinegrade.phantom.artefacts import draw_artefacts
from spinegrade.phantom.body import paint_body
from spinegrade.phantom.dicom_writer import Identity, write_series
from spinegrade.phantom.scanner import Scanner
from spinegrade.phantom.sequences import (
    AXIAL_T2,
    SAGITTAL_T1,
    SAGITTAL_T2,
    axial_series,
    sagittal_series,
)
from spinegrade.phantom.statistics import load_statistics
from spinegrade.phantom.study import PhantomSettings, draw_patient
from spinegrade.runtime.seeds import generator

BOUND_S = 3.0


def main(studies: int) -> int:
    """Time ``studies`` studies and print the median of each part; 1 when over the bound."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    statistics = load_statistics()
    median = replace(
        statistics.series,
        rows={SAGITTAL_T1: {512: 1.0}, SAGITTAL_T2: {512: 1.0}, AXIAL_T2: {384: 1.0}},
        slices={SAGITTAL_T1: (17.0, 17.0), SAGITTAL_T2: (17.0, 17.0), AXIAL_T2: (29.0, 29.0)},
        cols_differ=dict.fromkeys((SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2), 0.0),
        axial_counts={1: 1.0},
    )
    parts: dict[str, list[float]] = defaultdict(list)
    files = 0
    for number in range(studies + 1):
        clock = [time.process_time()]
        rng = generator(1, "benchmark", number)
        patient = draw_patient(PhantomSettings(), "train", number, statistics)
        rest = (patient.anatomy, patient.placement, median, 1.0, False, ())
        series = sagittal_series(rng, *rest) + axial_series(rng, *rest)
        clock.append(time.process_time())
        maps = paint_body(patient.anatomy)
        clock.append(time.process_time())
        scanner = Scanner(maps, patient.placement, patient.tissue_state)
        stacks = [scanner.acquire(one, draw_artefacts(rng, False), rng) for one in series]
        clock.append(time.process_time())
        with tempfile.TemporaryDirectory() as folder:
            for order, (one, slices) in enumerate(zip(series, stacks, strict=True)):
                identity = Identity(str(number), str(order), "1.2.3", "20240503", "120000.000000")
                write_series(Path(folder) / str(order), identity, one, slices)
        clock.append(time.process_time())
        if number == 0:  # the first pays for textures and warm-up
            continue
        files += sum(one.count for one in series)
        for name, spent in zip(("draw", "paint", "scan", "write"), np.diff(clock), strict=True):
            parts[name].append(float(spent))
        parts["study"].append(clock[-1] - clock[0])
    for name, spent in parts.items():
        print(f"{name:6s} {1000 * float(np.median(spent)):7.0f} ms of one core")
    print(f"{studies} studies, {files / studies:.0f} files each")
    return int(np.median(parts["study"]) > BOUND_S)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8))
