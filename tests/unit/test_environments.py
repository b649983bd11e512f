"""One set of pins: requirements.txt, the conda environments and pyproject agree."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]


def pins(lines: list[str]) -> dict[str, str]:
    return dict(line.strip().split("==") for line in lines if "==" in line)


def test_conda_environments_hold_the_same_pins() -> None:
    required = pins((PROJECT / "requirements.txt").read_text().splitlines())
    files = sorted((PROJECT / "envs").glob("*.yaml"))
    assert [file.stem for file in files] == ["base", "report", "torch"]
    for file in files:
        listed = yaml.safe_load(file.read_text())["dependencies"][-1]["pip"]
        assert pins(listed).items() <= required.items(), file.name


def test_torch_is_pinned_exactly_and_with_its_companion() -> None:
    required = pins((PROJECT / "requirements.txt").read_text().splitlines())
    assert (required["torch"], required["torchvision"]) == ("2.13.0", "0.28.0")


def test_nothing_names_a_package_host_or_a_local_build() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml", "Makefile"):
        text = (PROJECT / name).read_text()
        for word in ("index-url", "find-links", "file://", "+cpu", "pypi."):
            assert word not in text, (name, word)


def test_the_container_recipe_installs_the_pins_themselves() -> None:
    recipe = (PROJECT / "envs" / "spinegrade.def").read_text()
    python = yaml.safe_load((PROJECT / "envs" / "base.yaml").read_text())["dependencies"][0]
    assert f"From: python:{python.removeprefix('python=')}-" in recipe
    kept = re.search(r"^ +requirements\.txt (\S+)$", recipe, re.MULTILINE)
    assert kept and f"-r {kept[1]}" in recipe
    # No version of its own that could differ.
    assert "==" not in recipe
    default = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())["runtime"]
    assert f"apptainer build {default['container']} envs/spinegrade.def" in recipe


def test_a_cluster_takes_the_same_pins_and_adds_its_executor() -> None:
    lines = (PROJECT / "requirements-slurm.txt").read_text().splitlines()
    assert "-r requirements.txt" in lines
    added = {"snakemake-executor-plugin-slurm", "snakemake-executor-plugin-slurm-jobstep"}
    assert pins(lines).keys() == added
