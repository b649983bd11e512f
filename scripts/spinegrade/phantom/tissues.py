"""Tissue codes of the label maps and the signal that each gives in a sequence."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

AIR = 0
CSF = 1
FAT = 2
CORTEX = 3
LIGAMENT = 4
ROOT = 5
CORD = 6
ARTERY = 7
VEIN = 8
SKIN = 9
BOWEL = 10
KIDNEY = 11
JOINT = 12
EPIDURAL_FAT = 13
BULGE = 14
CYST = 15
HAEMANGIOMA = 16
FASCIA = 17
FORAMINAL_FAT = 18
RECESS_FAT = 19
PLEXUS = 20
# Codes from here on come in runs: base + variant (texture) or base + station.
MARROW = 32  # 4 textures a vertebra, 14 vertebrae (32 to 87)
MARROW_TEXTURES = 4
ARCH_MARROW = 88  # 4 textures
NUCLEUS = 96  # one a station
ANNULUS = 112  # one a station
MUSCLE = 128  # 16 textures, fat streaks in the upper ones
MUSCLE_TEXTURES = 16
VISCERAL_FAT = 144  # 8 textures
VISCERAL_TEXTURES = 8
BULGE_CODES = (BULGE, LIGAMENT)

# Proton density, T1 in ms, T2 in ms at 1.5 T; fat's T2 as fast spin echo shows it.
_RELAXATION = {
    AIR: (0.0, 1000.0, 50.0),
    CSF: (1.0, 3600.0, 1300.0),
    FAT: (0.95, 290.0, 120.0),
    CORTEX: (0.10, 900.0, 12.0),
    LIGAMENT: (0.42, 850.0, 24.0),
    ROOT: (0.78, 950.0, 62.0),
    CORD: (0.80, 900.0, 82.0),
    ARTERY: (0.10, 1200.0, 30.0),
    VEIN: (0.16, 1200.0, 40.0),
    SKIN: (0.55, 800.0, 32.0),
    BOWEL: (0.75, 1000.0, 55.0),
    KIDNEY: (0.85, 1250.0, 95.0),
    JOINT: (0.75, 1800.0, 90.0),
    EPIDURAL_FAT: (0.92, 300.0, 115.0),
    BULGE: (0.48, 950.0, 28.0),
    CYST: (1.0, 3500.0, 1200.0),
    HAEMANGIOMA: (0.95, 380.0, 150.0),
    FASCIA: (0.25, 900.0, 20.0),
    FORAMINAL_FAT: (0.92, 300.0, 112.0),
    RECESS_FAT: (0.95, 600.0, 230.0),
    PLEXUS: (0.8, 1100.0, 110.0),
}
_MARROW = (0.68, 620.0, 62.0)
_MUSCLE = (0.78, 1050.0, 36.0)


@dataclass(frozen=True)
class Sequence:
    """One spin-echo weighting: times in ms; ``inversion`` 0 for none (else STIR)."""

    weighting: str
    repetition: float
    echo: float
    inversion: float = 0.0


@dataclass(frozen=True)
class TissueState:
    """What differs between patients: factors on the tables above.

    marrow_fat (14,): share of fatty marrow a vertebra; disc_water (14,): 0 dry to 1 healthy;
    muscle_fat: share of fat streaks, 0 to 1; spread (256, 3): factors on each code's density,
    T1 and T2.
    """

    marrow_fat: NDArray[np.float64]
    disc_water: NDArray[np.float64]
    muscle_fat: float
    spread: NDArray[np.float64] = field(default_factory=lambda: np.ones((256, 3)))


def spin_echo(
    density: NDArray[np.float64],
    t1: NDArray[np.float64],
    t2: NDArray[np.float64],
    sequence: Sequence,
) -> NDArray[np.float64]:
    """Signal of a (fast) spin echo, with inversion recovery where the sequence has one."""
    recovery = 1.0 - np.exp(-sequence.repetition / t1)
    if sequence.inversion > 0:
        recovery = np.abs(
            1.0 - 2.0 * np.exp(-sequence.inversion / t1) + np.exp(-sequence.repetition / t1)
        )
    return density * recovery * np.exp(-sequence.echo / t2)


def signal_table(sequence: Sequence, state: TissueState) -> NDArray[np.float32]:
    """Signal of every tissue code, (256,), arbitrary units near 1 for the brightest."""
    rows = np.zeros((256, 3))
    rows[:] = _RELAXATION[AIR]
    for code, values in _RELAXATION.items():
        rows[code] = values
    rows[ARCH_MARROW : ARCH_MARROW + MARROW_TEXTURES] = _MARROW
    rows[MUSCLE : MUSCLE + MUSCLE_TEXTURES] = _MUSCLE
    rows[VISCERAL_FAT : VISCERAL_FAT + VISCERAL_TEXTURES] = _RELAXATION[FAT]
    stations = len(state.disc_water)
    for station in range(stations):
        water = float(state.disc_water[station])
        rows[NUCLEUS + station] = (0.62 + 0.33 * water, 1000 + 500 * water, 34 + 100 * water**1.5)
        rows[ANNULUS + station] = (0.42 + 0.12 * water, 1000.0, 26 + 8 * water)
        start = MARROW + MARROW_TEXTURES * station
        rows[start : start + MARROW_TEXTURES] = _MARROW
    spread = state.spread.copy()
    # What is one tissue varies together: textures of muscle, and fat wherever it lies.
    spread[MUSCLE : MUSCLE + MUSCLE_TEXTURES] = spread[MUSCLE]
    spread[VISCERAL_FAT : VISCERAL_FAT + VISCERAL_TEXTURES] = spread[FAT]
    spread[[EPIDURAL_FAT, FORAMINAL_FAT]] = spread[FAT]
    rows *= spread
    table = spin_echo(rows[:, 0], rows[:, 1], rows[:, 2], sequence)
    fat = table[FAT]
    water = spin_echo(*(np.array([v]) for v in (0.8, 1200.0, 48.0)), sequence)[0]
    for station in range(stations):
        for texture in range(MARROW_TEXTURES):
            share = state.marrow_fat[station] + 0.09 * (texture - 1.5)
            share = float(np.clip(share, 0.05, 0.95))
            code = MARROW + MARROW_TEXTURES * station + texture
            mixed = share * fat + (1 - share) * water
            table[code] = 0.72 * mixed * spread[MARROW, 0]
    for texture in range(MARROW_TEXTURES):
        share = float(np.clip(state.marrow_fat.mean() + 0.1 + 0.09 * (texture - 1.5), 0.05, 0.95))
        table[ARCH_MARROW + texture] = 0.72 * (share * fat + (1 - share) * water)
    for texture in range(MUSCLE_TEXTURES):
        # The streaks: the upper textures turn to fat, earlier in fatty muscle.
        edge = 16.2 - 6.0 * state.muscle_fat
        share = 1.0 / (1.0 + np.exp(-(texture - edge) * 1.1))
        share = max(float(share), 0.2 * state.muscle_fat)
        code = MUSCLE + texture
        table[code] = share * 0.9 * fat + (1 - share) * table[code] * (0.94 + 0.008 * texture)
    for texture in range(VISCERAL_TEXTURES):
        share = np.clip(0.35 + 0.13 * texture, 0, 1)
        code = VISCERAL_FAT + texture
        table[code] = share * fat + (1 - share) * table[BOWEL]
    return table.astype(np.float32)
