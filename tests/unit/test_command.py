"""The command ``spinegrade`` tells what there is, from the files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from spinegrade import __version__
from spinegrade.command import COMMANDS, main, names, recipes

PROJECT = Path(__file__).resolve().parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "spinegrade.command", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "scripts")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_help_works_anywhere_names_every_command_and_waits_for_no_torch(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert not re.search(r"\| +(torch|timm|pandas)$", done.stderr, re.MULTILINE)
    for word in ("systems", "names", "status", *COMMANDS.values()):
        assert word in done.stdout


def test_every_target_that_it_names_is_a_rule_a_recipe_or_a_system() -> None:
    rules = "\n".join(path.read_text() for path in (PROJECT / "rules").glob("*.smk"))
    for line in COMMANDS.values():
        words = line.split()
        if not words[1].startswith("-") and "resources/systems" not in line:
            assert f"rule {words[1]}:" in rules
        for word in words:
            if word.startswith(("resources/", "profiles/")):
                assert (PROJECT / word).exists()


def test_every_recipe_is_listed_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    files = {f"resources/systems/{p.name}" for p in (PROJECT / "resources/systems").glob("*.yaml")}
    assert recipes().keys() == files and all(len(words) > 20 for words in recipes().values())
    assert main(["systems"]) == 0
    assert set(re.findall(r"^(resources\S+)$", capsys.readouterr().out, re.MULTILINE)) == files


def test_names_are_those_that_a_configuration_may_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert names()["kinds of localiser"] == ["axial_levels", "coordinates", "heatmap"]
    assert names()["kinds of grader"] == ["cells", "levels", "views", "volumes"]
    assert "view_gru" in names()["networks"] and "level_sequence" in names()["losses"]
    assert main(["names"]) == 0
    assert "kinds of grader: cells, levels, views, volumes" in capsys.readouterr().out


def test_status_is_that_of_the_tool(tmp_path: Path) -> None:
    done = run(tmp_path, "status", "nowhere")
    assert done.returncode == 2 and "nowhere" in done.stderr + done.stdout


def test_an_unknown_command_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    done = run(tmp_path, "trian")
    assert done.returncode == 2 and "'trian'" in done.stderr and "systems" in done.stderr


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"spinegrade {__version__}\n"
