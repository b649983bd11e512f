"""docs/refusals.md names every refusal, and no other, with the advice that the tables give."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from spinegrade.convert.refusals import REFUSALS
from spinegrade.convert.settings import ConvertSettings

PROJECT = Path(__file__).resolve().parents[2]


def documented() -> dict[str, str]:
    text = (PROJECT / "docs" / "refusals.md").read_text()
    return dict(re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", text, re.MULTILINE))


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    assert set(documented()) == set(REFUSALS)


def test_the_advice_is_the_same() -> None:
    for code, cells in documented().items():
        assert REFUSALS[code] in cells, code


def test_every_code_is_used() -> None:
    folder = PROJECT / "scripts" / "spinegrade" / "convert"
    used = "".join(path.read_text() for path in folder.glob("*.py") if path.name != "refusals.py")
    for code in REFUSALS:
        assert f'"{code}"' in used, code


def test_the_tolerances_are_those_of_the_configuration() -> None:
    config = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())["convert"]
    assert ConvertSettings.of(config) == ConvertSettings()
    text = (PROJECT / "docs" / "refusals.md").read_text()
    for key in config:
        assert f"`{key}`" in text, key
