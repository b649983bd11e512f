"""Small files that claim much are refused by code, in little memory and little time."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bombs import (
    BOMBS,
    HARMLESS,
    JPEG_2000,
    NUMBERS,
    changed,
    codestream,
    packed,
    plain,
    size,
    text,
)
from dicom_helpers import AXIAL, voxels, write_stack
from spinegrade.tables.files import write_table
from spinegrade.tables.series import SERIES

PROJECT = Path(__file__).resolve().parents[2]
SETTINGS = {"max_frame_mb": 16.0, "max_series_mb": 128.0}
# What a file may take beside the interpreter: the greatest file that is read at all (eight
# frames), once as it is and once inflated or decoded, and as much again for what is made of it.
GREATEST_MB = 3 * 8 * SETTINGS["max_frame_mb"]
GREATEST_S = 5.0  # of the processor: other work on the machine does not count
PATIENCE_S = 120.0


class Worker:
    """A process that converts cohorts one after another; started anew when it dies or hangs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(PROJECT / "scripts")}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("bounds_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        return process

    def convert(self, root: Path) -> dict[str, Any]:
        """What became of the cohort under ``root``, how long it took and how much memory."""
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"root": str(root), "settings": SETTINGS}) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
        answer = process.stdout.readline() if ready else ""
        if not answer:
            self.stop()
            pytest.fail("the process died" if ready else f"no answer within {PATIENCE_S:.0f} s")
        return json.loads(answer)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    started = Worker()
    yield started
    started.stop()


def cohort(tmp_path: Path, files: dict[str, bytes]) -> Path:
    """One series of four plain slices and ``files``."""
    folder = "train_images/1/2"
    write_stack(tmp_path / folder, voxels(4, 16, 16), AXIAL)
    for name, content in files.items():
        (tmp_path / folder / name).write_bytes(content)
    row = {"study": "1", "series": "2", "split": "train", "plane": "axial", "weighting": "t2"}
    row |= {"folder": folder, "file_count": 5, "shard": 0, "problem": None}
    write_table(tmp_path / "series.parquet", pd.DataFrame([row]), SERIES)
    return tmp_path


def check(found: dict[str, Any]) -> None:
    assert not found["error"], found["error"]
    assert found["seconds"] < GREATEST_S
    assert found["peak_mb"] < GREATEST_MB


def test_the_bounds_hold_for_plain_slices(tmp_path: Path, worker: Worker) -> None:
    worker.convert(cohort(tmp_path / "warm", {}))
    found = worker.convert(cohort(tmp_path / "measured", {}))
    check(found)
    assert found["slices"] == 4 and not found["rejected"]
    assert found["peak_mb"] < 20


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_claims_much_is_refused(
    tmp_path: Path, worker: Worker, name: str
) -> None:
    codes, make = BOMBS[name]
    content = make(plain(tmp_path))
    assert len(content) < 40e6
    found = worker.convert(cohort(tmp_path, {"9.dcm": content}))
    check(found)
    assert {row["code"] for row in found["rejected"]} <= codes
    if HARMLESS in codes and not found["rejected"]:
        assert found["slices"] == 5
        return
    assert found["rejected"], "the file was not refused"
    # A series that would be too large is refused whole; any other file costs itself alone.
    whole = not isinstance(found["rejected"][0]["file"], str)
    assert found["slices"] == (0 if whole else 4)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_beyond_all_measure_stops_no_shard(
    tmp_path: Path, worker: Worker, name: str
) -> None:
    content = changed(plain(tmp_path), NUMBERS[name]).assembled()
    found = worker.convert(cohort(tmp_path, {"9.dcm": content}))
    check(found)
    refused = [row for row in found["rejected"] if row["file"] == "9.dcm"]
    assert refused or found["slices"] == 5


def test_a_name_of_a_number_beyond_all_measure_stops_no_shard(
    tmp_path: Path, worker: Worker
) -> None:
    own = plain(tmp_path)
    del own.body[0x00200013]
    found = worker.convert(cohort(tmp_path, {"9" * 200 + ".dcm": own.assembled()}))
    check(found)
    assert found["slices"] == 5 or len(found["rejected"]) == 1


def test_many_small_files_that_claim_much_are_a_series_too_large(
    tmp_path: Path, worker: Worker
) -> None:
    own = plain(tmp_path)
    files = {}
    for number in range(40):
        place = text(0x00200032, f"0\\0\\{200 + 4 * number}")
        files[f"{100 + number}.dcm"] = packed(
            own, bytes(codestream()), JPEG_2000, size(4000, 4000), place
        )
    found = worker.convert(cohort(tmp_path, files))
    check(found)
    assert [row["code"] for row in found["rejected"]] == ["TOO_LARGE"]
    assert found["slices"] == 0
