"""Blur and noise of one volume's slices, on the device where they lie.

Slices are float (D, rows, cols) in -1 .. 1. The kinds and their strengths are those of
albumentations (MotionBlur, MedianBlur, GaussianBlur and GaussNoise, as the published system
calls them), written for whole volumes. None moves the image, except motion blur under "shifted".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

KINDS = ("motion", "median", "gaussian", "noise")
MOTIONS = ("centred", "shifted")


def filtered(slices: Tensor, kernel: Tensor) -> Tensor:
    """``slices`` weighted by ``kernel`` (rows, cols), both odd, and mirrored about edge pixels.

    A sum of shifted slices: with the few taps that these kernels have, on a CPU ten times as
    fast as a convolution of one channel.
    """
    down, across = (length // 2 for length in kernel.shape)
    padded = functional.pad(slices[:, None], (across, across, down, down), mode="reflect")[:, 0]
    rows, cols = slices.shape[1:]
    out = torch.zeros_like(slices)
    for row, weights in enumerate(kernel.tolist()):
        for col, weight in enumerate(weights):
            if weight > 0:
                out.add_(padded[:, row : row + rows, col : col + cols], alpha=weight)
    return out


def gaussian_filtered(slices: Tensor, size: int) -> Tensor:
    """``slices`` under binomial weights of ``size`` px, OpenCV's Gaussian of 3 and of 5 px."""
    weights = [math.comb(size - 1, place) for place in range(size)]
    line = torch.tensor(weights, dtype=torch.float64) / 2 ** (size - 1)
    return filtered(filtered(slices, line[None]), line[:, None])


def motion_kernel(size: int, ends: Sequence[int], motion: str = "centred") -> Tensor:
    """A line of sum 1 in a kernel (size, size) from one pixel to another, ``ends`` x, y, x, y.

    One tap for each column or row that the line crosses, shared between the two nearest pixels.
    "centred" moves its middle onto the kernel's, so that the image stays where it is; "shifted"
    leaves it, which moves the image by up to half the kernel (albumentations' default).
    """
    x0, y0, x1, y1 = (float(end) for end in ends)
    if motion == "centred":
        middle = (size - 1) / 2
        left, up = (x0 + x1) / 2 - middle, (y0 + y1) / 2 - middle
        x0, x1, y0, y1 = x0 - left, x1 - left, y0 - up, y1 - up
    taps = int(max(abs(x1 - x0), abs(y1 - y0))) + 1
    share = torch.linspace(0, 1, taps, dtype=torch.float64)[:, None]
    place = torch.arange(size, dtype=torch.float64)
    across = (1 - (x0 + (x1 - x0) * share - place).abs()).clamp(min=0)
    down = (1 - (y0 + (y1 - y0) * share - place).abs()).clamp(min=0)
    kernel = down.T @ across
    return kernel / kernel.sum()


def median_filtered(slices: Tensor, size: int) -> Tensor:
    """Median of the ``size`` by ``size`` neighbourhood, in 256 grey levels, edges repeated.

    By forgetful selection: of n / 2 + 2 values the least and the greatest cannot be the median
    of n, so both are dropped and the next one is taken in. Grey levels of one byte make that four
    times as fast as floats, and are what the images came in.
    """
    reach = size // 2
    grey = ((slices + 1) * 127.5).round_().clamp_(0, 255)
    padded = functional.pad(grey[:, None], (reach,) * 4, mode="replicate")[:, 0].to(torch.uint8)
    rows, cols = slices.shape[1:]
    planes = [
        padded[:, row : row + rows, col : col + cols].contiguous()
        for row in range(size)
        for col in range(size)
    ]
    kept, waiting = planes[: len(planes) // 2 + 2], planes[len(planes) // 2 + 2 :]
    while len(kept) > 1:
        for place in range(1, len(kept)):
            kept[0], kept[place] = _ordered(kept[0], kept[place])
        for place in range(1, len(kept) - 1):
            kept[place], kept[-1] = _ordered(kept[place], kept[-1])
        kept = kept[1:-1]
        if waiting:
            kept.append(waiting.pop())
    return kept[0].to(slices.dtype).div_(127.5).sub_(1)


def _ordered(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(one, other), torch.maximum(one, other)


def add_noise(slices: Tensor, variance: float, seed: int) -> Tensor:
    """Add normal noise, its ``variance`` in grey levels of 0 .. 255, in place; the same for a seed.

    Drawn on the device of ``slices``: devices differ from each other in what they draw.
    """
    draws = torch.Generator(slices.device).manual_seed(seed)
    noise = torch.randn(slices.shape, generator=draws, device=slices.device, dtype=slices.dtype)
    return slices.add_(noise, alpha=variance**0.5 / 127.5)
