"""Steps of an image network in bfloat16 on the CPU, with and without fast depthwise gradients.

    python benchmarks/depthwise_step.py tf_efficientnet_lite0 --image-px 256 --slices 15

Both take turns on the same weights and images; the median of the rounds' ratios is told.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "scripts"))

from spinegrade.models.timm_backbone import build  # noqa: E402
from spinegrade.runtime.depthwise import FastDepthwise  # noqa: E402


def step(network: torch.nn.Module, images: torch.Tensor, way: AbstractContextManager) -> float:
    """Seconds of one forward and backward pass."""
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16), way:
        features = network(images)
    features.float().square().mean().backward()
    network.zero_grad()
    return time.perf_counter() - began


def main() -> None:
    """Print seconds a step and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone")
    parser.add_argument("--image-px", type=int, default=256)
    parser.add_argument("--slices", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = build(options.backbone).train()
    side = options.image_px
    images = torch.randn(options.slices, 3, side, side).to(memory_format=torch.channels_last)
    ways = {"torch": nullcontext, "fast": FastDepthwise}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):
        for name, way in ways.items():
            seconds = step(network, images, way())
            if turn:  # in the first kernels are chosen
                taken[name].append(seconds)
    ratios = sorted(a / b for a, b in zip(taken["torch"], taken["fast"], strict=True))
    for name, seconds in taken.items():
        print(f"{name:6s} {statistics.median(seconds):.3f} s a step")
    print(f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
