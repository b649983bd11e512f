"""docs/errors.md lists the codes of refusals: all that are raised, and none that are not."""

from __future__ import annotations

import ast
import copy
import re
from pathlib import Path

import pytest
from refusals import refused
from spinegrade.errors import SpinegradeError

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "scripts" / "spinegrade"


def raised_and_written() -> tuple[set[str], set[str]]:
    """Codes given to a SpinegradeError (or to a function that raises it), and all words in code."""
    raised, words = set(), set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found: list[ast.AST] = []
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name == "SpinegradeError":
                    found = [word.value for word in node.keywords if word.arg == "code"]
            elif isinstance(node, ast.Assign):
                found = [node.value for name in node.targets if getattr(name, "id", "") == "code"]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
            raised |= {one.value for one in found if isinstance(one, ast.Constant)}
    # Rule files are no Python.
    for path in (PROJECT / "rules").rglob("*.smk"):
        raised |= set(re.findall(r'code="([A-Z_]+)"', path.read_text(encoding="utf-8")))
    codes = {code for code in raised if isinstance(code, str) and code.isupper()}
    return codes, words | codes


def test_the_page_lists_what_is_raised() -> None:
    text = (PROJECT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert len(documented) == len(set(documented)) > 80
    raised, words = raised_and_written()
    assert raised - set(documented) == set()
    assert set(documented) - words == set()


def test_an_error_keeps_code_and_key_between_processes() -> None:
    error = SpinegradeError("cohort.folds is 1", code="FOLDS_TOO_MANY", key="cohort.folds")
    again = copy.copy(error)  # by the means that processes use, too
    assert (str(again), again.code, again.key) == (str(error), error.code, error.key)


@pytest.mark.parametrize(
    ("code", "key", "value"),
    [("B", "a.b", "7"), ("A", None, "7"), ("A", "a.c", "7"), ("A", "a.b", "8")],
)
def test_another_code_key_or_value_is_noticed(code: str, key: str | None, value: str) -> None:
    with pytest.raises(AssertionError), refused(code, value, key=key):
        raise SpinegradeError("a.b is 7", code="A", key="a.b")
