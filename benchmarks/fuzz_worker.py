"""The process in which the fuzzer converts a damaged series, and what it holds against it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fuzz_seeds import PROJECT, TOKEN, seeds

sys.path.insert(0, str(PROJECT / "scripts"))

from spinegrade.convert.refusals import REFUSALS
from spinegrade.convert.series import Converted, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource
from spinegrade.convert.survey import survey_series
from spinegrade.geometry.affine import affine_from_columns
from spinegrade.tables.files import check_table
from spinegrade.tables.named import kind_named
from spinegrade.volumes import open_volume

MOST_MB = 1024.0
SETTINGS = ConvertSettings()
_NIFTI_HEADER_BYTES = 352
_GUARD_BYTES = 6 * 2**30
_WRITING = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod"}

Rows = dict[str, list[dict[str, Any]]]


class Fault(Exception):
    """What a case did that it must not do: a kind and its description."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text = kind, text


@dataclass
class Outcome:
    """What one case came to."""

    codes: list[str] = field(default_factory=list)
    volumes: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    kind: str = ""  # of its fault; "" where there is none
    text: str = ""
    rows: Rows = field(default_factory=dict)  # of each table, for the check of whole tables


class _Watch:
    """Notes what is logged and printed, and what is written elsewhere than below ``allowed``.

    Writing is told by Python's audit events.
    """

    def __init__(self, allowed: Path) -> None:
        self.allowed = str(allowed)
        self.strays: list[str] = []
        self.on = False
        self._log: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: self._log.append(record.getMessage())
        logging.captureWarnings(True)
        logging.getLogger().handlers = [handler]
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 (for as long as the worker)
        for stream in (1, 2):
            os.dup2(self._printed.fileno(), stream)
        sys.addaudithook(self._note)

    def start(self) -> None:
        """Forget the case before."""
        self.strays.clear()
        self._log.clear()
        self._printed.seek(0)
        self._printed.truncate()

    def messages(self) -> str:
        """Everything that was logged, warned of or printed."""
        self._printed.seek(0)
        return "\n".join([*self._log, self._printed.read().decode(errors="replace")])

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = any(letter in (mode or "") for letter in "wax+")
            writes = writes or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            paths = [path] if writes else []
        elif event in _WRITING:
            paths = [a for a in arguments[:2] if isinstance(a, str | bytes | os.PathLike)]
        else:
            return
        for path in paths:
            if isinstance(path, int):
                continue
            name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (must not touch the disk)
            if not name.startswith(self.allowed + os.sep) and name != self.allowed:
                self.strays.append(f"{event} {name}")


def _run_case(folder: Path, plane: str, watch: _Watch) -> Outcome:
    """Convert the series in ``folder``/in, raise Fault for what must not happen."""
    source = SeriesSource("1", "2", "train", plane, "t2", folder / "in")
    watch.start()
    watch.on = True
    try:
        surveyed = survey_series(source, SETTINGS)
        converted = convert_series(source, folder / "out", SETTINGS)
    except Exception as error:
        places = traceback.extract_tb(error.__traceback__)
        inside = [p for p in places if "spinegrade" in p.filename] or list(places)
        where = f"{Path(inside[-1].filename).name}:{inside[-1].lineno} in {inside[-1].name}"
        raise Fault("exception", f"{type(error).__name__} at {where}: {error}"[:300]) from error
    finally:
        watch.on = False
    if watch.strays:
        raise Fault("stray file", watch.strays[0])
    rows: Rows = {**asdict(converted), "verdicts": [surveyed.verdict]}
    _check_rows(rows, surveyed.rejected)
    if TOKEN in watch.messages():
        raise Fault("text", "a warning, a log line or something printed holds header text")
    # A slice lost in decoding, which headers do not show, may leave even steps where none were.
    decoding = ("DECODE_FAILED", "TRUNCATED")
    found = {row["file"] for row in surveyed.rejected if row["code"] in decoding}
    lost = {row["file"] for row in converted.rejected if row["code"] in decoding} - found
    if converted.stacks and surveyed.verdict["verdict"] == "refused" and not lost:
        raise Fault("survey", f"{len(converted.stacks)} volumes of a series that it refuses")
    _check_volumes(converted, folder / "out")
    codes = [row["code"] for row in converted.rejected]
    return Outcome(codes, len(converted.stacks), rows=rows)


def _check_rows(rows: Rows, also_rejected: list[dict[str, Any]]) -> None:
    for row in [*rows["rejected"], *also_rejected]:
        if row["code"] not in REFUSALS:
            raise Fault("code", f"{row['code']} is documented nowhere")
        if row["found"].startswith("no memory"):
            raise Fault("memory", f"{row['code']}: {row['found']}")
    for kind, name, value in ((k, n, v) for k in rows for row in rows[k] for n, v in row.items()):
        if isinstance(value, float) and not np.isfinite(value):
            raise Fault("number", f"{kind}.{name} is {value}")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise Fault("number", f"{kind}.{name} is {value:.3g}")
    text = json.dumps([rows, also_rejected], allow_nan=False, ensure_ascii=False)
    if TOKEN in text:
        at = text.index(TOKEN)
        raise Fault("text", f"a row holds header text: {text[max(at - 60, 0) : at + 20]!r}")
    text.encode()


def refused_table(lot: list[tuple[int, Rows]]) -> str:
    """What the schemas say of the rows of several cases; "" where they are good."""
    for name in lot[0][1]:
        kind = kind_named(name)
        together = [{**row, "study": str(case)} for case, rows in lot for row in rows[name]]
        try:
            check_table(pd.DataFrame(together, columns=list(kind.columns)), kind)
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:300]
    return ""


def table_faults(lot: list[tuple[int, Rows]]) -> list[tuple[int, str]]:
    """Cases whose rows the schemas refuse. Checked together, since one check takes long."""
    text = refused_table(lot) if lot else ""
    if not text:
        return []
    if len(lot) == 1:
        return [(lot[0][0], text)]
    half = len(lot) // 2
    return table_faults(lot[:half]) + table_faults(lot[half:])


def _check_volumes(converted: Converted, out: Path) -> None:
    for row in converted.stacks:
        path = out / row["volume"]
        try:
            shape = open_volume(path).shape
        except Exception as error:
            raise Fault("volume", f"{type(error).__name__}: {error}"[:200]) from error
        if shape != (row["slices"], row["rows"], row["cols"]):
            raise Fault("volume", f"holds {shape}, its row says otherwise")
        with path.open("rb") as file:
            if TOKEN.encode() in file.read(_NIFTI_HEADER_BYTES):
                raise Fault("text", "a volume's header holds header text")
        affine = affine_from_columns(row)
        if abs(np.linalg.det(affine)) < 1e-30:
            raise Fault("affine", f"cannot be inverted: {affine.tolist()}")


def work(connection: Connection, folder: Path) -> None:
    """Run the cases that the parent asks for, until it hangs up."""
    warnings.simplefilter("always")
    os.chdir(folder)
    watch = _Watch(folder / "out")
    # Whole series first: what they load and allocate once is no case's own.
    for _, plane, files in seeds():
        write_files(files, folder)
        _run_case(folder, plane, watch)
    _limit_memory()
    base = _reset_peak()
    connection.send(base)
    while True:
        try:
            plane = connection.recv()
        except EOFError:
            return
        # Each case against its own start: what a fork took over comes and goes.
        base = _reset_peak()
        began = time.perf_counter()
        try:
            outcome = _run_case(folder, plane, watch)
        except Fault as fault:
            outcome = Outcome(kind=fault.kind, text=fault.text)
        outcome.seconds = time.perf_counter() - began
        outcome.peak_mb = peak_mb() - base
        if not outcome.kind and outcome.peak_mb > MOST_MB:
            outcome.kind, outcome.text = "memory", f"{outcome.peak_mb:.0f} MB"
        connection.send(outcome)


def _limit_memory() -> None:
    """A guard for the machine; allocators reserve more addresses than they use memory."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return
    most = pages * resource.getpagesize() + _GUARD_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _reset_peak() -> float:
    """Start counting peak memory anew (Linux; elsewhere the peak is that of all cases)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def peak_mb() -> float:
    """The most memory that this process has held, since the count was last started."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def write_files(files: dict[bytes, bytes], folder: Path) -> None:
    """The files as ``folder``/in, and an empty ``folder``/out."""
    for name in ("in", "out"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    for name, data in files.items():
        Path(os.fsdecode(os.fsencode(folder / "in") + b"/" + name)).write_bytes(data)
