"""What a scanner does to ideal slices: coil, blur, ghosts, noise, twelve bits."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Slices = NDArray[np.float32]


@dataclass(frozen=True)
class Artefacts:
    """One series' imperfections. Noise and ghosts are shares of the bright tissue's signal."""

    noise: float
    blur_px: float
    noise_blur_px: float
    coil_depth_mm: float
    coil_floor: float
    bias: NDArray[np.float64]
    ghost: float
    wrap: float
    bright: float
    sharpen: float
    gamma: float


def draw_artefacts(rng: np.random.Generator, wide: bool) -> Artefacts:
    """Imperfections of one series; ``wide`` draws them far beyond the usual."""
    much = 2.0 if wide else 1.0
    return Artefacts(
        noise=float(0.022 * np.exp(much * rng.normal(0, 0.4))),
        blur_px=float(rng.uniform(0.45, 0.75) if not wide else rng.uniform(0.3, 1.8)),
        noise_blur_px=float(rng.uniform(0.0, 0.6)),
        coil_depth_mm=float(rng.uniform(50, 130) if not wide else rng.uniform(40, 400)),
        coil_floor=float(rng.uniform(0.01, 0.10)),
        bias=rng.normal(0, 0.08 * much, (4, 4)),
        ghost=float(rng.uniform(0.01, 0.05) if rng.uniform() < 0.3 else 0.0),
        wrap=float(rng.uniform(0.1, 0.35) if rng.uniform() < 0.1 else 0.0),
        bright=float(rng.uniform(500, 1500)),
        sharpen=float(rng.uniform(0.0, 0.5)),
        gamma=float(np.exp(rng.normal(0, 0.3))) if wide else 1.0,
    )


def degrade(
    slices: Slices,
    coil: Slices,
    artefacts: Artefacts,
    gain: float,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """Stored slices (count, rows, cols) of ideal ones: coil (rows, cols), blur, ghosts, noise.

    ``gain`` brings bright tissue to ``artefacts.bright``. Noise is Rician.
    """
    count, rows = slices.shape[:2]
    noise = rng.standard_normal(slices.shape, dtype=np.float32)
    sigma = artefacts.noise * artefacts.bright
    if artefacts.noise_blur_px > 0.25:
        # Blurred noise keeps its standard deviation: interpolation on the scanner's side.
        sigma *= 2 * np.sqrt(np.pi) * max(artefacts.noise_blur_px, 0.3)
    coil = coil * np.float32(gain)
    bright = np.float32(artefacts.bright)
    result = np.empty(slices.shape, np.uint16)
    for index in range(count):
        image = slices[index] * coil
        if artefacts.gamma != 1.0:
            image = bright * np.power(image / bright, np.float32(artefacts.gamma))
        image = cv2.GaussianBlur(image, (0, 0), artefacts.blur_px)
        if artefacts.sharpen > 0.05:
            soft = cv2.GaussianBlur(image, (0, 0), 1.4)
            image = cv2.addWeighted(image, 1 + artefacts.sharpen, soft, -artefacts.sharpen, 0)
        if artefacts.ghost > 0:
            image = image + artefacts.ghost * np.roll(image, rows // 2, axis=0)
        real, imaginary = noise[index], noise[index, ::-1, ::-1]
        if artefacts.noise_blur_px > 0.25:
            real = cv2.GaussianBlur(real, (0, 0), artefacts.noise_blur_px)
            imaginary = real[::-1, ::-1]
        image = cv2.magnitude(image + sigma * real, np.ascontiguousarray(sigma * imaginary))
        np.minimum(image, 4095, out=image)
        result[index] = image + 0.5
    return result
