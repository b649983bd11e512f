"""What a job leaves beside the results on what its outputs were made with, and by which run.

results/<cohort>/logs/<job>.log -> results/<cohort>/fingerprints/<job>.json. The fingerprint decides
whether the job is stale; the params tell why, once it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from spinegrade.runtime.files import write_json
from spinegrade.runtime.impersonal import impersonal
from spinegrade.runtime.run_lock import read_record

FOLDER = "fingerprints"
# Params that say where a job works, not what it makes.
NO_CONTENT = frozenset({"fingerprint", "checkpoint", "benchmarks"})


class Note(NamedTuple):
    """``run`` is None where no run of the workflow made it, ``params`` None in notes of old.

    ``outputs`` are paths below the results folder.
    """

    fingerprint: str
    run: str | None = None
    outputs: tuple[str, ...] = ()
    params: dict[str, Any] | None = None


def note_of(log: str | Path) -> Path:
    """Where the note of the job that logs to ``log`` is kept."""
    parts = list(Path(log).parts)
    parts[len(parts) - 1 - parts[::-1].index("logs")] = FOLDER
    return Path(*parts).with_suffix(".json")


def params_fingerprint(params: dict[str, Any]) -> str:
    """Sixteen hex digits over named values, those of NO_CONTENT left out."""
    kept = {name: value for name, value in params.items() if name not in NO_CONTENT}
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plain_params(params: dict[str, Any]) -> dict[str, Any]:
    """The params that count, as JSON keeps them, without home folder and user."""
    kept = {name: value for name, value in params.items() if name not in NO_CONTENT}
    return impersonal(json.loads(json.dumps(kept, default=str)))


def leave_note(job: Any) -> None:
    """Write the note of a Snakemake job whose outputs stand."""
    file = note_of(str(job.log[0]))
    results = results_of(str(job.log[0]))
    head = read_record(results)
    note = {
        "fingerprint": job.params.fingerprint,
        "run": head and head.get("run"),
        "outputs": [_below(results, str(path)) for path in job.output],
        "params": plain_params(dict(job.params.items())),
    }
    write_json(file, note)
    file.with_suffix(".txt").unlink(missing_ok=True)


def read_note(file: Path) -> Note | None:
    """The note at ``file``; None where there is none, or one that cannot be read.

    Until notes told more, the fingerprint alone stood in a text file of that name.
    """
    try:
        return Note(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass
    try:
        return Note(file.with_suffix(".txt").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def notes_in(results: str | Path) -> Iterator[Note]:
    """All notes beside the results."""
    for file in sorted(Path(results, FOLDER).rglob("*.json")):
        note = read_note(file)
        if note is not None:
            yield note


def made_by(results: str | Path) -> dict[str, str | None]:
    """By output, below ``results``: the run that made it; None where its note does not say."""
    return {output: note.run for note in notes_in(results) for output in note.outputs}


def results_of(log: str | Path) -> Path:
    """The results folder of the job that logs to ``log``."""
    parts = Path(log).parts
    return Path(*parts[: len(parts) - 1 - parts[::-1].index("logs")])


def _below(results: Path, path: str) -> str:
    return path.removeprefix(f"{results.as_posix()}/")
