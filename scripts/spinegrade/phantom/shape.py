"""Where the canal and the foramina of one spine lie, drawn from the fitted shape model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spinegrade.phantom.statistics import Floats, LumbarStatistics

LARGEST_MODE = 2.5
"""Modes beyond this many standard deviations are drawn again: annotation slips, not anatomy."""


class SpineShape(NamedTuple):
    """Points of one spine in mm, L1/L2 first, each (5, 2).

    Sagittal frame: first coordinate to the back (LPS y), second to the head (LPS z); the
    origin is the canal point of L3/L4. How far the foramina lie from the midline is not
    part of it.
    """

    canal_mm: Floats
    foraminal_left_mm: Floats
    foraminal_right_mm: Floats


def _bounded_normal(rng: np.random.Generator, size: int, limit: float) -> Floats:
    values = rng.standard_normal(size)
    while (outside := np.abs(values) > limit).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return values


def level_spacing(foraminal: Floats) -> float:
    """Mean distance of neighbouring levels over both sides, points (10, 2), left five first."""
    sides = np.asarray(foraminal, float).reshape(2, 5, 2)
    return float(np.linalg.norm(np.diff(sides, axis=1), axis=-1).mean())


def draw_shape(rng: np.random.Generator, statistics: LumbarStatistics) -> SpineShape:
    """One spine: mean plus principal modes, turned, in mm by the prior on level spacing."""
    model = statistics.shape
    weights = _bounded_normal(rng, len(model.modes_px), LARGEST_MODE)
    points = model.mean_px + np.tensordot(weights, model.modes_px, axes=1)
    turn = np.radians(model.turn_deg * _bounded_normal(rng, 1, LARGEST_MODE)[0])
    low, high = model.spacing_range_mm
    spacing = model.spacing_mm + model.spacing_sd_mm * _bounded_normal(rng, 1, 3.0)[0]
    scale = float(np.clip(spacing, low, high)) / level_spacing(points[5:])
    cosine, sine = np.cos(turn), np.sin(turn)
    points = scale * points @ np.array([[cosine, -sine], [sine, cosine]]).T
    points = (points - points[2]) * [1.0, -1.0]  # image rows grow to the feet
    return SpineShape(points[:5], points[5:10], points[10:])
