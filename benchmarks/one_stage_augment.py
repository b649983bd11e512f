"""Volumes a second of the one-stage augmentation, against the published way.

    python benchmarks/one_stage_augment.py [--image-px 320] [--device cuda]

The package augments packed batches on the device of training; the published way, written down
in ``one_stage_plain.py``, warps, resizes, blurs and normalises a volume at a time with OpenCV, as
one worker of a loader does. Both use one thread of the CPU, start from the same bytes and end
with float slices. They take turns, a batch each, so that neighbours on the machine disturb both;
told are the mean rates and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "scripts"), str(PROJECT / "benchmarks")]

from one_stage_plain import PlainSamples, collate  # noqa: E402
from spinegrade.grade.volumes.augment import augment, plain  # noqa: E402
from spinegrade.grade.volumes.augmentation import augmentation_of  # noqa: E402
from spinegrade.runtime.torch_setup import prepare  # noqa: E402

CANVAS_PX = 512
CASES = {
    "all of it": {},
    "movements alone": {"cutout": 0.0, "brightness_contrast": 0.0, "disturb": 0.0},
    "median blur": {"disturb": 1.0, "disturb_by": ["median"]},
    "noise": {"disturb": 1.0, "disturb_by": ["noise"]},
}


def made_up(depths: list[int]) -> tuple[list[np.ndarray], np.ndarray]:
    """Smooth volumes on the canvas, and ten points each where a spine has them."""
    random = np.random.default_rng(0)
    rows, cols = np.meshgrid(*[np.arange(CANVAS_PX) / CANVAS_PX] * 2, indexing="ij")
    volumes, points = [], []
    for depth in depths:
        waves = random.uniform(5, 40, (depth, 2, 1, 1))
        volume = 127 + 60 * np.sin(waves[:, 0] * rows) + 60 * np.cos(waves[:, 1] * cols)
        volumes.append(volume.clip(0, 255).astype(np.uint8))
        for share in (0.7, 0.3):
            for level in range(5):
                x, y = random.normal((270 - 8 * level, 150 + 60 * level), 4)
                points.append((x, y, round(share * (depth - 1))))
    return volumes, np.array(points, np.float32).reshape(len(depths), -1, 3)


def main() -> None:
    """Print one line for the comparison, and one for each part of the package's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-px", type=int, default=320)
    parser.add_argument("--depths", type=int, nargs="+", default=[15, 17, 20, 24])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = prepare(1, 1, options.device)
    cv2.setNumThreads(1)
    volumes, points = made_up(options.depths)
    count = len(volumes)
    grades = np.zeros(points.shape[:2], np.int64)
    published = PlainSamples(volumes, points, grades, options.image_px, 10**9)
    known = torch.ones(points.shape[:2], dtype=torch.bool)
    mean_shape = points[..., :2].mean(axis=0)
    draws = torch.Generator().manual_seed(0)

    def package(case: str) -> None:
        settings = augmentation_of("foraminal", options.image_px, given=CASES[case])
        slices = torch.from_numpy(np.concatenate(volumes)).to(device)
        tensors = (slices, options.depths, torch.from_numpy(points), known)
        augment(*tensors, settings=settings, mean_shape=mean_shape, generator=draws)

    def validation() -> None:
        slices = torch.from_numpy(np.concatenate(volumes)).to(device)
        plain(slices, torch.from_numpy(points), options.image_px)

    def seconds(work) -> float:
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    works = {"published": lambda: None, "without augmentation": validation}
    works |= {case: lambda case=case: package(case) for case in CASES}
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(-3, options.rounds):
        first = (turn + 3) * count
        works["published"] = lambda first=first: collate(
            [published[place] for place in range(first, first + count)]
        )
        for name, work in works.items():
            spent = seconds(work)
            if turn >= 0:
                taken[name].append(spent)
    print(
        f"{count} volumes of {options.depths} slices, {CANVAS_PX} to {options.image_px} px, "
        f"{options.rounds} rounds; one thread of the CPU, the package on {device}"
    )
    for name, times in taken.items():
        ratio = statistics.median(
            one / other for one, other in zip(taken["published"], times, strict=True)
        )
        # The mean, since draws differ in what they cost.
        rate = count / statistics.fmean(times)
        print(f"{name:22s} {rate:7.1f} volumes/s, {ratio:5.2f} times the published rate")


if __name__ == "__main__":
    main()
