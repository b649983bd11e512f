"""Runs one at a time, over kills and refusals, and recorded well enough to be repeated."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from miniature_run import run_miniature
from refusals import refused
from spinegrade.runtime.impersonal import impersonal
from spinegrade.runtime.run_record import (
    FORMAT,
    begin_run,
    check_version,
    read_run_config,
    runs_in,
    write_version,
)

PROJECT = Path(__file__).resolve().parents[2]
STATUS = PROJECT / "scripts" / "tools" / "status.py"
pytestmark = pytest.mark.workflow

# The least workflow that works as the project's does: two stages, one of which waits to be let go.
SNAKEFILE = f"""
import sys
from pathlib import Path
sys.path.insert(0, "{PROJECT}/scripts")
from spinegrade.runtime.run_session import watch_run
config = {{"runtime": {{"seed": 7}}, "cohort": {{"root": "{Path.home()}/data", "name": "toy"}}}}
watch_run(workflow, config, "results/toy", "results/toy")
rule all:
    input: "results/toy/b.txt", "results/toy/combine/score.json"
rule first:
    output: "results/toy/a.txt",
    log: "results/toy/logs/first.log",
    benchmark: "results/toy/benchmarks/first.tsv"
    params: code="c0de", fingerprint="f0"
    script: "stage.py"
rule second:
    input: "results/toy/a.txt",
    output: "results/toy/b.txt", "results/toy/combine/score.json",
    log: "results/toy/logs/second.log",
    params: code="c1de", fingerprint="f1"
    script: "stage.py"
rule beside:
    output: "results/toy/side.txt",
    log: "results/toy/logs/beside.log",
    params: code="c2de", fingerprint="f2"
    script: "stage.py"
"""
STAGE = """
import time
from pathlib import Path
from spinegrade.runtime.stage import run_stage
def main(job):
    while job.rule == "first" and not Path("go").exists():
        time.sleep(0.05)
    if Path("fail").exists():
        raise ValueError("no")
    for output in job.output:
        Path(output).write_text(job.rule)
run_stage(snakemake, main)
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "stage.py").write_text(STAGE)
    return tmp_path


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--directory", str(folder), "--cores", "1",
            "--snakefile", str(folder / "Snakefile"), "--rerun-incomplete", *arguments]  # fmt: skip


def snakemake(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(command(folder, *arguments), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def wait_for(what: Callable[[], Any]) -> Any:
    for _ in range(1200):
        try:
            if found := what():
                return found
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError("waited a minute in vain")


def job_of(folder: Path, rule: str) -> int:
    """The process number of a job that runs."""
    status = json.loads((folder / f"results/toy/status/{rule}.json").read_text())
    return status["pid"] if status["state"] == "running" else 0


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def lock_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results/toy/.run_lock").read_text())


def records_of(folder: Path) -> list[dict[str, Any]]:
    """The records of all runs, in the order in which they began."""
    files = sorted((folder / "results/toy/runs").glob("*.json"))
    return [json.loads(file.read_text()) for file in files]


def test_one_run_at_a_time_and_a_killed_one_does_not_stand_in_the_way(toy: Path) -> None:
    (toy / "log").touch()
    with (toy / "log").open("w") as log:
        head = subprocess.Popen(command(toy), stdout=log, stderr=log)
    job = wait_for(lambda: job_of(toy, "first"))
    before = lock_of(toy)
    assert before["pid"] == head.pid and before["ended"] is None

    code, words = snakemake(toy)
    assert code != 0 and f"in use by another run (pid {head.pid} on" in words
    assert "Traceback" not in words and "LockException" not in words
    code, words = snakemake(toy, "--dry-run")
    assert code == 0 and "rule second" in words
    assert lock_of(toy) == before and head.poll() is None

    head.send_signal(signal.SIGKILL)
    head.wait()
    assert list((toy / ".snakemake/locks").iterdir()), "Snakemake left no lock to clear"
    code, words = snakemake(toy)
    assert code != 0 and f"first (pid {job} on" in words and f"`kill {job}`" in words
    psutil.Process(job).kill()
    wait_for(lambda: is_gone(job))

    # Whatever runs no job neither clears nor takes anything.
    part = toy / "results/toy/rois/.part-x.npy"
    part.parent.mkdir()
    part.write_bytes(b"half")
    for flag in ("--dry-run", "--lint", "--list"):
        snakemake(toy, flag)
    assert lock_of(toy)["pid"] == head.pid and list((toy / ".snakemake/locks").iterdir())
    assert part.exists()
    (toy / "go").touch()
    code, words = snakemake(toy)
    assert code == 0 and f"The last run on results/toy (pid {head.pid}" in words, words
    assert (toy / "results/toy/b.txt").read_text() == "second"
    assert not part.exists(), "what the killed run half wrote is left"
    assert lock_of(toy)["outcome"] == "done"
    assert [record["outcome"] for record in records_of(toy)] == ["killed", "done"]


def test_the_record_tells_how_a_run_went(toy: Path) -> None:
    (toy / "go").touch()
    (toy / "fail").touch()
    code, _ = snakemake(toy)
    (record,) = records_of(toy)
    assert code != 0 and record["outcome"] == "failed"
    log = "results/toy/logs/first.log"
    assert record["failures"] == [{"rule": "first", "wildcards": {}, "log": log}]
    (toy / "fail").unlink()
    assert snakemake(toy)[0] == 0
    failed, record = records_of(toy)
    assert failed["outcome"] == "failed" and failed["run"] < record["run"]
    assert record["outcome"] == "done" and record["failures"] == []
    assert record["code"] == {"first": ["c0de"], "second": ["c1de"]}
    assert record["planned"] == {"first": 1, "second": 1}
    assert record["rules"]["first"]["jobs"] == 1 and record["rules"]["first"]["seconds"] > 0
    assert record["seed"] == 7 and record["packages"]["snakemake"]
    assert record["began"] <= record["ended"]
    assert record["machine"]["cores"] == os.cpu_count()
    # Nothing of the user, nothing of the host.
    assert record["config"]["cohort"]["root"] == "~/data"
    # In their order, since detectors and classifiers work in that order.
    assert list(record["config"]) == ["runtime", "cohort"]
    assert list(record["config"]["cohort"]) == ["root", "name"]
    text = (toy / f"results/toy/runs/{record['run']}.json").read_text()
    assert str(Path.home()) + "/" not in text and os.uname().nodename not in record.values()


def test_a_side_target_leaves_what_is_said_of_the_results_alone(toy: Path) -> None:
    (toy / "go").touch()
    assert snakemake(toy)[0] == 0
    score = "combine/score.json"
    (first,) = records_of(toy)
    assert first["made_by"] == {score: first["run"]} and first["outputs"].keys() == {score}
    assert snakemake(toy, "beside")[0] == 0
    kept, beside = records_of(toy)
    assert kept == first
    assert beside["planned"] == {"beside": 1} and beside["run"] > first["run"]
    # The score that stands is named with the run that made it.
    assert beside["outputs"] == first["outputs"] and beside["made_by"] == {score: first["run"]}
    # A run with nothing to do leaves no record.
    assert snakemake(toy)[0] == 0 and len(records_of(toy)) == 2
    asked = [sys.executable, str(STATUS), str(toy / "results/toy")]
    listed = subprocess.run([*asked, "--runs"], capture_output=True, text=True, check=True).stdout
    runs, outputs = listed.split("\n\n")
    assert [line.split()[:2] for line in runs.splitlines()] == [
        [first["run"], "done"],
        [beside["run"], "done"],
    ]
    assert [line.split() for line in outputs.splitlines()] == [
        [first["run"], "a.txt"],
        [first["run"], "b.txt"],
        [first["run"], score],
        [beside["run"], "side.txt"],
    ]
    done = subprocess.run([*asked, "--config", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"no run 'x' is on record; runs: {first['run']}" in done.stderr


def test_the_record_that_was_kept_before_joins_the_others(tmp_path: Path) -> None:
    record = {"began": "2026-01-02T03:04:05+00:00", "config": {"a": 1}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    run = begin_run(tmp_path)
    assert not (tmp_path / "run.json").exists()
    assert runs_in(tmp_path) == ["2026-01-02T03-04-05Z"] and run > "2026-01-02T03-04-05Z"
    assert read_run_config(tmp_path, "2026-01-02T03-04-05Z") == {"a": 1}
    assert read_run_config(tmp_path, run) is None is read_run_config(tmp_path, None)
    (tmp_path / "runs" / f"{run}.json").write_text("{}")
    assert begin_run(tmp_path) > run


def test_the_configuration_to_repeat_is_that_of_the_run_that_made_the_submission(
    tmp_path: Path,
) -> None:
    (tmp_path / "runs").mkdir()
    for run in ("r1", "r2"):
        (tmp_path / "runs" / f"{run}.json").write_text(json.dumps({"config": {"of": run}}))
    asked = [sys.executable, str(STATUS), str(tmp_path), "--config"]

    def config(*run: str) -> str:
        return subprocess.run([*asked, *run], capture_output=True, text=True, check=True).stdout

    assert config() == "of: r2\n"
    note = {"fingerprint": "f", "run": "r1", "outputs": ["combine/submission.csv"], "params": {}}
    (tmp_path / "fingerprints").mkdir()
    (tmp_path / "fingerprints" / "write_submission.json").write_text(json.dumps(note))
    assert config() == "of: r1\n" and config("r2") == "of: r2\n"


def test_a_renamed_folder_and_another_layout_are_refused_with_the_remedy(toy: Path) -> None:
    (toy / "go").touch()
    assert snakemake(toy)[0] == 0
    version = toy / "results/toy/version.json"
    kept = json.loads(version.read_text())
    assert kept["format"] == FORMAT and kept["cohort"] == "toy"
    version.write_text(json.dumps(kept | {"format": 99, "spinegrade": "9.9.9"}))
    for arguments in ((), ("--dry-run",)):
        code, words = snakemake(toy, *arguments)
        assert code != 0 and "made by spinegrade 9.9.9" in words
        assert "give this run another cohort.name" in words and "Traceback" not in words
    version.write_text(json.dumps(kept | {"cohort": "tiger"}))
    code, words = snakemake(toy)
    assert code != 0 and "renamed or copied: give it its name back (results/tiger)" in words


def test_versions_are_told_apart(tmp_path: Path) -> None:
    check_version(tmp_path / "nothing", "a")
    write_version(tmp_path, "a")
    check_version(tmp_path, "a")
    check_version(tmp_path, None)
    with refused("RESULTS_OF_ANOTHER_COHORT", tmp_path):
        check_version(tmp_path, "b")


def test_a_record_names_no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "jdoe")
    monkeypatch.setenv("HOME", "/home/jdoe")
    monkeypatch.chdir(tmp_path)
    given = {"a": ["/home/jdoe/data", "/scratch/jdoe/x", f"{tmp_path}/mine.yaml", 3, None]}
    assert impersonal(given) == {"a": ["~/data", "/scratch/<user>/x", "mine.yaml", 3, None]}


def test_a_run_is_repeated_from_its_record_to_the_byte(finished_run: Path, tmp_path: Path) -> None:
    results = Path("results/miniature")
    (tmp_path / "record" / "runs").mkdir(parents=True)
    kept = tmp_path / "record" / "runs" / "2026-01-02T03-04-05Z.json"
    kept.write_bytes((finished_run / "record.json").read_bytes())
    asked = [sys.executable, str(STATUS), str(tmp_path / "record"), "--config"]
    config = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    (tmp_path / "again.yaml").write_text(config)
    run_miniature(tmp_path / "again", tmp_path / "again.yaml")
    submission = results / "combine" / "submission.csv"
    assert (tmp_path / "again" / submission).read_bytes() == (
        finished_run / submission
    ).read_bytes()
    first = json.loads((finished_run / "record.json").read_text())
    (record,) = (tmp_path / "again" / results / "runs").glob("*.json")
    again = json.loads(record.read_text())
    for key in ("config", "code", "data", "outputs", "packages", "seed", "git"):
        assert first[key] == again[key], key
    assert len(first["data"]) > 5 and len(first["outputs"]) == 3
