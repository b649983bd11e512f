"""What a converter made of an odd series: each voxel's scan and place against where it is put."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odd_series import BAND, LOWEST_MM, PER_MM, OddSeries, Scan
from odd_series_stored import PADDING
from scipy import ndimage
from spinegrade.geometry.affine import to_mm

# Voxels (slices, rows, columns) and their affine to LPS mm.
Volume = tuple[NDArray[Any], NDArray[np.float64]]
# A value is rounded to a twentieth of a millimetre on each axis.
_ROUNDING_MM = 0.05
PRESENT = 0.5  # a slice is there if so much of it is


@dataclass
class Made:
    """What one conversion of a series gave: volumes, and its words."""

    volumes: list[Volume] = field(default_factory=list)
    words: str = ""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with the volumes, in a word or two and in a sentence's part."""

    short: str
    full: str


@dataclass(frozen=True)
class Verdict:
    """``kind``: right, wrong or refused. ``remark``: what else is there. ``words``: the tool's."""

    kind: str
    faults: tuple[Fault, ...] = ()
    remark: str = ""
    words: str = ""

    @property
    def short(self) -> str:
        """For the cell of a table."""
        if self.kind == "wrong":
            return f"**wrong**: {', '.join(fault.short for fault in self.faults)}"
        return self.kind

    @property
    def full(self) -> str:
        """All of it."""
        parts = [*(fault.full for fault in self.faults), self.remark, self.words]
        return "; ".join(part for part in parts if part)


@dataclass
class Seen:
    """One volume: the slices of each scan that it holds, its voxels' greatest error, its step."""

    slices: dict[int, set[int]]
    off_mm: float
    step_mm: float


def judge(series: OddSeries, made: Sequence[Made]) -> Verdict:
    """The verdict on three conversions, of the series with places along x, y and z."""
    first = made[0]
    if not first.volumes:
        return Verdict("refused", words=first.words or "no volume and no word")
    if len({tuple(v[0].shape for v in one.volumes) for one in made}) != 1:
        fault = Fault("by values", "what it makes depends on the values of the voxels")
        return Verdict("wrong", (fault,), words=first.words)
    passes = zip(*(one.volumes for one in made), strict=True)
    every = [_seen(series, list(volumes)) for volumes in passes]
    seen = [one for one in every if one.slices]
    if not seen:
        fault = Fault("values", "no voxel holds its value")
        return Verdict("wrong", (fault,), words=first.words)
    faults = (*_mixed(series, seen), *_lost(series, seen), *_misplaced(series, seen))
    remarks = []
    if len(every) > len(seen):
        remarks.append(f"{len(every) - len(seen)} more volume that is no scan")
    for mark, scan in enumerate(series.scans):
        holding = _holding(seen, mark)
        if len(holding) > scan.pieces and not faults:
            remarks.append(f"{scan.label} in {len(holding)} volumes")
        if set(series.absent.get(mark, ())) & set().union(*(one.slices[mark] for one in holding)):
            remarks.append("the lost slice made up from its neighbours")
    return Verdict("wrong" if faults else "right", faults, ", ".join(remarks), first.words)


def _seen(series: OddSeries, passes: list[Volume]) -> Seen:
    """Decode a volume from its three conversions."""
    values = np.stack([np.asarray(voxels, np.float64) for voxels, _ in passes], axis=-1)
    affine = passes[0][1]
    marks = np.floor((values + 0.5) / BAND)
    places = (values - BAND * marks) / PER_MM + LOWEST_MM
    padding = (values == PADDING).all(axis=-1)
    shape = padding.shape
    index, y, x = np.indices(shape)
    put = to_mm(affine, np.stack([x.ravel(), y.ravel(), index.ravel()], 1)).reshape(*shape, 3)
    whose = np.full(shape, -1)
    for mark, scan in enumerate(series.scans):
        corners = scan.places_mm().reshape(-1, 3)
        inside = (places >= corners.min(axis=0) - 0.2) & (places <= corners.max(axis=0) + 0.2)
        whose[(marks == mark).all(axis=-1) & inside.all(axis=-1)] = mark
    blank = (whose < 0) & ~padding
    # Beside blank voxels an interpolated value is a mixture of both and says nothing.
    trusted = (whose >= 0) & ~ndimage.binary_dilation(blank, np.ones((3, 3, 3)))
    off = np.linalg.norm(put - places, axis=-1)
    slices = {
        mark: found
        for mark, scan in enumerate(series.scans)
        if (found := _slices(scan, places[whose == mark]))
    }
    return Seen(slices, float(off[trusted].max(initial=0.0)), float(np.linalg.norm(affine[:3, 2])))


def _slices(scan: Scan, places: NDArray[np.float64]) -> set[int]:
    """The slices of a scan of which ``places`` (n, 3) cover half."""
    normal = np.cross(*scan.axes_of(0).reshape(2, 3))
    heights, found = scan.firsts_mm @ normal, places @ normal
    steps = np.abs(np.diff(np.sort(heights)))
    near = 0.51 * steps.min() if len(steps) else 1.0
    counts = [(np.abs(found - height) <= near).sum() for height in heights]
    return {place for place, count in enumerate(counts) if count >= PRESENT * scan.rows * scan.cols}


def _holding(seen: list[Seen], mark: int) -> list[Seen]:
    return [one for one in seen if mark in one.slices]


def _mixed(series: OddSeries, seen: list[Seen]) -> list[Fault]:
    """Volumes that hold slices of more than one scan."""
    for one in seen:
        if len(one.slices) > 1:
            counts = [f"{len(n)} of {series.scans[mark].label}" for mark, n in one.slices.items()]
            return [Fault("mixed", f"one volume holds {' and '.join(counts)}")]
    return []


def _lost(series: OddSeries, seen: list[Seen]) -> list[Fault]:
    """Wanted slices that no volume holds, and scans that are cut without need."""
    found = []
    for mark, scan in enumerate(series.scans):
        holding = _holding(seen, mark)
        kept = set().union(*(one.slices[mark] for one in holding))
        total = set(range(len(scan.firsts_mm))) - set(series.absent.get(mark, ()))
        if not scan.wanted:
            continue
        if total - kept:
            lost = f"{len(total - kept)} of {len(total)} slices of {scan.label} lost"
            found.append(Fault("lost", lost if kept else f"{scan.label} lost"))
        largest = max((len(one.slices[mark]) for one in holding), default=0)
        if kept and len(holding) > scan.pieces and largest < len(kept):
            found.append(Fault("cut", f"{scan.label} cut into {len(holding)} volumes"))
    # A cell needs each word once.
    return [Fault(word, ", ".join(f.full for f in found if f.short == word))
            for word in dict.fromkeys(fault.short for fault in found)]  # fmt: skip


def _misplaced(series: OddSeries, seen: list[Seen]) -> list[Fault]:
    worst = max(seen, key=lambda one: one.off_mm)
    if worst.off_mm <= series.tolerance_mm + _ROUNDING_MM:
        return []
    off = f"{worst.off_mm:.1f} mm"
    text = f"voxels up to {off} off their place, slices {worst.step_mm:.2f} mm apart"
    return [Fault(off, text)]
