"""--sdm apptainer: every job runs in the image that was configured, or the run is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refused
from spinegrade.runtime.containers import container_image, show_in_container

PROJECT = Path(__file__).resolve().parents[2]
MINIATURE = PROJECT / "tests" / "workflow" / "miniature.yaml"
# Says that it is apptainer, and runs the command in mounts of its own in which, as in a container,
# the project is not seen unless it is bound. Python and its packages stand for the image's.
STAND_IN = f"""#!{sys.executable}
import os, subprocess, sys
words = sys.argv[1:]
if "--version" in words:
    print("apptainer version 1.3.4")
    sys.exit()
with open(os.environ["SEEN"], "a") as seen:
    print(*(word for word in words if word.endswith(".sif")), file=seen)
binds = [words[at + 1] for at, word in enumerate(words) if word == "--bind"]
binds = [tuple(bind.split(":")) for bind in binds if ":" in bind]
command = words[words.index("-c") + 1]
project, packages = {str(PROJECT)!r}, {sys.prefix!r}
lines = ["set -e", "mount -t tmpfs none /mnt", "mkdir /mnt/packages /mnt/project"]
lines += [f"mount --bind {{packages}} /mnt/packages", f"mount --bind {{project}} /mnt/project"]
for source, place in binds:
    lines += [f"mkdir -p {{place}}", f"mount --bind {{source}} {{place}}"]
lines += [f"mount -t tmpfs none {{project}}"]
if project in os.environ.get("APPTAINER_BIND", "").split(","):
    lines += [f"mount --bind /mnt/project {{project}}"]
elif packages.startswith(project):
    lines += [f"mkdir -p {{packages}}", f"mount --bind /mnt/packages {{packages}}"]
for name, value in os.environ.items():
    if name.startswith("APPTAINERENV_"):
        lines += [f"export {{name.removeprefix('APPTAINERENV_')}}={{value}}"]
os.execvp("unshare", ["unshare", "-m", "bash", "-c", "\\n".join([*lines, command])])
"""


@pytest.fixture(scope="module")
def mounts() -> None:
    """Skips where nobody may mount."""
    asked = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], check=False)
    if asked.returncode != 0:
        pytest.skip("containers: mounts of one's own need root")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    (bin_folder / "apptainer").write_text(STAND_IN)
    (bin_folder / "apptainer").chmod(0o755)
    path = f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default"), "--cores", "2"]
    command += ["--directory", str(folder), "--configfile", str(MINIATURE), *arguments]
    environment = {**os.environ, "PATH": path, "SEEN": str(folder / "seen")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.workflow
def test_each_job_runs_in_the_configured_image(mounts: None, tmp_path: Path) -> None:
    image = tmp_path / "mine.sif"
    image.touch()
    target = "results/miniature/cohort/folds.parquet"
    done = run(tmp_path, "--sdm", "apptainer", "--config", f"runtime={{container: {image}}}",
               "--", target)  # fmt: skip
    words = done.stdout + done.stderr
    assert done.returncode == 0, words[-3000:]
    jobs = re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)$", words, re.MULTILINE)
    assert len(jobs) >= 3
    assert (tmp_path / "seen").read_text().split() == [str(image)] * len(jobs)


@pytest.mark.workflow
def test_without_the_image_nothing_starts(tmp_path: Path) -> None:
    done = run(tmp_path, "--sdm", "apptainer", "--config", "runtime={container: no.sif}", "-n")
    words = done.stdout + done.stderr
    assert done.returncode != 0 and "there is no container image" in words
    assert "apptainer build no.sif envs/spinegrade.def" in words


def test_an_image_is_an_address_or_a_file_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "a.sif").touch()
    assert container_image("docker://a/b:1", tmp_path) == "docker://a/b:1"
    assert container_image("envs/a.sif", tmp_path) == str(tmp_path / "envs" / "a.sif")
    with refused("CONTAINER_MISSING", "apptainer build", key="runtime.container"):
        container_image("envs/b.sif", tmp_path)


def test_a_container_sees_the_project_and_the_data_under_their_own_paths(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    environment = {"APPTAINER_BIND": "/scratch"}
    show_in_container(environment, tmp_path, [tmp_path / "data", tmp_path / "absent", tmp_path])
    assert environment["APPTAINER_BIND"] == f"/scratch,{tmp_path},{tmp_path}/data"
    assert environment["APPTAINERENV_PYTHONPATH"] == f"{tmp_path}/scripts"
