"""Seconds to read a batch of one-stage volumes from a mapped file of canvases.

    python benchmarks/one_stage_reading.py results/<cohort>/grade/canvases/<canvas>/0.npy

Runs of ``--slices`` slices from random places are joined into batches, as training joins volumes,
``--batches`` times; the median and the 90th percentile are told, and what a second reads.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Print how long a batch takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("canvases", type=Path)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--slices", type=int, default=18)
    parser.add_argument("--batches", type=int, default=200)
    options = parser.parse_args()
    canvases = np.load(options.canvases, mmap_mode="r", allow_pickle=False)
    starts = np.random.default_rng(0).integers(
        0, len(canvases) - options.slices, (options.batches, options.batch_size)
    )
    seconds = []
    for chosen in starts:
        began = time.perf_counter()
        batch = np.concatenate([canvases[start : start + options.slices] for start in chosen])
        seconds.append(time.perf_counter() - began)
    median, tenth = np.quantile(seconds, [0.5, 0.9])
    print(
        f"{options.batch_size} volumes of {options.slices} slices of {canvases.shape[1]} px, "
        f"{batch.nbytes / 1e6:.1f} MB: {1000 * median:.2f} ms, nine of ten below "
        f"{1000 * tenth:.2f} ms; {batch.nbytes / median / 1e9:.1f} GB a second"
    )


if __name__ == "__main__":
    main()
