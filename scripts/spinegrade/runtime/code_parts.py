"""The modules behind a code fingerprint, kept beside the results to tell later which changed."""

from __future__ import annotations

import json
from pathlib import Path

from spinegrade.runtime.files import write_text
from spinegrade.runtime.fingerprint import PARTS

PACKAGE = "package "


def parts_of(fingerprint: str) -> dict[str, str] | None:
    """Digests by module and resource, versions by package, of a fingerprint of this process."""
    known = PARTS.get(fingerprint)
    if known is None:
        return None
    return {n: digest if n.startswith(PACKAGE) else digest[:16] for n, digest in known.items()}


def keep_parts(results: str | Path, fingerprint: str) -> None:
    """Keep the parts of a code fingerprint of this process, once."""
    file, parts = _file(results, fingerprint), parts_of(fingerprint)
    if parts is not None and not file.exists():
        write_text(file, json.dumps(parts))


def read_parts(results: str | Path, fingerprint: str) -> dict[str, str] | None:
    """What ``keep_parts`` kept, or None."""
    try:
        return json.loads(_file(results, fingerprint).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _file(results: str | Path, fingerprint: str) -> Path:
    return Path(results, "runs", "code", f"{fingerprint}.json")
