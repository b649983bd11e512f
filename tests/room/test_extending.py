"""docs/extending.md: every file on the page does what the page says, in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(
    r"^```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
FILES = dict(BLOCK.findall((PROJECT / "docs" / "extending.md").read_text(encoding="utf-8")))
MODEL = "scripts/spinegrade/models/view_maximum.py"
RECIPE = "resources/systems/toy.yaml"


def copied(folder: Path, names: list[str]) -> Path:
    """A copy of the project with these files of the page."""
    for part in ("scripts", "rules", "resources", "envs", "profiles"):
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / part, folder / part, ignore=leave)
    for part in ("Snakefile", "workflow_config.yaml"):
        shutil.copy(PROJECT / part, folder / part)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert not (folder / name).exists()
        (folder / name).write_text(FILES[name], encoding="utf-8")
    return folder


def run(project: Path, *words: str) -> str:
    """What a command of Python says, which must succeed."""
    paths = (project / "scripts", PROJECT / "tests", PROJECT / "tests" / "room")
    environment = {**os.environ, "PYTHONPATH": ":".join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("extended") / "project", [*FILES])


@pytest.mark.parametrize(
    ("step", "configs"),
    [
        ("network", [RECIPE]),
        ("loss", [RECIPE, "toy_focal.yaml"]),
        ("kind", [RECIPE, "toy_even.yaml"]),
    ],
)
def test_what_the_page_adds_is_checked_built_trained_and_predicts(
    project: Path, step: str, configs: list[str]
) -> None:
    run(project, str(PROJECT / "tests" / "room" / "extended.py"), step, *configs)


@pytest.mark.workflow
def test_one_recipe_and_one_model_file_are_a_system(tmp_path: Path) -> None:
    project = copied(tmp_path / "project", [MODEL, RECIPE])
    words = ("-m", "snakemake", "--cores", "1", "--dry-run", "--configfile", RECIPE)
    for target in ("toy", "all"):
        said = run(project, *words, "--", target)
        table = said.partition("Job stats:")[2].partition("total")[0]
        jobs = dict(re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE))
        # Two graders of two folds, and the one localiser that their crops lie around.
        assert (jobs["train_grader"], jobs["predict_grader"]) == ("4", "2")
        assert (jobs["train_localiser"], jobs[target]) == ("2", "1")


def test_the_page_names_what_each_network_and_loss_is_given() -> None:
    text = (PROJECT / "docs" / "extending.md").read_text(encoding="utf-8")
    kinds = {path.parent.name for path in (PROJECT / "scripts/spinegrade").glob("*/*/kind.py")}
    rows = re.findall(r"^\| ((?:`\w+`,? ?)+)", text, re.MULTILINE)
    assert kinds <= {name for row in rows for name in re.findall(r"\w+", row)}
