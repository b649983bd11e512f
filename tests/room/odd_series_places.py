"""Odd series whose slices lie oddly: rounded, turned, oblique, missing, tilted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from odd_series import AXIAL, OddSeries, Scan, after, axial_firsts, line, sagittal_firsts, several

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def _orientations() -> OddSeries:
    axes = np.tile([0.0, 1.0, 0.0, 0.0, 0.0, -1.0], (15, 1))
    angle = np.radians(0.1)
    axes[1::2, :2] = np.sin(angle), np.cos(angle)
    scan = Scan("scan", sagittal_firsts(), axes)
    says = "every second slice turned by 0.1 degrees, which moves no voxel by 0.05 mm"
    return several("orientations 0.1 degrees apart", says, (scan,), {})


def _rounded(
    name: str, says: str, step: float, turn: float, decimals: int, off: float
) -> OddSeries:
    # Sagittal slices turned about the patient's long axis, as scanners do to follow a scoliosis.
    angle = np.radians(turn)
    axes = (np.sin(angle), np.cos(angle), 0.0, 0.0, 0.0, -1.0)
    normal = (step * np.cos(angle), -step * np.sin(angle), 0.0)
    scan = Scan("scan", line(15, normal, (-28.0, -10.0, 12.0)), axes)
    series = several(name, says, (scan,), {"decimals": decimals})
    return replace(series, tolerance_mm=off)


def _short_oblique() -> OddSeries:
    angle = np.radians(13.1)
    axes = (1.0, 0.0, 0.0, 0.0, np.cos(angle), np.sin(angle))
    step = (0.0, -4.03 * np.sin(angle), 4.03 * np.cos(angle))
    scan = Scan("scan", line(5, step, (-12.0, -14.0, -8.0)), axes)
    says = "five axial slices 13 degrees oblique, positions rounded to two decimals"
    series = several("short oblique stack", says, (scan,), {"decimals": 2})
    return replace(series, plane="axial")


def _oblique_stacks() -> OddSeries:
    scans, how = [], []
    for number, (degrees, height) in enumerate(((18.0, -50.0), (4.0, 0.0), (-12.0, 45.0))):
        angle = np.radians(degrees)
        axes = (1.0, 0.0, 0.0, 0.0, np.cos(angle), np.sin(angle))
        step = (0.0, -3.5 * np.sin(angle), 3.5 * np.cos(angle))
        scans.append(Scan(f"stack {number + 1}", line(5, step, (-12.0, -14.0, height)), axes))
        how.append({"numbers": after(5 * number, 5)})
    says = "three axial stacks of 5 slices, one a disc, each with its own tilt"
    return replace(several("oblique stacks", says, tuple(scans), *how), plane="axial")


def _missing(bits: int) -> OddSeries:
    scan = Scan("scan", sagittal_firsts(), pieces=2)
    how = {"without": [7], "BitsStored": bits, "HighBit": bits - 1}
    name = f"missing slice, {bits} bits stored"
    return several(name, "the eighth of 15 files is lost", (scan,), how)


def _uneven() -> OddSeries:
    firsts = np.array([[-12.0, -14.0, z] for z in (0.0, 3.0, 6.0, 12.0, 15.0)])
    scan = Scan("scan", firsts, AXIAL, pieces=2)
    return several("slices at 0, 3, 6, 12, 15 mm", "the fourth of six slices is lost", (scan,), {})


def _gantry(
    degrees: float, upwards: bool, signed: bool, without: tuple[int, ...] = ()
) -> OddSeries:
    # The couch moves along z; the slices are tilted about x. Their places follow the couch.
    angle = np.radians(degrees)
    axes = (1.0, 0.0, 0.0, 0.0, np.cos(angle), np.sin(angle))
    scan = Scan("scan", line(12, (0, 0, 4.0), (-12.0, -14.0, -20.0)), axes, rows=40, cols=44)
    elements = {
        "SOPClassUID": CT_IMAGE,
        "Modality": "CT",
        "GantryDetectorTilt": f"{degrees:g}",
        "PixelRepresentation": int(signed),
        "BitsStored": 16,
        "HighBit": 15,
        "RescaleSlope": "1",
        "RescaleIntercept": "0",
    }
    numbers = range(1, 13) if upwards else range(12, 0, -1)
    name = f"gantry {degrees:+g} degrees, numbered {'up' if upwards else 'down'}"
    name += ", signed" if signed else ", unsigned"
    says = (
        f"CT, {'signed' if signed else 'unsigned'} pixels, the gantry tilted by {degrees:g} degrees"
    )
    if without:
        name, says = f"{name}, one lost", f"{says}; one file is lost"
    how = {"numbers": numbers, "without": without, **elements}
    return replace(several(name, says, (scan,), how), plane="axial", tolerance_mm=0.2)


def _control(name: str, says: str, backwards: bool, plane: str) -> OddSeries:
    scan = Scan("scan", sagittal_firsts())
    if plane == "axial":
        scan = Scan("scan", axial_firsts(12, -20.0), AXIAL)
    count = len(scan.firsts_mm)
    numbers = range(count, 0, -1) if backwards else range(1, count + 1)
    return several(name, says, (scan,), {"numbers": numbers})


CASES = (
    _control("plain sagittal", "15 slices, nothing odd: the control", False, "sagittal"),
    _control("numbered downwards", "12 axial slices numbered from head to feet", True, "axial"),
    _oblique_stacks(),
    _orientations(),
    _rounded("positions to 0.1 mm", "steps of 3.85 mm, one decimal", 3.85, 0.0, 1, 0.15),
    _rounded(
        "positions to 0.1 mm, turned", "the same, slices turned by 12 degrees", 3.85, 12.0, 1, 0.15
    ),
    _rounded("positions to 1 mm", "steps of 3.3 mm, whole millimetres", 3.3, 0.0, 0, 0.6),
    _short_oblique(),
    _missing(14),
    _missing(16),
    _uneven(),
    *(_gantry(tilt, up, True) for tilt in (15.0, -15.0) for up in (True, False)),
    _gantry(-15.0, True, False),
    _gantry(-15.0, True, True, (5,)),
)
