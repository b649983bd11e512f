"""What a change of a delivered cohort changes the digests of, and what it leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from spinegrade.cohort.delivered import Delivered
from spinegrade.cohort.fold_rule import fold_of
from spinegrade.shards import shard_of

STUDIES = [str(number) for number in range(100, 112)]
SHARDS, FOLDS, SALT = 3, 3, 1


def deliver(root: Path, studies: list[str]) -> None:
    for study in studies:
        series = root / "train_images" / study / "1"
        series.mkdir(parents=True, exist_ok=True)
        if not (series / "1.dcm").exists():
            (series / "1.dcm").write_bytes(b"image")
    header = "study_id,series_id,series_description\n"
    rows = [f"{study},1,Sagittal T1\n" for study in studies]
    (root / "train_series_descriptions.csv").write_text(header + "".join(rows))
    # The study need not stand first.
    rows = [f"1,{study},L1/L2,3.0\n" for study in studies]
    (root / "train_label_coordinates.csv").write_text("instance,study_id,level,x\n" + "".join(rows))
    rows = [f"{study},Moderate\n" for study in studies]
    (root / "train.csv").write_text("study_id,grade\n" + "".join(rows))


def digests(root: Path, folds_file: Path | None = None) -> dict[str, str]:
    """Every digest that a rule asks for, by a name."""
    cohort = Delivered(str(root), SHARDS, FOLDS, SALT, str(folds_file) if folds_file else None)
    found = {f"convert {n}": cohort.shard_digest(n, "files", "series") for n in range(SHARDS)}
    found |= {f"locate {n}": cohort.shard_digest(n, "landmarks") for n in range(SHARDS)}
    found |= {f"crop {n}": cohort.shard_digest(n, "folds", "labels") for n in range(SHARDS)}
    kinds = ("files", "series", "landmarks")
    found |= {f"train {n}": cohort.training_digest(n, *kinds) for n in range(FOLDS)}
    found["index"] = cohort.digest("names")
    found["classify"] = cohort.training_digest(None, *kinds, "labels", "folds")
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    deliver(tmp_path, STUDIES)
    return tmp_path


def changed(root: Path, before: dict[str, str]) -> set[str]:
    after = digests(root)
    return {name for name in after if after[name] != before[name]}


def trainings_with(study: str) -> set[str]:
    own = fold_of(study, FOLDS, SALT)
    return {f"train {fold}" for fold in range(FOLDS) if fold != own}


def test_nothing_changes_nothing(root: Path) -> None:
    assert changed(root, digests(root)) == set()


def test_a_changed_file_concerns_its_shard_and_who_learns_from_it(root: Path) -> None:
    before = digests(root)
    (root / "train_images" / "105" / "1" / "1.dcm").write_bytes(b"another image")
    expected = {f"convert {shard_of('105', SHARDS)}", "classify", *trainings_with("105")}
    assert changed(root, before) == expected


def test_a_new_train_study_concerns_its_shard_and_the_folds_that_it_joins(root: Path) -> None:
    before = digests(root)
    deliver(root, [*STUDIES, "400"])
    shard = shard_of("400", SHARDS)
    own = {f"{what} {shard}" for what in ("convert", "locate", "crop")}
    assert changed(root, before) == own | {"index", "classify"} | trainings_with("400")


def test_a_new_test_study_concerns_no_training(root: Path) -> None:
    before = digests(root)
    folder = root / "test_images" / "400" / "9"
    folder.mkdir(parents=True)
    (folder / "1.dcm").write_bytes(b"image")
    assert changed(root, before) == {"index", f"convert {shard_of('400', SHARDS)}"}


def test_a_fetched_file_concerns_its_shard_and_who_learns_from_it(root: Path) -> None:
    # Straight in its series' folder, and one folder deeper.
    for place in ("1.dcm", "DICOM/1.dcm"):
        file = root / "train_images" / "105" / "1" / place
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        file.symlink_to(root / "annex" / place)
        before = digests(root)
        (root / "annex" / place).parent.mkdir(parents=True)
        (root / "annex" / place).write_bytes(b"image")
        expected = {f"convert {shard_of('105', SHARDS)}", "classify", *trainings_with("105")}
        assert changed(root, before) == expected
        shutil.rmtree(root / "annex")


def test_a_file_that_comes_below_a_series_concerns_the_tables_too(root: Path) -> None:
    (root / "train_images" / "105" / "1" / "DICOM").mkdir()
    before = digests(root)
    (root / "train_images" / "105" / "1" / "DICOM" / "2.dcm").write_bytes(b"image")
    expected = {f"convert {shard_of('105', SHARDS)}", "classify", *trainings_with("105")}
    assert changed(root, before) == {"index", *expected}


def test_companions_of_file_managers_concern_nothing(root: Path) -> None:
    before = digests(root)
    (root / "train_images" / "105" / "1" / "Thumbs.db").write_bytes(b"pictures")
    (root / "train_images" / "105" / ".DS_Store").write_bytes(b"places")
    assert changed(root, before) == set()


def test_a_corrected_grade_concerns_crops_and_classifiers(root: Path) -> None:
    before = digests(root)
    table = root / "train.csv"
    table.write_text(table.read_text().replace("103,Moderate", "103,Severe"))
    assert changed(root, before) == {f"crop {shard_of('103', SHARDS)}", "classify"}


def test_a_moved_point_concerns_the_detectors_that_learn_it(root: Path) -> None:
    before = digests(root)
    table = root / "train_label_coordinates.csv"
    table.write_text(table.read_text().replace("1,103,L1/L2,3.0", "1,103,L1/L2,4.0"))
    expected = {f"locate {shard_of('103', SHARDS)}", "classify", *trainings_with("103")}
    assert changed(root, before) == expected


def test_folds_of_a_file_replace_the_rule(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "folds.csv"
    file.write_text("study_id,fold\n" + "".join(f"{s},{n % 3}\n" for n, s in enumerate(STUDIES)))
    before = digests(root, file)
    file.write_text(file.read_text().replace("100,0", "100,1"))
    after = digests(root, file)
    # Study 100 joins the training set of fold 0 and leaves that of fold 1; fold 2 keeps it.
    found = {name for name in after if after[name] != before[name]}
    assert found == {"train 0", "train 1", "classify", f"crop {shard_of('100', SHARDS)}"}


def test_what_was_read_can_be_handed_on(root: Path, tmp_path: Path) -> None:
    first = Delivered(str(root), SHARDS, FOLDS, SALT)
    expected = first.shard_digest(0, "files", "series")
    first.save(tmp_path / "kept.json")
    second = Delivered("/nowhere", SHARDS, FOLDS, SALT)
    second.load(tmp_path / "kept.json")
    assert second.shard_digest(0, "files", "series") == expected
