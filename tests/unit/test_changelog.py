"""CHANGELOG.md names each key of earlier configurations with the one that took its place."""

from __future__ import annotations

import re
from pathlib import Path

from spinegrade.setting_moves import MOVED

PAGE = Path(__file__).resolve().parents[2] / "CHANGELOG.md"


def test_each_moved_key_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for entry, (to, keys) in MOVED.items():
        assert f"| `{entry}` | `{to.split(' ')[0]}`" in text
        if keys:
            rest = text.partition(f"\n`{entry}`:\n")[2]
            part = re.split(r"^(?:`|#|Conditions)", rest, flags=re.MULTILINE)[0]
            rows = dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", part, re.MULTILINE))
            assert rows == keys
