"""The spinal canal as a curve, and spine coordinates around it.

Body frame: x to the patient's left, y to the back, z to the head, mm, origin at the canal's
centre at L3/L4. A *station* is the mid-plane of a disc; between two stations a point has a
fraction (0 at the upper, 1 at the lower), ``behind`` (mm posterior to the canal's centre,
measured across the curve) and ``distance`` to each station's plane (mm, caudal positive).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

STATIONS = (
    "t8_t9",
    "t9_t10",
    "t10_t11",
    "t11_t12",
    "t12_l1",
    "l1_l2",
    "l2_l3",
    "l3_l4",
    "l4_l5",
    "l5_s1",
    "s1_s2",
    "s2_s3",
    "s3_s4",
    "s4_s5",
)
FIRST_LUMBAR = STATIONS.index("l1_l2")
LAST_LUMBAR = STATIONS.index("l5_s1")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SpineField:
    """Spine coordinates of points: arrays of one shape, ``distance`` with stations in front."""

    segment: NDArray[np.int64]
    fraction: Floats
    behind: Floats
    lateral: Floats
    distance: Floats

    def along(self, values: ArrayLike) -> Floats:
        """Interpolate one value a station, (14,), linearly between the stations."""
        table = np.asarray(values, np.float32)
        upper = table[self.segment]
        return upper + self.fraction * (table[self.segment + 1] - upper)

    def part(self, window: tuple[slice, slice]) -> SpineField:
        """The field inside a window of its two array axes."""
        return SpineField(
            self.segment[window],
            self.fraction[window],
            self.behind[window],
            self.lateral[window],
            self.distance[(slice(None), *window)],
        )


@dataclass(frozen=True)
class Curve:
    """Centres (14, 2) as (y, z), caudal unit tangents (14, 2) and lateral offsets (14,), mm."""

    centres: NDArray[np.float64]
    caudal: NDArray[np.float64]
    lateral: NDArray[np.float64]

    @property
    def posterior(self) -> NDArray[np.float64]:
        """Unit vectors (14, 2) across the curve towards the back."""
        return np.stack([-self.caudal[:, 1], self.caudal[:, 0]], axis=1)

    def field(self, y: ArrayLike, z: ArrayLike) -> SpineField:
        """Spine coordinates of points (y, z) in mm; any shapes that broadcast."""
        y, z = np.broadcast_arrays(np.asarray(y, np.float32), np.asarray(z, np.float32))
        centres = self.centres.astype(np.float32)
        caudal = self.caudal.astype(np.float32)
        posterior = self.posterior.astype(np.float32)
        count = len(centres)
        distance = np.empty((count, *y.shape), np.float32)
        for station in range(count):
            distance[station] = (y - centres[station, 0]) * caudal[station, 0] + (
                z - centres[station, 1]
            ) * caudal[station, 1]
        passed = (distance >= 0).sum(axis=0)
        segment = np.clip(passed - 1, 0, count - 2)
        upper = np.take_along_axis(distance, segment[None], 0)[0]
        lower = np.take_along_axis(distance, segment[None] + 1, 0)[0]
        span = np.maximum(upper - lower, 1e-3)
        fraction = np.clip(upper / span, 0.0, 1.0).astype(np.float32)
        length = np.linalg.norm(np.diff(centres, axis=0), axis=1)[segment]
        # Cubic Hermite between the stations keeps the canal smooth across them.
        t, t2, t3 = fraction, fraction**2, fraction**3
        weights = (2 * t3 - 3 * t2 + 1, (t3 - 2 * t2 + t) * length, 3 * t2 - 2 * t3)
        tail = (t3 - t2) * length
        behind = np.zeros(y.shape, np.float32)
        norm = np.zeros(y.shape, np.float32)
        for axis, value in ((0, y), (1, z)):
            middle = (
                weights[0] * centres[segment, axis]
                + weights[1] * caudal[segment, axis]
                + weights[2] * centres[segment + 1, axis]
                + tail * caudal[segment + 1, axis]
            )
            direction = (1 - t) * posterior[segment, axis] + t * posterior[segment + 1, axis]
            behind += (value - middle) * direction
            norm += direction**2
        behind /= np.sqrt(norm)
        lateral = self.lateral.astype(np.float32)
        offset = lateral[segment] + t * (lateral[segment + 1] - lateral[segment])
        return SpineField(segment, fraction, behind, offset, distance)

    def point(self, station: int, below: float, behind: float) -> tuple[float, float]:
        """(y, z) of a place given in the straight frame of one station."""
        place = (
            self.centres[station] + below * self.caudal[station] + behind * self.posterior[station]
        )
        return float(place[0]), float(place[1])


def curve_through(
    canal: NDArray[np.float64],
    lateral_lumbar: NDArray[np.float64],
    sacral_turn: float,
    thoracic_turn: float,
    sacral_shift: int,
) -> Curve:
    """Extend five canal points (5, 2), L1/L2 to L5/S1, to all stations.

    ``lateral_lumbar`` (14,) is the scoliotic offset at each station in mm. ``sacral_turn`` and
    ``thoracic_turn`` are the bends in radians below L5/S1 and above L1/L2. ``sacral_shift``
    moves the sacral bend one level up (-1) or down (+1) for transitional anatomies.
    """
    canal = np.asarray(canal, float)
    spacing = np.linalg.norm(np.diff(canal, axis=0), axis=1)
    centres = np.zeros((len(STATIONS), 2))
    centres[FIRST_LUMBAR : LAST_LUMBAR + 1] = canal

    def angle(direction: NDArray[np.float64]) -> float:
        return float(np.arctan2(direction[0], -direction[1]))

    step = float(spacing[:2].mean()) * 0.95
    heading = angle(canal[1] - canal[0])
    for station in range(FIRST_LUMBAR - 1, -1, -1):
        heading += thoracic_turn * (0.4 if station == FIRST_LUMBAR - 1 else 1.0)
        step *= 0.94
        centres[station] = centres[station + 1] - step * np.array(
            [np.sin(heading), -np.cos(heading)]
        )
    heading = angle(canal[4] - canal[3])
    mean = float(spacing.mean())
    lengths = [0.86, 0.70, 0.60, 0.52] if sacral_shift <= 0 else [0.98, 0.80, 0.64, 0.54]
    turns = [sacral_turn, 0.10, -0.12, -0.25]
    if sacral_shift > 0:
        turns = [0.45 * sacral_turn, 0.55 * sacral_turn, 0.0, -0.2]
    for offset, (length, turn) in enumerate(zip(lengths, turns, strict=True)):
        heading += turn
        station = LAST_LUMBAR + 1 + offset
        centres[station] = centres[station - 1] + length * mean * np.array(
            [np.sin(heading), -np.cos(heading)]
        )
    chords = np.diff(centres, axis=0)
    chords /= np.linalg.norm(chords, axis=1, keepdims=True)
    caudal = np.vstack([chords[:1], chords[:-1] + chords[1:], chords[-1:]])
    caudal /= np.linalg.norm(caudal, axis=1, keepdims=True)
    return Curve(centres, caudal, np.asarray(lateral_lumbar, float))
