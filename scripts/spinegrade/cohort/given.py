"""All that the tables and folders of a cohort say, before they are held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spinegrade.cohort import layout
from spinegrade.cohort.folders import StudyFolder, plain_text, scan_images
from spinegrade.cohort.labels_alone import Labels
from spinegrade.cohort.problems import Problems
from spinegrade.cohort.read_tables import (
    Landmark,
    read_labels,
    read_landmarks,
    read_series,
    read_submission_studies,
)
from spinegrade.errors import SpinegradeError

Described = dict[tuple[str, str], tuple[str, str]]
Folders = dict[str, StudyFolder]

IMAGES = {"train": layout.TRAIN_IMAGES, "test": layout.TEST_IMAGES}
SERIES = {"train": layout.TRAIN_SERIES, "test": layout.TEST_SERIES}


@dataclass(frozen=True)
class Given:
    """What was read: grades, points, described series, submitted studies, folders by part."""

    labels: Labels
    landmarks: list[Landmark]
    described: dict[str, Described]
    submitted: list[str]
    folders: dict[str, Folders]

    def known(self, trains: bool) -> dict[str, set[str]]:
        """Studies by part that the tables name.

        Without training (``trains`` false) a study of the train part needs no row of grades.
        """
        described = {part: {study for study, _ in rows} for part, rows in self.described.items()}
        train = set(self.labels) if trains else {*self.labels, *described["train"]}
        return {"train": train, "test": {*described["test"], *self.submitted}}


def read_given(root: str, trains: bool) -> Given:
    """Read the tables and list the folders under ``root``.

    Where a cohort ``trains``, it needs the three tables of the train part, and images. Where the
    models come from a finished run, a table is needed only beside the images that it describes.
    Raises SpinegradeError listing every fault.
    """
    folders = {part: scan_images(Path(root) / name) for part, name in IMAGES.items()}

    def wanted(table: str, needed: bool) -> bool:
        return needed or layout.csv_path(root, table) is not None

    problems = Problems()
    labels: Labels = {}
    if wanted(layout.LABELS, trains):
        labels = read_labels(root, problems, rows_needed=trains)
    if trains and not labels and not folders["train"] and folders["test"]:
        raise SpinegradeError(
            _nothing_to_train_on(root, folders["test"]), code="COHORT_WITHOUT_IMAGES"
        )
    landmarks = read_landmarks(root, problems) if wanted(layout.LANDMARKS, trains) else []
    described: dict[str, Described] = {}
    for part, table in SERIES.items():
        needed = bool(folders[part]) or (part == "train" and trains)
        described[part] = read_series(root, table, problems) if wanted(table, needed) else {}
    submitted = read_submission_studies(root, problems) if wanted(layout.SUBMISSION, False) else []
    given = Given(labels, landmarks, described, submitted, folders)
    known = given.known(trains)
    for study in sorted(known["train"] & known["test"]):
        problems.add(
            "study in both parts",
            f"study {study} stands in {layout.LABELS if study in labels else layout.TRAIN_SERIES} "
            f"and in {layout.TEST_SERIES} or {layout.SUBMISSION}; allowed: one of the two, else "
            "it would be scored on itself",
        )
    if not folders["train"] and (trains or not folders["test"]):
        note_no_images(root, given, trains, problems)
    problems.raise_if_any(f"the cohort under {root}")
    return given


def _nothing_to_train_on(root: str, studies: Folders) -> str:
    count = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    return (
        f"the cohort under {root} has nothing to train on: {layout.TEST_IMAGES} holds {count}, and "
        f"there is no graded study in {layout.LABELS} and no study in "
        f"{layout.TRAIN_IMAGES}. To grade these studies with trained models, name the results "
        "folder of a finished run in models.from; to train, add the train tables and images"
    )


def note_no_images(root: str, given: Given, trains: bool, problems: Problems) -> None:
    """Note that no study of the part that is needed has images, and what lies there instead."""
    parts = ("train",) if trains else ("train", "test")
    told = "; ".join(f"{Path(root) / IMAGES[part]}: {_what_is_there(root, given, part)}"
                     for part in parts)  # fmt: skip
    problems.add(
        f"no {'train ' if trains else ''}study with images",
        f"{told}; expected <study>/<series>/<instance>.dcm",
    )


def note_not_fetched(root: str, count: int, problems: Problems) -> None:
    """Note that all ``count`` files of the studies that could be used are links to nothing."""
    problems.add(
        "no image was fetched",
        f"all {count} files of its described series under {root} are links to nothing; fetch "
        "them (git annex get, datalad get, dvc pull) and run again",
    )


def _what_is_there(root: str, given: Given, part: str) -> str:
    folder = Path(root) / IMAGES[part]
    if not folder.is_dir():
        return "there is no such folder"
    there = list(given.folders[part])
    if not there:
        return "it holds no study folder"
    few = ", ".join(map(plain_text, there[:3]))
    table = layout.LABELS if part == "train" else layout.TEST_SERIES
    return (
        f"none of its {len(there)} folders ({few}{' ..' if len(there) > 3 else ''}) is a study of "
        f"{table} with images in a series of {SERIES[part]}"
    )
