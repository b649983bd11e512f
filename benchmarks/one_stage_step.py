"""Volumes a second of a one-stage training step, this project's against the published one's.

    python benchmarks/one_stage_step.py foraminal --backbone tf_efficientnet_lite0 --image-px 160

The step of ``one_stage_plain.py`` (one volume at a time through the decoder, samples augmented by
OpenCV in the loader's workers) and the package's take turns, ``--rounds`` times ``--steps``
steps each, with the same weights, data, precision and threads; the median of the rounds'
ratios is told, which neighbours on the machine disturb little. With ``--memory`` each first
runs two steps in a process of its own and its peak is told.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "scripts"), str(PROJECT / "benchmarks")]

from one_stage_plain import (  # noqa: E402
    CANVAS_PX,
    PlainCanal,
    PlainForaminal,
    PlainSamples,
    collate,
    one_thread,
)
from spinegrade.grade.volumes.augment import augment  # noqa: E402
from spinegrade.grade.volumes.augmentation import augmentation_of  # noqa: E402
from spinegrade.grade.volumes.flip import exchange_sides  # noqa: E402
from spinegrade.losses.registry import build as build_loss  # noqa: E402
from spinegrade.models.registry import build  # noqa: E402
from spinegrade.runtime.torch_setup import import_timm, prepare  # noqa: E402
from spinegrade.training.average import MovingAverage  # noqa: E402
from spinegrade.training.precision import autocast  # noqa: E402

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SIDES = ("plain", "package")


class Data:
    """Made-up volumes on the canvas, smooth as images are, with points where a spine has them."""

    def __init__(self, target: str, depths: list[int], count: int) -> None:
        random = np.random.default_rng(0)
        rows, cols = np.meshgrid(*[np.arange(CANVAS_PX) / CANVAS_PX] * 2, indexing="ij")
        self.volumes, points = [], []
        sides = ("left", "right") if target == "foraminal" else ("central",)
        for place in range(count):
            depth = depths[place % len(depths)]
            waves = random.uniform(5, 40, (depth, 2, 1, 1))
            volume = 127 + 60 * np.sin(waves[:, 0] * rows) + 60 * np.cos(waves[:, 1] * cols)
            self.volumes.append(volume.clip(0, 255).astype(np.uint8))
            for side in sides:
                share = {"right": 0.3, "central": 0.5, "left": 0.7}[side]
                for level in range(5):
                    x, y = random.normal((270 - 8 * level, 150 + 60 * level), 4)
                    points.append((x, y, round(share * (depth - 1))))
        self.points = np.array(points, np.float32).reshape(count, -1, 3)
        self.grades = random.integers(0, 3, self.points.shape[:2])


class Step:
    """One side: ``run(batch)`` trains on a batch, ``batches()`` yields them for ever."""

    def __init__(self, side: str, options: argparse.Namespace, data: Data) -> None:
        self.side, self.options, self.data = side, options, data
        self.device = torch.device(options.device)
        encoder = {"backbone": options.backbone}
        torch.manual_seed(0)
        self.network: nn.Module = build(f"one_stage_{options.target}", encoder=encoder)
        if side == "plain":
            weights = self.network.state_dict()
            kind = PlainForaminal if options.target == "foraminal" else PlainCanal
            self.network = kind(build("slice_pyramid", **encoder))
            self.network.load_state_dict(weights)
        self.network.to(self.device).train()
        self.loss = build_loss(f"one_stage_{options.target}")
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=5e-5)
        average = import_timm().utils.ModelEmaV2 if side == "plain" else MovingAverage
        self.average = average(self.network, 0.99)
        self.dtype = PRECISIONS[options.precision]
        self.scaler = torch.amp.GradScaler(options.device, enabled=self.dtype == torch.float16)
        self.settings = augmentation_of(options.target, options.image_px)
        self.mean_shape = data.points[..., :2].mean(axis=0)

    def batches(self) -> Iterator[tuple]:
        size, data = self.options.batch_size, self.data
        if self.side == "plain":
            count = size * 10_000
            samples = PlainSamples(
                data.volumes, data.points, data.grades, self.options.image_px, count
            )
            yield from DataLoader(
                samples,
                batch_size=size,
                num_workers=self.options.workers,
                collate_fn=collate,
                worker_init_fn=one_thread,
                multiprocessing_context="forkserver" if self.options.workers else None,
            )
        for first in itertools.count(step=size):
            chosen = [place % len(data.volumes) for place in range(first, first + size)]
            volumes = [data.volumes[place] for place in chosen]
            slices = torch.from_numpy(np.concatenate(volumes))
            lengths = [len(volume) for volume in volumes]
            points, grades = (torch.from_numpy(a[chosen]) for a in (data.points, data.grades))
            yield slices, lengths, points, grades

    def run(self, batch: tuple) -> None:
        slices, lengths, points, grades = batch
        slices = slices.to(self.device)
        if self.side == "plain":
            points, known = points.to(self.device), torch.ones_like(grades, dtype=torch.bool)
            known, grades = known.to(self.device), grades.to(self.device)
        else:
            slices, points, known, grades = self._augmented(slices, lengths, points, grades)
        mixed = autocast if self.side == "package" else plain_autocast
        with mixed(self.device, self.dtype):
            output = self.network(slices, lengths)
        output = [torch.cat(p, dim=1) if isinstance(p, list) else p for p in output]
        output = [part.float() for part in output]
        total = sum(self.loss(output, points, known, grades, lengths).values())
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update(self.network)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _augmented(
        self, slices: Tensor, lengths: list[int], points: Tensor, grades: Tensor
    ) -> tuple[Tensor, ...]:
        known = torch.ones(points.shape[:2], dtype=torch.bool)
        draws = torch.Generator().manual_seed(int(points.sum()))
        batch = augment(
            *(slices, lengths, points, known),
            settings=self.settings,
            mean_shape=self.mean_shape,
            generator=draws,
        )
        grades = exchange_sides(
            grades.to(self.device), batch.reversed, self.settings.mirror, self.settings.flip
        )
        return batch.slices, batch.points, batch.known, grades


def plain_autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """torch's own mixed precision, as in the published step."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def timed(step: Step, batches: Iterator[tuple], steps: int) -> tuple[float, float, float]:
    """Seconds of ``steps`` steps, those waiting for data, and core seconds of this process."""
    waited, began, computed = 0.0, time.perf_counter(), time.process_time()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        step.run(batch)
    return time.perf_counter() - began, waited, time.process_time() - computed


def compare(options: argparse.Namespace, data: Data) -> None:
    """Print volumes a second, share of waiting and the ratio."""
    sides = {side: Step(side, options, data) for side in SIDES}
    batches = {side: step.batches() for side, step in sides.items()}
    for side, step in sides.items():  # kernels are chosen, memory is got
        timed(step, batches[side], 2)
    taken: dict[str, list[tuple[float, float, float]]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side, step in sides.items():
            taken[side].append(timed(step, batches[side], options.steps))
    volumes = options.steps * options.batch_size
    for side in SIDES:
        seconds, waited, computed = map(statistics.median, zip(*taken[side], strict=True))
        print(
            f"{side:8s} {volumes / seconds:7.3f} volumes a second, {computed / volumes:.3f} core "
            f"seconds a volume without the workers, {100 * waited / seconds:.1f} % waiting for data"
        )
    for place, name in ((0, "volumes a second"), (2, "core seconds")):
        ratios = sorted(
            plain[place] / package[place]
            for plain, package in zip(taken["plain"], taken["package"], strict=True)
        )
        print(
            f"ratio of {name}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to "
            f"{ratios[-1]:.2f} in {options.rounds} rounds)"
        )
    alone = timed_part(lambda: sides["package"]._augmented(*_batch(sides["package"])))
    loader = PlainSamples(data.volumes, data.points, data.grades, options.image_px, 10**6)
    workers = timed_part(lambda: [loader[place] for place in range(options.batch_size)])
    print(f"augmenting a batch: {workers:.3f} s of a worker, {alone:.3f} s of the package's step")


def _batch(step: Step) -> tuple:
    slices, *others = next(step.batches())
    return slices.to(step.device), *others


def timed_part(part: Callable[[], object]) -> float:
    """Median seconds of five calls."""
    found = []
    for _ in range(5):
        began = time.perf_counter()
        part()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def tell_memory(options: argparse.Namespace, data: Data) -> None:
    """Print the peak of two steps of one side, with and without the process itself."""
    step = Step(options.memory_of, options, data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    options.workers = 0
    timed(step, step.batches(), 2)
    if step.device.type == "cuda":
        peak, told = torch.cuda.max_memory_allocated() / 2**30, "of the GPU"
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        told = f"of the process, {before:.2f} before its first step"
    print(f"{options.memory_of:8s} {peak:7.2f} GiB at most, {told}")


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=("foraminal", "canal"))
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--image-px", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--depths", type=int, nargs="+", default=[15, 17, 24, 18])
    parser.add_argument("--volumes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--memory-of", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepare(0, options.threads, options.device)
    data = Data(options.target, options.depths, options.volumes)
    if options.memory_of:
        return tell_memory(options, data)
    told = {k: v for k, v in vars(options).items() if k not in ("memory", "memory_of")}
    print(", ".join(f"{key} {value}" for key, value in told.items()), flush=True)
    # Before the rounds, whose memory this process would still hold.
    for side in SIDES if options.memory else ():
        subprocess.run([sys.executable, *sys.argv, "--memory-of", side], check=True)
    return compare(options, data)


if __name__ == "__main__":
    main()
