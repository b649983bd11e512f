"""One patient's spine and body as numbers: what the painters read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spinegrade.phantom.curve import FIRST_LUMBAR, LAST_LUMBAR, STATIONS, Curve, curve_through
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS

Values = NDArray[np.float64]
COUNT = len(STATIONS)
SIGNS = (1.0, -1.0)
"""Sign of x for left and right: the patient's left has the larger x."""
TYPICAL, FOUR_LUMBAR, SIX_LUMBAR = "typical", "four_lumbar", "six_lumbar"
_MIRROR = [
    next(
        i
        for i, other in enumerate(LUMBAR_CELLS)
        if other.condition == cell.condition
        and other.level == cell.level
        and other.side == {"left": "right", "right": "left"}.get(cell.side, cell.side)
    )
    for cell in LUMBAR_CELLS
]


@dataclass(frozen=True)
class Lesion:
    """A small round finding: its place in a station's frame and its radius, mm."""

    station: int
    below: float
    behind: float
    lateral: float
    radius: float


@dataclass(frozen=True)
class Anatomy:
    """Sizes in mm by station (14,) unless said; sides are (left, right).

    ``foramen`` (2, 14, 3): below, behind, lateral distance from the midline of each foramen's
    centre in its station's frame. ``recess`` (2, 14, 3): behind, lateral, and size as a
    factor. ``narrowing`` (25,) in ``LUMBAR_CELLS`` order. ``roots`` (n, 2): places of the
    cauda equina's roots in units of the sac's half axes (x, behind).
    """

    curve: Curve
    kind: str
    size: float
    disc_height: Values
    disc_water: Values
    body_depth: Values
    body_half_width: Values
    wall: Values
    lateral_wall: Values
    canal_half_width: Values
    canal_half_depth: Values
    sac_half_width: Values
    sac_half_depth: Values
    foramen: Values
    foramen_height: Values
    foramen_width: Values
    recess: Values
    narrowing: Values
    roots: Values
    conus: float
    marrow_fat: Values
    muscle_fat: float
    muscle_size: float
    skin_depth: float
    vessel_shift: float
    schmorl: tuple[Lesion, ...]
    haemangioma: tuple[Lesion, ...]
    cyst: tuple[Lesion, ...]
    texture_shift: tuple[int, int, int]

    def grade_input(self, condition: str, side: int | None) -> Values:
        """Narrowing (14,) of one condition by station; side 0 left, 1 right, None central."""
        name = "central" if side is None else ("left", "right")[side]
        values = np.zeros(COUNT)
        values[FIRST_LUMBAR : LAST_LUMBAR + 1] = [
            self.narrowing[i]
            for i, cell in enumerate(LUMBAR_CELLS)
            if cell.condition == condition and cell.side == name
        ]
        return values

    def mirrored(self) -> Anatomy:
        """The same patient reflected left to right."""

        def flip(lesions: tuple[Lesion, ...]) -> tuple[Lesion, ...]:
            return tuple(replace(lesion, lateral=-lesion.lateral) for lesion in lesions)

        return replace(
            self,
            curve=replace(self.curve, lateral=-self.curve.lateral),
            foramen=self.foramen[::-1].copy(),
            recess=self.recess[::-1].copy(),
            foramen_height=self.foramen_height[::-1].copy(),
            foramen_width=self.foramen_width[::-1].copy(),
            narrowing=self.narrowing[_MIRROR],
            roots=self.roots * [-1.0, 1.0],
            schmorl=flip(self.schmorl),
            haemangioma=flip(self.haemangioma),
            cyst=flip(self.cyst),
            vessel_shift=-self.vessel_shift,
        )

    def points_mm(self) -> Values:
        """True points (25, 3) as body-frame (x, y, z), in ``LUMBAR_CELLS`` order."""
        points = np.zeros((len(LUMBAR_CELLS), 3))
        levels = [name for name in STATIONS]
        for row, cell in enumerate(LUMBAR_CELLS):
            station = levels.index(cell.level)
            below = behind = lateral = 0.0
            if cell.side != "central":
                side = ("left", "right").index(cell.side)
                if cell.condition.startswith("neural"):
                    below, behind, lateral = self.foramen[side, station]
                else:
                    behind, lateral = self.recess[side, station, :2]
                lateral *= SIGNS[side]
            y, z = self.curve.point(station, below, behind)
            offset = float(self.curve.field(np.array([y]), np.array([z])).lateral[0])
            points[row] = (lateral + offset, y, z)
        return points


def _by_station(
    thoracic: float, first: float, last: float, sacral: tuple[float, float, float, float]
) -> Values:
    upper = np.linspace(thoracic, first, FIRST_LUMBAR, endpoint=False)
    return np.concatenate([upper, np.linspace(first, last, 5), sacral])


def draw_anatomy(
    rng: np.random.Generator,
    canal_mm: Values,
    foraminal_left_mm: Values,
    foraminal_right_mm: Values,
    narrowing: Values,
) -> Anatomy:
    """Draw a patient around the fitted points, (5, 2) each as (y, z) mm in the body frame.

    ``narrowing`` (25,) also leans the discs' degeneration, as diseased levels have dry discs.
    """
    kind = str(rng.choice([TYPICAL, FOUR_LUMBAR, SIX_LUMBAR], p=[0.96, 0.02, 0.02]))
    shift = {TYPICAL: 0, FOUR_LUMBAR: -1, SIX_LUMBAR: 1}[kind]
    spacing = float(np.linalg.norm(np.diff(canal_mm, axis=0), axis=1).mean())
    size = float(np.clip(spacing / 30.5, 0.85, 1.15))
    stations = np.arange(COUNT)
    bow = rng.normal(0, 3.0) * np.sin((stations - rng.uniform(2, 6)) / rng.uniform(2.2, 4.0))
    bow -= bow[FIRST_LUMBAR + 2]
    curve = curve_through(canal_mm, bow, rng.normal(0.22, 0.06), rng.normal(0.05, 0.02), shift)
    worst = np.zeros(COUNT)
    cells = np.array([cell.level for cell in LUMBAR_CELLS])
    for station in range(FIRST_LUMBAR, LAST_LUMBAR + 1):
        at_level = narrowing[cells == STATIONS[station]]
        worst[station] = 0.6 * at_level.mean() + 0.4 * at_level.max()
    age = rng.uniform(0, 1)
    water = 1.05 - 0.55 * age * rng.uniform(0.4, 1.2, COUNT) - 0.55 * worst
    water = np.clip(water + rng.normal(0, 0.15, COUNT), 0.03, 1.0)
    height = _by_station(5.0, 8.6, 10.6, (3.6, 1.8, 1.4, 1.0))
    if kind == SIX_LUMBAR:
        height[LAST_LUMBAR + 1] = 8.5
    if kind == FOUR_LUMBAR:
        height[LAST_LUMBAR] = 4.0
    height = size * height * (0.72 + 0.3 * water) * rng.normal(1.0, 0.05, COUNT)
    depth = _by_station(27.0, 32.0, 35.5, (25.5, 19.0, 14.0, 10.0))
    width = _by_station(16.5, 22.0, 27.0, (23.0, 19.0, 16.0, 12.0))
    if kind == SIX_LUMBAR:
        depth[LAST_LUMBAR + 1], width[LAST_LUMBAR + 1] = 32.0, 25.0
    if kind == FOUR_LUMBAR:
        depth[LAST_LUMBAR] = 28.0
    depth, width = depth * size * rng.normal(1, 0.04), width * size * rng.normal(1, 0.04)
    foramen = np.zeros((2, COUNT, 3))
    lateral = _by_station(13.0, 15.8, 18.8, (19.0, 18.0, 17.0, 16.0)) * size
    for side, points in enumerate((foraminal_left_mm, foraminal_right_mm)):
        foramen[side, :, 0], foramen[side, :, 1] = -5.0, -5.0
        foramen[side, :, 2] = lateral * rng.normal(1.0, 0.05, COUNT)
        for level, point in enumerate(np.asarray(points, float)):
            station = FIRST_LUMBAR + level
            step = point - curve.centres[station]
            foramen[side, station, 0] = step @ curve.caudal[station]
            foramen[side, station, 1] = step @ curve.posterior[station]
    front = foramen[:, :, 1].mean(axis=0)
    half_depth = _by_station(6.8, 8.2, 8.2, (6.0, 4.5, 3.5, 2.5)) * size * rng.normal(1, 0.05)
    wall = np.minimum(-half_depth - 0.8, front + 1.5)
    wall[LAST_LUMBAR + 1 :] = -half_depth[LAST_LUMBAR + 1 :] - 0.5
    lateral_wall = np.minimum(wall - 2.0, front - 4.2)
    canal_width = _by_station(9.5, 11.5, 13.5, (12.5, 10.0, 8.0, 6.0)) * size
    # Born-narrow and wide canals: the sac's size says little without its filling.
    build = rng.normal(1.0, 0.11) * rng.normal(1.0, 0.08, COUNT)
    slim = rng.normal(1.0, 0.08, COUNT)
    recess = np.zeros((2, COUNT, 3))
    recess[:, :, 0] = -0.52 * half_depth
    recess[:, :, 2] = np.clip(rng.normal(1.0, 0.14, (2, COUNT)), 0.7, 1.3)
    recess[:, :, 1] = 0.76 * canal_width * rng.normal(1.0, 0.02, (2, 1))
    return Anatomy(
        curve=curve,
        kind=kind,
        size=size,
        disc_height=height,
        disc_water=water,
        body_depth=depth,
        body_half_width=width,
        wall=wall,
        lateral_wall=lateral_wall,
        canal_half_width=canal_width,
        canal_half_depth=half_depth,
        sac_half_width=np.minimum(canal_width * 0.66 * build / slim, canal_width * 0.85),
        sac_half_depth=np.minimum(half_depth * 0.84 * build * slim, half_depth * 0.97),
        foramen=foramen,
        foramen_height=np.full((2, COUNT), 17.0) * size * rng.normal(1, 0.05, (2, COUNT)),
        foramen_width=np.full((2, COUNT), 9.0) * size * rng.normal(1, 0.05, (2, COUNT)),
        recess=recess,
        narrowing=np.asarray(narrowing, float),
        roots=_draw_roots(rng),
        conus=float(rng.normal(FIRST_LUMBAR - 0.1, 0.45)),
        marrow_fat=np.clip(
            rng.normal(0.3 + 0.35 * age, 0.08) + rng.normal(0, 0.03, COUNT), 0.1, 0.9
        ),
        muscle_fat=float(np.clip(rng.normal(0.15 + 0.5 * age, 0.12), 0.02, 0.95)),
        muscle_size=float(rng.normal(1.0, 0.1)),
        skin_depth=float(np.clip(rng.lognormal(2.75, 0.45), 6.0, 42.0)),
        vessel_shift=1.0,
        schmorl=_draw_lesions(rng, 0.35, 1.5, 4.0),
        haemangioma=_draw_lesions(rng, 0.25, 3.0, 9.0),
        cyst=_draw_cysts(rng),
        texture_shift=tuple(int(v) for v in rng.integers(0, 128, 3)),
    )


def _draw_roots(rng: np.random.Generator) -> Values:
    """Cauda equina: paired roots lining the back of the sac, some loose ones."""
    angle = np.linspace(0.12, 0.95, 7) * np.pi / 2
    ring = np.stack([np.sin(angle) * 0.74, np.cos(angle) * 0.72], axis=1)
    ring[:, 1] -= 0.1
    paired = np.concatenate([ring, ring * [-1, 1]])
    paired = paired + rng.normal(0, 0.05, paired.shape)
    loose = np.stack([rng.uniform(-0.5, 0.5, 6), rng.uniform(0.0, 0.62, 6)], axis=1)
    return np.concatenate([paired, loose])


def _draw_lesions(
    rng: np.random.Generator, mean: float, low: float, high: float
) -> tuple[Lesion, ...]:
    return tuple(
        Lesion(
            station=int(rng.integers(2, LAST_LUMBAR + 1)),
            below=float(rng.choice([-1.0, 1.0])),
            behind=float(rng.uniform(-0.7, -0.3)),
            lateral=float(rng.uniform(-12, 12)),
            radius=float(rng.uniform(low, high)),
        )
        for _ in range(rng.poisson(mean))
    )


def _draw_cysts(rng: np.random.Generator) -> tuple[Lesion, ...]:
    if rng.uniform() > 0.06:
        return ()
    side = float(rng.choice([-1.0, 1.0]))
    radius = float(rng.uniform(4.0, 9.0))
    return (Lesion(LAST_LUMBAR + 1, float(rng.uniform(6, 16)), 0.0, side * 4.0, radius),)
