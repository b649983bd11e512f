"""docs/annotations.md, the codes and the configuration's schema say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from spinegrade.annotations.codes import ADVICE, IMPOSSIBLE, NEVER_LOCATED, codes_left_out

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "docs" / "annotations.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(LANDMARK_[A-Z_]+)` \| (\w+) \| (.+) \|$", TEXT, re.MULTILINE)
REPEATED = "LANDMARK_REPEATED"


def test_every_code_is_documented_with_its_advice_and_no_other() -> None:
    assert {code for code, _, _ in ROWS} == set(ADVICE) and len(ROWS) == len(ADVICE)
    for code, _, words in ROWS:
        assert words.endswith(f"To do: {ADVICE[code]}."), code


def test_what_is_left_out_is_documented() -> None:
    documented = {word: {code for code, left, _ in ROWS if left == word} for _, word, _ in ROWS}
    assert documented == {
        "always": NEVER_LOCATED,
        "impossible": IMPOSSIBLE - NEVER_LOCATED,
        "never": {REPEATED},
        "told": set(ADVICE) - IMPOSSIBLE - {REPEATED},
    }


@pytest.mark.parametrize(
    ("leave_out", "codes"),
    [
        ("impossible", IMPOSSIBLE),
        ("all", set(ADVICE) - {REPEATED}),
        ("none", NEVER_LOCATED),
        (["LANDMARK_ONE_SLICE"], NEVER_LOCATED | {"LANDMARK_ONE_SLICE"}),
        ([], NEVER_LOCATED),
    ],
)
def test_the_key_names_the_codes(leave_out: str | list[str], codes: set[str]) -> None:
    assert codes_left_out(leave_out) == codes


def test_the_schema_knows_every_code_that_can_be_left_out() -> None:
    schema = yaml.safe_load(
        (PROJECT / "resources" / "schemas" / "config" / "annotations.yaml").read_text()
    )
    names, listed = schema["properties"]["leave_out"]["anyOf"]
    assert set(listed["items"]["enum"]) == set(ADVICE) - {REPEATED}
    for name in names["enum"]:
        assert codes_left_out(name) >= NEVER_LOCATED
