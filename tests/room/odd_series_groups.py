"""Odd series of several scans, or of one with pictures beside it: what belongs together."""

from __future__ import annotations

from typing import Any

from odd_series import (
    AXIAL,
    PLAIN,
    EnhancedFrame,
    Files,
    OddSeries,
    Scan,
    after,
    axial_firsts,
    enhanced,
    item,
    sagittal_firsts,
    several,
)
from scanner_helpers import file_bytes

ORIGINAL, DERIVED = ["ORIGINAL", "PRIMARY", "M", "ND"], ["DERIVED", "SECONDARY", "SCREEN SAVE"]


def _repeated() -> OddSeries:
    first = Scan("first scan", sagittal_firsts())
    second = Scan("second scan", sagittal_firsts(19, start=-2))
    tags = [{"AcquisitionNumber": n, "AcquisitionTime": f"10{15 + 7 * n}00"} for n in (1, 2)]
    says = "15 slices, repeated with 19; AcquisitionNumber and AcquisitionTime tell them apart"
    return several(
        "repeated scan of another length",
        says,
        (first, second),
        tags[0],
        {"numbers": after(15, 19), **tags[1]},
    )


def _derived() -> OddSeries:
    scan = Scan("original", sagittal_firsts())
    saved = Scan("saved screen", sagittal_firsts(1, start=7), wanted=False)
    says = "a saved screen of the eighth slice, DERIVED and numbered 0, beside the 15 originals"
    return several(
        "derived picture numbered first",
        says,
        (scan, saved),
        {"ImageType": ORIGINAL},
        {"numbers": [0], "ImageType": DERIVED},
    )


def _echoes() -> OddSeries:
    early = Scan("first echo", sagittal_firsts())
    late = Scan("second echo", sagittal_firsts(), pieces=2)
    says = "two echoes (EchoTime) of 15 slices; one file of the second is lost"
    return several(
        "two echoes, one file lost",
        says,
        (early, late),
        {"EchoTime": "10", "EchoNumbers": "1"},
        {"EchoTime": "90", "EchoNumbers": "2", "numbers": after(15, 15), "without": [7]},
    )


def _phase() -> OddSeries:
    magnitude = Scan("magnitude", sagittal_firsts())
    phase = Scan("phase", sagittal_firsts(14))
    kinds = [{"ImageType": ["ORIGINAL", "PRIMARY", letter, "ND"]} for letter in "MP"]
    says = "magnitude and phase (ImageType) slice by slice; the last file of the phase is lost"
    return several(
        "magnitude and phase, one file lost",
        says,
        (magnitude, phase),
        {"numbers": range(1, 31, 2), **kinds[0]},
        {"numbers": range(2, 30, 2), **kinds[1]},
    )


def _blocks(name: str, says: str, heights: tuple[float, float], restart: bool) -> OddSeries:
    upper, lower = (
        Scan(label, axial_firsts(6, height), AXIAL)
        for label, height in zip(("upper block", "lower block"), heights, strict=True)
    )
    second: dict[str, Any] = {"AcquisitionNumber": 2}
    second |= {"prefix": "b"} if restart else {"numbers": after(6, 6)}
    return several(name, says, (upper, lower), {"AcquisitionNumber": 1}, second)


def _time_points() -> OddSeries:
    scans = tuple(Scan(f"time {n}", sagittal_firsts(8)) for n in (1, 2, 3))
    how = [{"TemporalPositionIdentifier": str(n + 1), "numbers": after(8 * n, 8)} for n in range(3)]
    says = "three time points of 8 slices (TemporalPositionIdentifier)"
    return several("three time points", says, scans, *how)


def _dixon() -> OddSeries:
    labels = ("in phase", "opposed phase", "water")
    scans = tuple(Scan(label, sagittal_firsts()) for label in labels)
    kinds = (
        ("ORIGINAL", 2.3, "IN_PHASE"),
        ("ORIGINAL", 4.6, "OUT_PHASE"),
        ("DERIVED", 2.3, "WATER"),
    )

    def groups(mark: int) -> dict[str, Any]:
        origin, echo, kind = kinds[mark]
        return {
            "MRImageFrameTypeSequence": item(FrameType=[origin, "PRIMARY", "DIXON", kind]),
            "MREchoSequence": item(EffectiveEchoTime=echo),
        }

    order = [(mark, place) for place in range(15) for mark in (0, 1)]
    order += [(2, place) for place in range(15)]

    def files(axis: int) -> Files:
        frames = [EnhancedFrame(mark, place, groups(mark)) for mark, place in order]
        yield "1.dcm", file_bytes(enhanced(scans, frames, axis), PLAIN)

    says = "one enhanced file of three images; FrameType and EffectiveEchoTime tell them apart"
    return OddSeries("enhanced Dixon", says, scans, files)


def _two_series() -> OddSeries:
    scans = (Scan("T1", sagittal_firsts()), Scan("T2", sagittal_firsts()))
    says = "T1 and T2 of one place, each with its SeriesInstanceUID and numbers 1 to 15"
    return several(
        "two series in one folder",
        says,
        scans,
        {"EchoTime": "10"},
        {"EchoTime": "10", "series": "2", "prefix": "t2_"},
    )


def _two_sizes() -> OddSeries:
    small = Scan("small slices", axial_firsts(8, -60.0), AXIAL)
    large = Scan("large slices", axial_firsts(8, 10.0), AXIAL, rows=26, cols=30)
    says = "8 slices of 20 x 24 px and 8 of 26 x 30 px, farther up"
    return several("two matrix sizes", says, (small, large), {}, {"numbers": after(8, 8)})


def _scout() -> OddSeries:
    scan = Scan("scan", axial_firsts(10, -20.0), AXIAL)
    scout = Scan("scout", sagittal_firsts(1, start=7), wanted=False)
    says = "a sagittal scout picture as the first image of an axial series"
    return several("scout in the series", says, (scan, scout), {"numbers": after(1, 10)}, {})


CASES = (
    _repeated(),
    _derived(),
    _echoes(),
    _phase(),
    _time_points(),
    _dixon(),
    _two_series(),
    _blocks(
        "overlapping blocks",
        "two axial blocks of 6 slices (AcquisitionNumber), 2 mm apart from each other's slices",
        (2.0, -12.0),
        False,
    ),
    _blocks(
        "numbers that restart",
        "two axial blocks of 6 slices, each numbered 1 to 6",
        (30.0, -60.0),
        True,
    ),
    _two_sizes(),
    _scout(),
)
