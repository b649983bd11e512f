"""What was delivered, study by study, as runs found it: kept to tell later which study changed."""

from __future__ import annotations

import json
from pathlib import Path

from spinegrade.runtime.changes import listed
from spinegrade.runtime.files import write_text

State = dict[str, dict[str, str]]
_KINDS = {
    "new": "new: study {}",
    "gone": "gone: study {}",
    "names": "names of folders and files of study {}",
    "files": "image files of study {}",
    "series": "rows of series of study {}",
    "landmarks": "annotated points of study {}",
    "labels": "grades of study {}",
    "folds": "fold of study {}",
}


def keep_state(results: str | Path, run: str, state: State) -> None:
    """Keep what a run found, by kind and study, unless it is what the run before found."""
    names = _names(results)
    if state and (not names or _read(results, names[-1]) != state):
        write_text(_file(results, run), json.dumps(state))


def read_state(results: str | Path, run: str | None) -> State:
    """What a run found; empty where nothing was kept."""
    names = [name for name in _names(results) if run is not None and name <= run]
    return _read(results, names[-1]) if names else {}


def data_words(changed: dict[str, list[str]]) -> list[str]:
    """Phrases on the studies that changed, by kind."""
    return [
        words.format(listed(changed[kind])) for kind, words in _KINDS.items() if kind in changed
    ]


def _names(results: str | Path) -> list[str]:
    return sorted(file.stem for file in Path(results, "runs", "data").glob("*.json"))


def _read(results: str | Path, name: str) -> State:
    try:
        return json.loads(_file(results, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _file(results: str | Path, name: str) -> Path:
    return Path(results, "runs", "data", f"{name}.json")
