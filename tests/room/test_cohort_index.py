"""A hand-made cohort of three train studies and one test study, good and spoilt."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pandas as pd
import pytest
from spinegrade.cohort.folders import scan_images, study_digests
from spinegrade.cohort.index import CohortTables, index_cohort, read_cohort
from spinegrade.errors import SpinegradeError
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS
from spinegrade.shards import shard_of
from spinegrade.tables.files import read_table
from spinegrade.tables.named import kind_named

COLUMNS = [cell.column for cell in LUMBAR_CELLS]
KINDS = ("Sagittal T1", "Sagittal T2/STIR", "Axial T2")


def make_cohort(root: Path, studies: tuple[str, ...] = ("101", "102", "103")) -> Path:
    """Study n has series n1, n2, n3 (T1, T2, axial) of two files, all normal but one severe."""
    series = [f"{study},{study}{k + 1},{kind}" for study in studies for k, kind in enumerate(KINDS)]
    grades = ["Severe", "", *["Normal/Mild"] * 23]
    tables = {
        "train.csv": [
            ",".join(["study_id", *COLUMNS]),
            *(",".join([study, *grades]) for study in studies),
        ],
        "train_series_descriptions.csv": ["study_id,series_id,series_description", *series],
        "train_label_coordinates.csv": [
            "study_id,series_id,instance_number,condition,level,x,y",
            *(f"{study},{study}2,2,Spinal Canal Stenosis,L1/L2,10.5,20.25" for study in studies),
            *(f"{study},{study}3,1,left_subarticular_stenosis,l5_s1,7,0" for study in studies),
        ],
        "test_series_descriptions.csv": [
            "study_id,series_id,series_description",
            "900,9001,Sagittal T1",
        ],
        "sample_submission.csv": [
            "row_id,normal_mild,moderate,severe",
            *(f"900_{column},0.3,0.3,0.3" for column in COLUMNS),
        ],
    }
    root.mkdir(parents=True)
    for name, lines in tables.items():
        (root / name).write_text("\n".join(lines) + "\n")
    folders = [f"train_images/{study}/{study}{k}" for study in studies for k in (1, 2, 3)]
    for folder in [*folders, "test_images/900/9001"]:
        (root / folder).mkdir(parents=True)
        for number in (1, 2):
            (root / folder / f"{number}.dcm").touch()
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_cohort(tmp_path / "data")


def edit(root: Path, name: str, old: str, new: str, count: int = 1) -> None:
    text = (root / name).read_text()
    assert old in text, f"{old!r} is not in {name}"
    (root / name).write_text(text.replace(old, new, count))


def refusal(root: Path) -> str:
    with pytest.raises(SpinegradeError) as caught:
        read_cohort(root, 4)
    return str(caught.value)


def rejected(cohort: CohortTables) -> list[tuple[str, str | None, str]]:
    rows = cohort.rejected[["study", "series", "code"]].itertuples(index=False)
    return [(r.study, r.series if isinstance(r.series, str) else None, r.code) for r in rows]


def test_good_cohort_gives_five_tables_of_their_kinds(root: Path, tmp_path: Path) -> None:
    index_cohort(root, 4, tmp_path / "out")
    kinds = ("studies", "series", "labels", "landmarks", "rejected")
    studies, series, labels, points, left_out = (
        read_table(tmp_path / "out" / f"{kind}.parquet", kind_named(kind)) for kind in kinds
    )
    assert list(studies["study"]) == ["101", "102", "103", "900"]
    assert list(studies["split"]) == ["train"] * 3 + ["test"]
    assert list(studies["series_count"]) == [3, 3, 3, 1]
    assert studies["problem"].isna().all() and set(studies["region"]) == {"lumbar"}
    assert list(studies["shard"]) == [shard_of(s, 4) for s in studies["study"]]
    second = series[series["series"] == "1012"].iloc[0]
    assert (second["plane"], second["weighting"]) == ("sagittal", "t2")
    assert (second["folder"], second["file_count"]) == ("train_images/101/1012", 2)
    assert len(labels) == 75 and labels["grade"].isna().sum() == 3
    assert list(labels["grade"][:3].fillna(9)) == [2, 9, 0]
    canal, recess = points.iloc[0], points.iloc[3]
    assert (canal["study"], canal["series"], canal["instance_number"]) == ("101", "1012", 2)
    assert (canal["condition"], canal["level"]) == ("spinal_canal_stenosis", "l1_l2")
    assert (canal["side"], canal["x_px"], canal["y_px"]) == ("central", 10.5, 20.25)
    assert (recess["condition"], recess["level"]) == ("subarticular_stenosis", "l5_s1")
    assert (recess["side"], recess["x_px"], recess["y_px"]) == ("left", 7.0, 0.0)
    assert len(left_out) == 0


def test_gzip_extra_columns_and_byte_order_mark_are_read(root: Path) -> None:
    name = "train_label_coordinates.csv"
    lines = (root / name).read_text().splitlines()
    text = "\n".join([lines[0] + ",height,width,fix", *(line + ",512,512,0" for line in lines[1:])])
    with gzip.open(root / f"{name}.gz", "wt") as stream:
        stream.write(text)
    (root / name).unlink()
    labels = (root / "train.csv").read_text().replace("\n", "\r\n")
    (root / "train.csv").write_text("\ufeff" + labels, newline="")
    cohort = read_cohort(root, 1)
    assert (len(cohort.landmarks), len(cohort.labels)) == (6, 75)


def test_ids_stay_text(root: Path) -> None:
    for name in ("train.csv", "train_series_descriptions.csv", "train_label_coordinates.csv"):
        text = (root / name).read_text()
        text = text.replace("\n101,", "\n00098765432109876543210,")
        (root / name).write_text(text)
    (root / "train_images/101").rename(root / "train_images/00098765432109876543210")
    studies = read_cohort(root, 1).studies
    assert studies["study"].iloc[0] == "00098765432109876543210"
    assert studies["problem"].isna().all()


def test_no_test_part_is_fine(root: Path) -> None:
    for name in ("test_series_descriptions.csv", "sample_submission.csv"):
        (root / name).unlink()
    shutil.rmtree(root / "test_images")
    assert set(read_cohort(root, 1).studies["split"]) == {"train"}


REFUSALS = [
    # file, old text, new text, what the message must say
    ("train.csv", "103,Severe", "103,Extreme",
     ["train.csv: unknown grade", "line 4", "study 103", "spinal_canal_stenosis_l1_l2", "'Extreme'",
      "Normal/Mild, Moderate, Severe"]),
    ("train.csv", "spinal_canal_stenosis_l1_l2", "spinal_canal_stenosis_l1_12",
     ["train.csv: missing column", "no column 'spinal_canal_stenosis_l1_l2'",
      "is 'spinal_canal_stenosis_l1_12' meant?"]),
    ("train.csv", "study_id", "patient", ["train.csv: missing column: no column 'study_id'"]),
    ("train.csv", "\n102,", "\n101,",
     ["train.csv: duplicated row", "line 3 repeats study 101 of line 2"]),
    ("train.csv", "\n102,", "\n102.0,", ["train.csv: id is not a number", "line 3", "'102.0'"]),
    ("train.csv", "\n102,", "\n../102,", ["train.csv: id is not a number", "'../102'"]),
    ("train.csv", "\n102,Severe", "\n102", ["wrong number of fields", "line 3 has 25", "26"]),
    ("train_series_descriptions.csv", "101,1012,", "101,1011,",
     ["duplicated row", "line 3 repeats study, series 101, 1011 of line 2"]),
    ("train_series_descriptions.csv", "101,1013,Axial T2", "101,1013,Axial T9",
     ["unknown series description", "line 4", "study 101, series 1013", "'Axial T9'",
      "Sagittal T1, Sagittal T2/STIR, Axial T2"]),
    ("train_series_descriptions.csv", "101,1013,", "101,..,", ["series_id '..'", "digits only"]),
    ("test_series_descriptions.csv", "series_id", "series",
     ["test_series_descriptions.csv: missing column: no column 'series_id'"]),
    ("train_label_coordinates.csv", "Spinal Canal Stenosis", "Spinal Canal Narrowing",
     ["unknown condition", "line 2, study 101, series 1012", "'Spinal Canal Narrowing'",
      "left_neural_foraminal_narrowing"]),
    ("train_label_coordinates.csv", "L1/L2", "L0/L1", ["unknown level", "'L0/L1'", "L5/S1"]),
    ("train_label_coordinates.csv", "10.5,", "nan,", ["bad coordinate", "x is 'nan'", "finite"]),
    ("train_label_coordinates.csv", "10.5,", "-1,", ["bad coordinate", "x is '-1'"]),
    ("train_label_coordinates.csv", "20.25", "inf", ["bad coordinate", "y is 'inf'"]),
    ("train_label_coordinates.csv", "20.25", "", ["bad coordinate", "y is ''"]),
    ("train_label_coordinates.csv", ",2,Spinal", ",2.5,Spinal",
     ["bad instance number", "instance_number is '2.5'"]),
    ("train_label_coordinates.csv", ",x,y", ",x,z", ["missing column", "no column 'y'"]),
    ("sample_submission.csv", "900_spinal_canal_stenosis_l1_l2", "900_spinal_canal_stenosis_l9",
     ["unknown condition or level", "'900_spinal_canal_stenosis_l9'"]),
    ("test_series_descriptions.csv", "900,9001", "101,9001",
     ["study in both parts", "study 101 stands in train.csv"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "said"), REFUSALS)
def test_fault_is_refused(root: Path, name: str, old: str, new: str, said: list[str]) -> None:
    edit(root, name, old, new)
    message = refusal(root)
    for words in said:
        assert words in message, message


@pytest.mark.parametrize(
    "name",
    ["train.csv", "train_label_coordinates.csv", "train_series_descriptions.csv",
     "test_series_descriptions.csv"],
)  # fmt: skip
def test_missing_csv_is_refused(root: Path, name: str) -> None:
    (root / name).unlink()
    assert f"{name}: missing file: no {name} (or {name}.gz) in {root}" in refusal(root)


def test_broken_files_are_refused(root: Path) -> None:
    (root / "train.csv").write_bytes(b"study_id\n\xff\xfe\n")
    (root / "train_series_descriptions.csv").write_text("")
    name = "train_label_coordinates.csv"
    (root / f"{name}.gz").write_bytes(gzip.compress((root / name).read_bytes())[:-20])
    (root / name).unlink()
    message = refusal(root)
    assert "train.csv: unreadable" in message
    assert "train_series_descriptions.csv: empty file" in message
    assert f"{name}.gz: unreadable" in message


@pytest.mark.parametrize(("separator", "word"), [(";", "semicolons"), ("\t", "tabs")])
@pytest.mark.parametrize("packed", [False, True])
def test_another_separator_gets_one_sentence_a_table(
    root: Path, separator: str, word: str, packed: bool
) -> None:
    for path in root.glob("*.csv"):
        text = path.read_text().replace(",", separator)
        if packed:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(text.encode()))
            path.unlink()
        else:
            path.write_text("\ufeff" + text)
    message = refusal(root)
    assert "5 faults" in message
    for name in ("train.csv", "train_series_descriptions.csv", "train_label_coordinates.csv",
                 "test_series_descriptions.csv", "sample_submission.csv"):  # fmt: skip
        told = f"{name}{'.gz' if packed else ''}: not separated by commas: {word} separate its"
        assert told in message


def test_unknown_cell_column_is_refused_and_other_columns_are_passed_over(root: Path) -> None:
    lines = (root / "train.csv").read_text().splitlines()
    for column, refused in (("site", False), ("spinal_canal_stenosis_t12_l1", True)):
        text = "\n".join([f"{lines[0]},{column}", *(f"{line},A" for line in lines[1:])])
        (root / "train.csv").write_text(text)
        if refused:
            assert "unknown condition or level: column 'spinal_canal_stenosis_t12_l1'" in refusal(
                root
            )
        else:
            assert len(read_cohort(root, 1).labels) == 75


def test_all_faults_are_listed_at_once_with_counts(root: Path) -> None:
    edit(root, "train.csv", "Normal/Mild", "Mild", count=-1)
    edit(root, "train_label_coordinates.csv", "L1/L2", "L0/L1")
    shutil.rmtree(root / "train_images")
    message = refusal(root)
    assert "71 faults" in message
    assert "(and 63 more of this kind)" in message
    assert "unknown level" in message
    assert f"{root}/train_images: there is no such folder" in message
    assert len(message.splitlines()) < 25


def test_no_study_in_common_is_refused(root: Path) -> None:
    for study in ("101", "102", "103"):
        (root / "train_images" / study).rename(root / "train_images" / f"7{study}")
    message = refusal(root)
    assert "no train study with images" in message
    assert "none of its 3 folders (7101, 7102, 7103) is a study of train.csv" in message


def test_study_without_images_is_left_out_but_keeps_its_labels(root: Path) -> None:
    shutil.rmtree(root / "train_images/102")
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == [("102", None, "STUDY_WITHOUT_IMAGES")]
    row = cohort.rejected.iloc[0]
    assert "no series folder in train_images/102" in row["found"]
    assert "put its series folders in place" in row["action"]
    studies = cohort.studies.set_index("study")
    assert studies.loc["102", "problem"] == "STUDY_WITHOUT_IMAGES"
    assert studies.loc["102", "series_count"] == 0
    assert len(cohort.labels[cohort.labels["study"] == "102"]) == 25
    assert "102" not in set(cohort.landmarks["study"])
    problems = cohort.series.set_index("study").loc["102", "problem"]
    assert set(problems) == {"SERIES_WITHOUT_FOLDER"}


def test_study_with_empty_folders_only_is_without_images(root: Path) -> None:
    for file in (root / "train_images/102").glob("*/*.dcm"):
        file.unlink()
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == [("102", None, "STUDY_WITHOUT_IMAGES")]
    assert "3 series folders, all empty" in cohort.rejected.iloc[0]["found"]


def test_images_without_a_row_are_left_out(root: Path) -> None:
    (root / "train_images/104/1041").mkdir(parents=True)
    (root / "train_images/104/1041/1.dcm").touch()
    (root / "train_images/no\u200bte").mkdir()
    (root / "train_images/.hidden").mkdir()
    (root / "train_images/desktop.ini").touch()
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == [
        ("104", None, "STUDY_NOT_IN_CSV"),
        ("'no\\u200bte'", None, "STUDY_NOT_IN_CSV"),
    ]
    assert cohort.rejected.iloc[0]["found"] == (
        "1 series folders in train_images, no row in train.csv"
    )
    assert set(cohort.studies["study"]) == {"101", "102", "103", "900"}


def test_series_faults_leave_out_the_series_alone(root: Path) -> None:
    for file in (root / "train_images/101/1012").iterdir():
        file.unlink()
    (root / "train_images/101/1012/Thumbs.db").touch()
    shutil.rmtree(root / "train_images/102/1023")
    (root / "train_images/103/1039").mkdir()
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == [
        ("101", "1012", "EMPTY_SERIES"),
        ("102", "1023", "SERIES_WITHOUT_FOLDER"),
        ("103", "1039", "SERIES_NOT_IN_CSV"),
        ("101", "1012", "LANDMARK_WITHOUT_SERIES"),
        ("102", "1023", "LANDMARK_WITHOUT_SERIES"),
    ]
    assert list(cohort.studies["series_count"]) == [2, 2, 3, 1]
    assert cohort.studies["problem"].isna().all()
    assert len(cohort.landmarks) == 4
    series = cohort.series.set_index("series")["problem"]
    assert (series["1012"], series["1023"]) == ("EMPTY_SERIES", "SERIES_WITHOUT_FOLDER")


def test_study_whose_series_are_not_described_is_left_out(root: Path) -> None:
    text = (root / "train_series_descriptions.csv").read_text().splitlines()
    kept = [line for line in text if not line.startswith("103,")]
    (root / "train_series_descriptions.csv").write_text("\n".join(kept))
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == [("103", None, "STUDY_WITHOUT_SERIES")]
    assert cohort.studies.set_index("study").loc["103", "problem"] == "STUDY_WITHOUT_SERIES"


def test_points_of_a_series_or_study_that_is_not_there(root: Path) -> None:
    with (root / "train_label_coordinates.csv").open("a") as stream:
        stream.write("101,555,1,Spinal Canal Stenosis,L2/L3,1,1\n")
        stream.write("777,7771,1,Spinal Canal Stenosis,L2/L3,1,1\n")
        stream.write("777,7771,1,Spinal Canal Stenosis,L3/L4,1,1\n")
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == [
        ("101", "555", "LANDMARK_WITHOUT_SERIES"),
        ("777", "7771", "LANDMARK_WITHOUT_SERIES"),
    ]
    assert cohort.rejected.iloc[1]["found"].startswith("2 points of train_label_coordinates.csv")
    assert len(cohort.landmarks) == 6


def test_two_points_of_one_cell_are_handed_on(root: Path) -> None:
    with (root / "train_label_coordinates.csv").open("a") as stream:
        stream.write("101,1012,1,Spinal Canal Stenosis,L1/L2,3,4\n")
    landmarks = read_cohort(root, 1).landmarks
    cell = landmarks[(landmarks["series"] == "1012") & (landmarks["level"] == "l1_l2")]
    assert len(cell) == 2
    assert [tuple(row) for row in cell[["instance_number", "x_px"]].to_numpy()][-1] == (1, 3)


def test_test_study_without_images_stays_for_the_submission(root: Path) -> None:
    shutil.rmtree(root / "test_images")
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == [("900", None, "STUDY_WITHOUT_IMAGES")]
    assert cohort.studies.set_index("study").loc["900", "split"] == "test"


def test_digest_of_names_follows_files_that_come_and_go(root: Path) -> None:
    images = root / "train_images"
    before = study_digests(images)
    assert study_digests(images) == before
    (images / "101/1011/3.dcm").touch()
    (images / "102/1021/DICOM").mkdir()
    (images / "102/1021/DICOM/1.dcm").touch()
    (images / "103/1031/Thumbs.db").touch()
    after = study_digests(images)
    names, files = ({study for study in after if after[study][k] != before[study][k]}
                    for k in (0, 1))  # fmt: skip
    assert names == files == {"101", "102"}
    counts = scan_images(images)["101"].series
    assert {name: count.files for name, count in counts.items()} == {
        "1011": 3,
        "1012": 2,
        "1013": 2,
    }
    assert study_digests(root / "nowhere") == {}


def move(root: Path, series: str, place: str) -> None:
    """Rename the two files of a series: ``place`` holds {} for the number."""
    folder = root / "train_images" / series
    for number in (1, 2):
        target = folder / place.format(number)
        target.parent.mkdir(exist_ok=True)
        (folder / f"{number}.dcm").rename(target)


@pytest.mark.parametrize("place", ["IM{:06d}", "{}.IMA", "DICOM/{}.dcm"])
def test_files_count_whatever_they_are_called(root: Path, place: str) -> None:
    move(root, "101/1012", place)
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == []
    assert cohort.series.set_index("series").loc["1012", "file_count"] == 2


def unfetch(root: Path, series: str) -> None:
    for file in (root / "train_images" / series).iterdir():
        file.unlink()
        file.symlink_to("../../../.git/annex/objects/of/it")


def test_links_to_nothing_are_files_of_their_series(root: Path) -> None:
    # Conversion names each of them; the tables stay the same when they are fetched.
    before = read_cohort(root, 1)
    digests = study_digests(root / "train_images")
    for series in ("101/1011", "101/1012", "101/1013"):
        unfetch(root, series)
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == []
    pd.testing.assert_frame_equal(cohort.series, before.series)
    after = study_digests(root / "train_images")
    assert {study for study in after if after[study][0] != digests[study][0]} == set()
    assert {study for study in after if after[study][1] != digests[study][1]} == {"101"}


def test_a_cohort_of_which_nothing_was_fetched_is_refused(root: Path) -> None:
    for folder in (root / "train_images").glob("*/*"):
        unfetch(root, str(folder.relative_to(root / "train_images")))
    message = refusal(root)
    assert "all 18 files of its described series" in message
    assert "are links to nothing; fetch them (git annex get" in message


def test_what_lies_in_the_place_of_a_series_folder_is_named(root: Path) -> None:
    images = root / "train_images"
    for study in ("101", "102", "103"):
        shutil.rmtree(images / study / f"{study}1")
    (images / "101/1011").symlink_to("../../gone")
    (images / "102/1021").touch()
    shutil.rmtree(images / "103")
    (images / "103").symlink_to("../gone")
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == [
        ("101", "1011", "SERIES_WITHOUT_FOLDER"),
        ("102", "1021", "SERIES_WITHOUT_FOLDER"),
        ("103", None, "STUDY_WITHOUT_IMAGES"),
    ]
    linked, file, study = cohort.rejected["found"]
    assert linked.endswith("but train_images/101/1011 is a link to nothing")
    assert file.endswith("but train_images/102/1021 is a file, no folder")
    assert study.endswith("no series folder in train_images/103: it is a link to nothing")


def test_files_beside_the_series_folders_are_named(root: Path) -> None:
    for name in ("1.dcm", "2.dcm", "a\u200bb", "report.pdf", "Thumbs.db"):
        (root / "train_images/101" / name).touch()
    cohort = read_cohort(root, 1)
    assert rejected(cohort) == [("101", None, "FILES_WITHOUT_SERIES")]
    assert cohort.rejected.iloc[0]["found"] == (
        "4 files beside the series folders of train_images/101: 1.dcm, 2.dcm, 'a\\u200bb' .."
    )
    assert cohort.studies["problem"].isna().all()


def test_shards_are_stable_and_even() -> None:
    # First eight bytes of sha256("shard:101"), worked out once with sha256sum.
    assert shard_of("101", 4) == 0x3CB11D895705418D % 4
    counts = pd.Series([shard_of(str(n), 4) for n in range(4000)]).value_counts()
    assert counts.min() > 900 and counts.max() < 1100
