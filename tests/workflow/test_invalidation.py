"""Which jobs an edit reruns: the exact set, for each kind of edit, on the real workflow.

The rules, the configuration and the code fingerprints are the real ones; only the work of the
jobs is left out (``stand_in``). Each expectation was written before the code that meets it.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import yaml
from spinegrade.cohort.fold_rule import fold_of
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS
from spinegrade.shards import shard_of

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.workflow

SHARDS, FOLDS, SALT = range(2), range(3), 5
DETECTORS = ("sagittal_t1", "sagittal_t2", "axial_t2")
DETECTOR_OF = {
    "canal_sagittal": "sagittal_t2",
    "canal_axial": "axial_t2",
    "foramen_sagittal": "sagittal_t1",
    "recess_axial": "axial_t2",
}
CLASSIFIERS = ("small", "attentive")
TRAIN_STUDIES = [str(number) for number in range(1001, 1013)]
TEST_STUDY, NEW_STUDY, CHANGED_STUDY = "2001", "1020", "1004"
CONFIG = {
    "cohort": {
        "name": "given",
        "kind": "kaggle_rsna2024",
        "root": "data",
        "folds": len(FOLDS),
        "fold_salt": SALT,
    },
    "runtime": {"shards": len(SHARDS)},
    "learners": {
        "attentive": {
            "kind": "cells",
            "reads": {
                "canal": ["canal_sagittal"],
                "foraminal": ["foramen_sagittal"],
                "subarticular": ["recess_axial"],
            },
            "model": {"name": "slice_attention", "encoder": {"backbone": "test_resnet"}},
        }
    },
    "systems": {"demo": {"members": ["small", "attentive"]}},
}


def jobs(rule: str, *wildcards: object) -> set[str]:
    """Names of all jobs of a rule: a name or a list of names for each wildcard."""
    choices = [[w] if isinstance(w, (str, int)) else list(w) for w in wildcards]
    return {" ".join([rule, *map(str, choice)]) for choice in product(*choices)}


ENDS = {"fit_ensemble", "write_submission", "write_report"}


def from_classifiers(*classifiers: str) -> set[str]:
    """Training of these classifiers and all that follows."""
    trained = jobs("train_grader", classifiers, FOLDS)
    return trained | jobs("predict_grader", classifiers) | ENDS


def from_detectors(detectors: list[str], folds: list[int], inferred: list[str]) -> set[str]:
    """Training of detectors on some folds, the inference that uses them and all that follows."""
    cropped = [name for name, detector in DETECTOR_OF.items() if detector in inferred]
    return (
        jobs("train_localiser", detectors, folds)
        | jobs("infer_localiser", inferred, SHARDS)
        | jobs("measure_localiser", inferred)
        | jobs("crop_rois", cropped, SHARDS)
        | from_classifiers(*CLASSIFIERS)
    )


def from_study(study: str) -> set[str]:
    """Its shard's conversion, the trainings that it takes part in, and all that follows."""
    own = shard_of(study, len(SHARDS))
    others = [fold for fold in FOLDS if fold != fold_of(study, len(FOLDS), SALT)]
    start = jobs("convert_dicom", own) | jobs("locate_landmarks", own) | {"fit_mean_shape"}
    return start | from_detectors(list(DETECTORS), others, list(DETECTORS))


def from_test_study(study: str) -> set[str]:
    """Its shard's conversion, inference and crops; nothing is trained."""
    own = shard_of(study, len(SHARDS))
    return (
        {"index_cohort", "split_folds", "fit_mean_shape", *ENDS}
        | jobs("measure_localiser", DETECTORS)
        | jobs("convert_dicom", own)
        | jobs("locate_landmarks", own)
        | jobs("infer_localiser", DETECTORS, own)
        | jobs("crop_rois", DETECTOR_OF, own)
        | jobs("predict_grader", CLASSIFIERS)
    )


def from_landmarks() -> set[str]:
    """Locating the points of all shards, the trainings that learn from them, all that follows."""
    return jobs("locate_landmarks", SHARDS) | from_detectors(
        list(DETECTORS), list(FOLDS), list(DETECTORS)
    )


PACKAGE = "scripts/spinegrade"
# What is edited: a file (empty where there is none yet), a pattern in it, what stands in its place.
EDITS: dict[str, tuple[str, str, str, set[str]]] = {
    "a comment": (f"{PACKAGE}/crop/crop.py", r"\A", "# nothing to see\n", set()),
    "a docstring": (f"{PACKAGE}/crop/crop.py", r'\A"""', '"""Reworded. ', set()),
    "formatting": (f"{PACKAGE}/crop/crop.py", r"\n\n\n", "\n\n\n\n\n", set()),
    "a log message of the training loops": (
        f"{PACKAGE}/training/log.py",
        r"\Z",
        '\n\ndef say() -> None:\n    _LOGGER.info("another line")\n',
        set(),
    ),
    "one model's layer": (
        f"{PACKAGE}/models/slice_attention.py",
        r"nn\.Linear\(",
        "nn.LazyLinear(",
        from_classifiers("attentive"),
    ),
    "a loss": (
        f"{PACKAGE}/losses/weighted_cross_entropy.py",
        r"\Z",
        "\nSMOOTHING = 0.1\n",
        from_classifiers(*CLASSIFIERS),
    ),
    "the metric": (f"{PACKAGE}/metrics/rsna2024.py", r"\Z", "\nCLIP = 1e-12\n", ENDS),
    "another region that appears": (
        f"{PACKAGE}/regions/other.py",
        r"\A",
        'LEVELS = ("c1", "c2")\n',
        set(),
    ),
    "the region of the run": (
        f"{PACKAGE}/regions/lumbar_mri.py",
        r"\Z",
        "\nMORE = 1\n",
        # The delivered tables are read in its words, and all else follows from them.
        {"index_cohort", "split_folds", "fit_mean_shape"}
        | jobs("convert_dicom", SHARDS)
        | from_landmarks(),
    ),
    "a column of a table that this run does not have": (
        f"{PACKAGE}/tables/sequences.py",
        r'"start": whole\(0\)',
        '"start": whole(0), "end": whole(0)',
        set(),
    ),
    "a column of the combined probabilities": (
        f"{PACKAGE}/tables/probabilities.py",
        r'"members": text\(\)',
        '"members": text(), "left_out": text()',
        ENDS,
    ),
    "the crop geometry": (
        f"{PACKAGE}/crop/crop.py",
        r"\Z",
        "\nHALF = 0.5\n",
        jobs("crop_rois", DETECTOR_OF, SHARDS) | from_classifiers(*CLASSIFIERS),
    ),
    "which annotated points are left out": (
        "workflow_config.yaml",
        r"leave_out: impossible",
        "leave_out: all",
        from_landmarks(),
    ),
    "a rule that judges annotated points": (
        f"{PACKAGE}/annotations/levels.py",
        r"OFF_LINE, OFF_END = 0\.5",
        "OFF_LINE, OFF_END = 0.6",
        from_landmarks(),
    ),
    "what the check of annotated points tells beside": (
        f"{PACKAGE}/annotations/counts.py",
        r"\Z",
        "\nMORE = 1\n",
        set(),
    ),
    "one detector's learning rate": (
        "workflow_config.yaml",
        r"(sagittal_t2:\n(?:.*\n)*?.*learning_rate: )0\.003",
        r"\g<1>0.002",
        # Its points guide the axial detector's levels.
        from_detectors(["sagittal_t2"], list(FOLDS), ["sagittal_t2", "axial_t2"]),
    ),
    "one classifier's epochs": (
        "workflow_config.yaml",
        r"epochs: 40, batch_size: 32",
        "epochs: 41, batch_size: 32",
        from_classifiers("small"),
    ),
    "a key that only the inference of a detector uses": (
        "workflow_config.yaml",
        r"max_distance_mm: 15",
        "max_distance_mm: 16",
        from_detectors([], [], ["axial_t2"]),
    ),
    "how a grader looks at cells": (
        "workflow_config.yaml",
        r"(  small:\n    kind: cells\n)",
        r"\g<1>    looks: [plain]\n",
        jobs("predict_grader", ["small"]) | ENDS,
    ),
    "how often trainings are saved and measured": (
        "workflow_config.yaml",
        r"training: \{epochs: (40),",
        r"training: {checkpoint_epochs: 3, validate_every: 2, epochs: \g<1>,",
        set(),
    ),
    "how soon a killed training is saved": (
        "workflow_config.yaml",
        r"checkpoint_minutes: 5",
        "checkpoint_minutes: 6",
        set(),
    ),
    "a classifier's architecture in another family": (
        f"{PACKAGE}/models/heatmap_unet.py",
        r"\Z",
        "\nDEPTH = 3\n",
        from_detectors(list(DETECTORS), list(FOLDS), list(DETECTORS)),
    ),
}


# What a dry run says of it, line by line.
WHY: dict[str, list[str]] = {
    "one model's layer": [
        "  train_grader learner=attentive fold=0,1,2: code of spinegrade.models.slice_attention",
    ],
    "the metric": ["  fit_ensemble: code of spinegrade.metrics.rsna2024"],
    "the region of the run": [
        "  index_cohort: code of spinegrade.regions.lumbar_mri",
        "  crop_rois roi_set=canal_axial,recess_axial,canal_sagittal,foramen_sagittal shard=0,1: "
        "code of spinegrade.regions.lumbar_mri",
        "  write_submission: code of spinegrade.regions.lumbar_mri",
    ],
    "the crop geometry": [
        "  crop_rois roi_set=canal_axial,recess_axial,canal_sagittal,foramen_sagittal shard=0,1: "
        "code of spinegrade.crop.crop",
        "  train_grader learner=attentive fold=0,1,2: code or settings of canal_sagittal, "
        "foramen_sagittal, recess_axial",
    ],
    "one detector's learning rate": [
        "  train_localiser learner=sagittal_t2 fold=0,1,2: "
        "learners.sagittal_t2.training.learning_rate was 0.003, is 0.002",
    ],
    "one classifier's epochs": [
        "  train_grader learner=small fold=0,1,2: learners.small.training.epochs was 40, is 41",
        "  what they read is made anew: fit_ensemble, write_submission",
    ],
}


def deliver(root: Path, train: list[str]) -> None:
    """A cohort in the competition's layout; no job opens a file, so they hold nothing."""
    series = [["study_id", "series_id", "series_description"]]
    tests = [["study_id", "series_id", "series_description"]]
    points = [["study_id", "series_id", "instance_number", "condition", "level", "x", "y"]]
    labels = [["study_id", *(cell.column for cell in LUMBAR_CELLS)]]
    for study in train:
        series.append([study, f"{study}1", "Sagittal T1"])
        points.append([study, f"{study}1", "1", "Spinal Canal Stenosis", "L1/L2", "5", "6"])
        labels.append([study, *["Normal/Mild"] * 25])
    for part, studies in (("train_images", train), ("test_images", studies_to_grade(root))):
        for study in studies:
            file = root / part / study / f"{study}1" / "1.dcm"
            if not file.exists():
                file.parent.mkdir(parents=True)
                file.write_bytes(b"image")
            if part == "test_images":
                tests.append([study, f"{study}1", "Sagittal T1"])
    for name, rows in (
        ("train_series_descriptions.csv", series),
        ("test_series_descriptions.csv", tests),
        ("train_label_coordinates.csv", points),
        ("train.csv", labels),
    ):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def studies_to_grade(root: Path) -> list[str]:
    folder = root / "test_images"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def copy_project(folder: Path) -> None:
    for part in ("Snakefile", "workflow_config.yaml", "requirements.txt"):
        shutil.copy2(PROJECT / part, folder / part)
    ignored = shutil.ignore_patterns("__pycache__")
    for part in ("rules", "scripts", "resources", "profiles", "envs"):
        shutil.copytree(PROJECT / part, folder / part, ignore=ignored)


def snakemake(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "mine.yaml"]
    stand_in = str(Path(__file__).parent / "stand_in")
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": stand_in},
        capture_output=True,
        text=True,
        check=False,
    )
    words = done.stdout + done.stderr
    assert done.returncode == 0, words[-5000:]
    return words


MESSAGES = {
    r"Reading the tables and folders of the cohort": "index_cohort",
    r"Splitting the train studies": "split_folds",
    r"Converting the DICOM series of shard (\d)": "convert_dicom",
    r"Locating the annotated points of shard (\d)": "locate_landmarks",
    r"Fitting the mean shape": "fit_mean_shape",
    r"Training (\w+) on all studies outside fold (\d)": "train",
    r"Finding the points of (\w+) in shard (\d)": "infer_localiser",
    r"Measuring the out-of-fold error of (\w+)": "measure_localiser",
    r"Cropping (\w+) around the keypoints of shard (\d)": "crop_rois",
    r"Predicting with (\w+)": "predict_grader",
    r"Weighing the (?:classifiers|graders|members)": "fit_ensemble",
    r"Writing submission": "write_submission",
    r"Writing the report": "write_report",
}


def planned(folder: Path) -> set[str]:
    """The jobs that a dry run names."""
    return jobs_in(snakemake(folder, "--dry-run"))


def jobs_in(words: str) -> set[str]:
    """The jobs that the words of a dry run name; the clock is no reason for any."""
    assert "spinegrade_clock" not in words
    found = set()
    for message in re.findall(r"^Job \d+: (.*)$", words, re.MULTILINE):
        for pattern, rule in MESSAGES.items():
            match = re.match(pattern, message)
            if match:
                parts = match.groups()
                if rule == "train":
                    rule = "train_localiser" if parts[0] in DETECTORS else "train_grader"
                found.add(" ".join([rule, *parts]))
                break
        else:
            raise AssertionError(f"no rule has the message {message!r}")
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own whose run has finished."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    (folder / "mine.yaml").write_text(yaml.safe_dump(CONFIG))
    test_image = folder / "data" / "test_images" / TEST_STUDY / f"{TEST_STUDY}1"
    test_image.mkdir(parents=True)
    (test_image / "1.dcm").write_bytes(b"image")
    deliver(folder / "data", TRAIN_STUDIES)
    snakemake(folder)
    return folder


@pytest.fixture(params=["with", "without"])
def memory(request: pytest.FixtureRequest, run: Path) -> Iterator[Path]:
    """The finished run, with and without what Snakemake keeps in .snakemake."""
    if request.param == "with":
        yield run
        return
    kept = run.parent / "kept_memory"
    (run / ".snakemake").rename(kept)
    yield run
    shutil.rmtree(run / ".snakemake", ignore_errors=True)
    kept.rename(run / ".snakemake")


def test_nothing_reruns_nothing(memory: Path) -> None:
    assert planned(memory) == set()


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_reruns_what_it_concerns(memory: Path, name: str) -> None:
    file, pattern, instead, expected = EDITS[name]
    path = memory / file
    kept = (path.read_text(), path.stat()) if path.exists() else None
    edited, count = re.subn(pattern, instead, kept[0] if kept else "", count=1)
    assert count == 1, f"{file} has nothing like {pattern}"
    try:
        path.write_text(edited)
        words = snakemake(memory, "--dry-run")
        assert jobs_in(words) == expected
        assert ("Why jobs run:" in words) == bool(expected)
        assert {*WHY.get(name, ())} <= {*words.splitlines()}
    finally:
        if kept:
            before, times = kept
            path.write_text(before)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        else:
            path.unlink()


@pytest.fixture
def data(memory: Path) -> Iterator[Path]:
    """The delivered cohort, put back afterwards with its times."""
    kept = memory.parent / "kept_data"
    shutil.copytree(memory / "data", kept)
    yield memory / "data"
    shutil.rmtree(memory / "data")
    kept.rename(memory / "data")


def test_a_new_train_study_reruns_its_shard_and_the_trainings_it_joins(
    memory: Path, data: Path
) -> None:
    deliver(data, [*TRAIN_STUDIES, NEW_STUDY])
    assert planned(memory) == {"index_cohort", "split_folds"} | from_study(NEW_STUDY)


def test_an_image_changed_in_place_reruns_the_same(memory: Path, data: Path) -> None:
    file = data / "train_images" / CHANGED_STUDY / f"{CHANGED_STUDY}1" / "1.dcm"
    with file.open("r+b") as image:
        image.write(b"IMAGE")
    words = snakemake(memory, "--dry-run")
    assert jobs_in(words) == from_study(CHANGED_STUDY)
    shard = shard_of(CHANGED_STUDY, len(SHARDS))
    assert f"  convert_dicom shard={shard}: image files of study {CHANGED_STUDY}\n" in words


def test_a_new_test_study_trains_nothing(memory: Path, data: Path) -> None:
    folder = data / "test_images" / "2002" / "20021"
    folder.mkdir(parents=True)
    (folder / "1.dcm").write_bytes(b"image")
    deliver(data, TRAIN_STUDIES)
    assert planned(memory) == from_test_study("2002")


@pytest.fixture
def added(memory: Path) -> Iterator[list[Path]]:
    """Files that a test adds to the project; they are gone afterwards."""
    files: list[Path] = []
    yield files
    for file in files:
        file.unlink()


def test_a_new_recipe_and_a_new_kind_of_learner_rerun_nothing(
    memory: Path, added: list[Path]
) -> None:
    """Nor does a new network or loss: what no learner names is no code of any job."""
    package = memory / PACKAGE
    for file, like in {
        memory / "resources/systems/new.yaml": memory / "resources/systems/one_stage_small.yaml",
        memory / "resources/schemas/config/learners/new.yaml": memory
        / "resources/schemas/config/learners/cells.yaml",
        **{
            package / f"grade/new/{part}.py": package / f"grade/cells/{part}.py"
            for part in ("__init__", "kind", "predict", "settings")
        },
        package / "models/new.py": package / "models/slice_channels.py",
        package / "losses/new.py": package / "losses/weighted_cross_entropy.py",
    }.items():
        file.parent.mkdir(exist_ok=True)
        shutil.copy(like, file)
        added.append(file)
    assert planned(memory) == set()


@pytest.mark.parametrize("with_memory", [True, False])
def test_results_copied_to_a_fresh_clone_stay_good(
    run: Path, tmp_path: Path, with_memory: bool
) -> None:
    clone = tmp_path / "clone"
    left = () if with_memory else (".snakemake",)
    shutil.copytree(run, clone, ignore=shutil.ignore_patterns(*left, "scripts", "rules"))
    # A checkout writes its files anew: their times are those of the clone.
    for part in ("scripts", "rules"):
        shutil.copytree(run / part, clone / part, copy_function=shutil.copy)
    assert planned(clone) == set()
    file, pattern, instead, expected = EDITS["one model's layer"]
    path = clone / file
    path.write_text(re.sub(pattern, instead, path.read_text(), count=1))
    assert planned(clone) == expected
