"""What conversion makes of odd but valid series, and that docs/odd_series.md says the same.

The other tools of that page are asked by hand: ``python benchmarks/odd_series.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from odd_series import OddSeries, Scan, sagittal_firsts, slices
from odd_series_cases import ALL
from odd_series_judge import Made, Verdict, judge
from odd_series_room import by_this_room
from spinegrade.geometry.affine import affine_from_dicom

PAGE = Path(__file__).resolve().parents[2] / "docs" / "odd_series.md"
# The others must be right. A tilted gantry is refused beyond max_shear_degrees, and of five slices
# with a gap neither part has min_run_slices.
REFUSED = {series.name: "GANTRY_TILT" for series in ALL if series.name.startswith("gantry")}
REFUSED |= {"slices at 0, 3, 6, 12, 15 mm": "GAP"}


def of_page() -> dict[str, str]:
    """This room's cell of each series in the document."""
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return {row[0].removeprefix("| "): row[2] for row in rows if len(row) > 5}


def verdict_of(folder: Path, series: OddSeries) -> Verdict:
    made = []
    for axis, name in enumerate("xyz"):
        series.write(folder / name, axis)
        made.append(by_this_room(folder / name, folder / f"{name}_out", series.plane))
    return judge(series, made)


@pytest.mark.parametrize("series", ALL, ids=lambda series: series.name)
def test_an_odd_series_is_right_or_refused(tmp_path: Path, series: OddSeries) -> None:
    found = verdict_of(tmp_path, series)
    if series.name in REFUSED:
        assert found.kind == "refused"
        assert REFUSED[series.name] in found.words
    else:
        assert found.kind == "right", found.full
        # A picture beside the scans makes no volume.
        assert not found.remark
    told = f"{found.short} ({found.words})" if found.words else found.short
    assert of_page()[series.name] == told, "run benchmarks/odd_series.py again"


SCAN = Scan("scan", sagittal_firsts(6))
OTHER = Scan("other", sagittal_firsts(6))
PLAIN = OddSeries("plain", "", (SCAN, OTHER), lambda axis: slices(SCAN, axis))
AFFINE = affine_from_dicom(SCAN.axes_of(0), SCAN.spacing_mm, SCAN.firsts_mm[0], [4.0, 0, 0])


def judged(change, affine: np.ndarray = AFFINE) -> Verdict:
    """The verdict on both scans' volumes, the first of which ``change`` has altered."""
    made = []
    for axis in range(3):
        first, second = SCAN.values(axis, 0), OTHER.values(axis, 1)
        made.append(Made([(change(first, second), affine), (second, AFFINE)]))
    return judge(PLAIN, made)


def moved(x: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] += x
    return affine


def test_the_judge_sees_what_is_wrong() -> None:
    def whole(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return first

    assert judged(whole).short == "right"
    assert judged(whole, moved(3.0)).short == "**wrong**: 3.0 mm"
    # 23 columns of 1.2 mm: the corner lies on the other side.
    assert judged(lambda a, b: a[:, :, ::-1]).short == "**wrong**: 27.6 mm"
    assert judged(lambda a, b: a[::-1]).short == "**wrong**: 20.0 mm"
    assert judged(lambda a, b: a[:5]).short == "**wrong**: lost"
    mixed = judged(lambda a, b: np.concatenate([a[:3], b[3:]]))
    assert mixed.short == "**wrong**: mixed, lost"
    assert mixed.full.startswith("one volume holds 3 of scan and 3 of other; 3 of 6 slices of scan")
    blank = judged(lambda a, b: np.concatenate([0 * a[:1], a[1:]]))
    assert blank.short == "**wrong**: lost"
    assert judged(lambda a, b: 16 * a).short == "**wrong**: lost"
    nothing = judge(PLAIN, [Made(words="too odd")] * 3)
    assert (nothing.short, nothing.full) == ("refused", "too odd")
    twice = [Made([(SCAN.values(axis, 0), AFFINE)] * 2) for axis in range(3)]
    one = OddSeries("one", "", (SCAN,), lambda axis: slices(SCAN, axis))
    assert judge(one, twice).full == "scan in 2 volumes"
    halves = [
        Made([(SCAN.values(a, 0)[:3], AFFINE), (SCAN.values(a, 0)[3:], moved(12.0))])
        for a in range(3)
    ]
    assert judge(one, halves).short == "**wrong**: cut"
