"""What changes a rule's code fingerprint and what does not, on a small project of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from spinegrade.runtime import fingerprint


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    scripts = tmp_path / "scripts"
    (scripts / "spinegrade" / "models").mkdir(parents=True)
    (scripts / "spinegrade" / "__init__.py").write_text("")
    (scripts / "spinegrade" / "models" / "__init__.py").write_text("")
    (scripts / "spinegrade" / "near.py").write_text("from spinegrade.far import value\n")
    (scripts / "spinegrade" / "far.py").write_text('"""Doc."""\nvalue = 1  # one\n')
    (scripts / "spinegrade" / "models" / "net.py").write_text("width = 8\n")
    (scripts / "stage.py").write_text("from spinegrade import near\n")
    (scripts.parent / "resource.json").write_text("{}")
    monkeypatch.setattr(fingerprint, "SCRIPTS", scripts)
    return scripts / "spinegrade"


def fresh(*modules: str, resources: tuple[str, ...] = ()) -> str:
    return fingerprint.code_fingerprint("stage", *modules, resources=resources)


def test_comments_docstrings_and_layout_leave_it(project: Path) -> None:
    before = fresh()
    (project / "far.py").write_text('"""Another text."""\n\nvalue = (\n    1\n)\n')
    assert fresh() == before


def test_code_two_imports_away_changes_it(project: Path) -> None:
    before = fresh()
    (project / "far.py").write_text("value = 2\n")
    assert fresh() != before


def test_a_module_outside_the_closure_leaves_it(project: Path) -> None:
    before = fresh()
    (project / "models" / "net.py").write_text("width = 16\n")
    assert fresh() == before


def test_a_module_named_in_the_config_counts(project: Path) -> None:
    before = fresh("spinegrade.models.net")
    (project / "models" / "net.py").write_text("width = 16\n")
    assert fresh("spinegrade.models.net") != before


def test_a_resource_counts_by_content(project: Path) -> None:
    before = fresh(resources=("resource.json",))
    (project.parents[1] / "resource.json").write_text('{"a": 1}')
    assert fresh(resources=("resource.json",)) != before


def test_the_pin_of_a_package_counts_where_it_is_imported(project: Path) -> None:
    (project / "far.py").write_text("import numpy\n\nvalue = 1\n")
    pins = project.parents[1] / "requirements.txt"
    pins.write_text("numpy==2.0\ntorch==1.0\n")
    fingerprint._pins.cache_clear()
    before = fresh()
    for text, same in (("numpy==2.0\ntorch==9.0\n", True), ("numpy==3.0\ntorch==9.0\n", False)):
        pins.write_text(text)
        fingerprint._pins.cache_clear()
        assert (fresh() == before) is same


def test_a_module_that_only_logs_leaves_it(project: Path) -> None:
    (project / "training").mkdir()
    (project / "training" / "__init__.py").write_text("")
    (project / "training" / "log.py").write_text("text = 1\n")
    (project / "near.py").write_text("from spinegrade.training.log import text\n")
    before = fresh()
    (project / "training" / "log.py").write_text("text = 2\n")
    assert fresh() == before


def test_what_was_found_is_kept_for_the_next_process(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []
    monkeypatch.setattr(fingerprint.atexit, "register", ends.append)
    monkeypatch.setattr(fingerprint, "_KNOWN", {})
    fingerprint.remember_in(tmp_path / "kept.json")
    before = fresh()
    ends[0]()
    monkeypatch.setattr(fingerprint, "_KNOWN", {})
    fingerprint.remember_in(tmp_path / "kept.json")
    monkeypatch.setattr(fingerprint.ast, "parse", None)  # nothing is parsed again
    assert fresh() == before
    (project / "far.py").write_text("value = 22\n")
    with pytest.raises(TypeError):
        fresh()


def test_an_unknown_module_is_named(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"spinegrade\.models\.absent"):
        fresh("spinegrade.models.absent")
