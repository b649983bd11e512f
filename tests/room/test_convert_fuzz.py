"""Damaged series for half a minute; and the fuzzer notices each kind of fault that is planted."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "benchmarks"))

import fuzz_convert  # noqa: E402
import fuzz_worker  # noqa: E402
from fuzz_cases import DAMAGES, Case, make_case  # noqa: E402
from fuzz_seeds import seeds  # noqa: E402
from scanner_helpers import (  # noqa: E402
    Acquisition,
    add_pixels,
    enhanced_dataset,
    file_bytes,
    orientations,
)
from spinegrade.convert.series import Converted, convert_series  # noqa: E402
from spinegrade.convert.settings import ConvertSettings  # noqa: E402
from spinegrade.convert.source import SeriesSource  # noqa: E402


def test_nothing_but_rows_comes_out_of_damaged_series(tmp_path: Path) -> None:
    report = fuzz_convert.fuzz(30.0, seed=1, keep=tmp_path / "faults")
    told = [*report.lines(), *(f"{n} ({s}): {o.kind}: {o.text}" for n, s, o in report.faults)]
    assert not report.faults, "\n".join(told)
    # The cases reach far: volumes come out of some, most rules refuse others.
    assert report.cases > 100 and report.volumes > 10
    assert {"TRUNCATED", "BAD_HEADER", "DECODE_FAILED", "NO_GEOMETRY", "GAP"} <= set(report.codes)


def test_many_slices_in_a_small_file_cost_little() -> None:
    acquisition = Acquisition(orientations("HFS", "axial")[0], shape=(6000, 1, 1), step_mm=0.5)
    dataset = enhanced_dataset(acquisition, range(6000), (8, 8, False))
    add_pixels(dataset, [np.zeros((1, 1), int)] * 6000)
    data = file_bytes(dataset, DeflatedExplicitVRLittleEndian)
    assert len(data) < 100_000
    runner = fuzz_convert.Runner()
    try:
        outcome = runner.run(Case("axial", {b"many": data}, "many frames"))
    finally:
        runner.close()
    assert (outcome.kind, outcome.text) == ("", "")


def test_cases_are_repeatable_and_damaged() -> None:
    assert make_case(3, 14) == make_case(3, 14) != make_case(3, 15)
    chance = random.Random(0)
    for name, _, files in seeds():
        whole = next(iter(files.values()))
        if DeflatedExplicitVRLittleEndian.encode() in whole:
            continue  # damaged inside, by make_case
        for damage in DAMAGES:
            damaged = [damage(whole, chance) for _ in range(8)]
            assert any(data != whole for data in damaged), (name, damage.__name__)


def _raises(*_: object) -> None:
    raise ZeroDivisionError


def _crashes(*_: object) -> None:
    faulthandler.disable()
    ctypes.string_at(0)


def _hangs(*_: object) -> None:
    while True:
        pass


def _sleeps(*_: object) -> None:
    time.sleep(60)


def _hoards(*_: object) -> None:
    # More than this process ever held: as a fork of the tests' own it may have been large, and not
    # every system lets a process start counting its peak anew.
    np.ones(int((fuzz_worker.peak_mb() + 160) * 2**17))


def _strays(source: SeriesSource, folder: Path, settings: ConvertSettings) -> None:
    (folder.parent / "elsewhere.txt").write_text("here")


def _tells(source: SeriesSource, folder: Path, settings: ConvertSettings) -> None:
    header = dcmread(source.folder / "1.dcm", stop_before_pixels=True)
    logging.getLogger("spinegrade").warning("patient %s", header.PatientName)


def _change(result: Converted, **values: object) -> None:
    for row in [*result.stacks, *result.rejected]:
        row |= {name: value for name, value in values.items() if name in row}


PLANTED: dict[str, tuple[str, Callable[..., None] | dict[str, object]]] = {
    "an exception": ("exception", _raises),
    "a crash": ("death", _crashes),
    "endless work": ("hang", _hangs),
    "an endless wait": ("hang", _sleeps),
    "memory": ("memory", _hoards),
    "a file elsewhere": ("stray file", _strays),
    "a name in the log": ("text", _tells),
    "a name in a row": ("text", {"volume": "QZXJ"}),
    "no number": ("number", {"intensity_low": float("nan")}),
    "too great a number": ("number", {"slices": 10**20}),
    "a wrong type": ("table", {"plane": "oblique"}),
    "a volume that is not there": ("volume", {"volume": "volumes/1/none.nii"}),
    "another size": ("volume", {"rows": 1}),
    "a flat affine": ("affine", {f"affine_{row}2": 0.0 for row in range(3)}),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found(
    planted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind, fault = PLANTED[planted]
    whole = next(Case(plane, files, name) for name, plane, files in seeds() if name == "native 1")
    bad = Case("axial", {**whole.files, b"bad": b"x"}, "bad")

    def faulty(source: SeriesSource, folder: Path, settings: ConvertSettings) -> Converted:
        result = convert_series(source, folder, settings)
        if (source.folder / "bad").exists():
            if callable(fault):
                fault(source, folder, settings)
            else:
                _change(result, **fault)
        return result

    monkeypatch.setattr(fuzz_worker, "convert_series", faulty)
    monkeypatch.setattr(fuzz_worker, "MOST_MB", 100.0)
    if kind == "hang":
        monkeypatch.setattr(fuzz_convert, "MOST_SECONDS", 0.5)
    monkeypatch.setattr(fuzz_convert, "seeds", lambda: seeds()[:2])
    monkeypatch.setattr(fuzz_worker, "seeds", lambda: seeds()[:2])
    cases = [whole, bad, whole]
    monkeypatch.setattr(fuzz_convert, "make_case", lambda seed, number: cases[number % 3])
    report = fuzz_convert.fuzz(30.0, seed=0, keep=tmp_path, most_cases=3)
    # Found, told, kept; and the cases around it are good.
    assert [(number, outcome.kind) for number, _, outcome in report.faults] == [(1, kind)]
    (kept,) = tmp_path.iterdir()
    assert fuzz_convert.load(kept) == bad
    assert "1 faults" in "\n".join(report.lines())
