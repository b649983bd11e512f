"""Points checked from headers: the same findings as after conversion, frames told once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_helpers import AXIAL, SAGITTAL, voxels, write_slice, write_stack
from spinegrade.annotations.codes import ADVICE
from spinegrade.convert.landmarks import locate_shard
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.shard import convert_shard
from spinegrade.convert.survey import survey_with_places
from spinegrade.convert.survey_landmarks import SurveyedLandmarks, survey_landmarks
from spinegrade.report.check_annotations import CheckedAnnotations, annotations, annotations_line
from spinegrade.report.parts import Note
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.landmarks import LANDMARKS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.series import SERIES
from spinegrade.tables.studies import STUDIES

CANAL = ("spinal_canal_stenosis", "central")
LEFT, RIGHT = (("subarticular_stenosis", side) for side in ("left", "right"))
KINDS = {"2": ("sagittal", SAGITTAL), "3": ("axial", AXIAL)}


def frame(study: str, series: str) -> str:
    """Study 1 has one frame of reference, the others give every series its own."""
    return f"1.2.{study}" if study == "1" else f"1.2.{study}.{series}"


def deliver(folder: Path) -> None:
    """Four studies of a sagittal series through x = 0 and an axial one of z = 0 to 44 mm.

    The axial slices of study 2 lie 60 mm higher; those of study 4 have no position. Sagittal
    images begin at z = 50 mm, all pixels are of 0.5 mm.
    """
    rows = []
    for study in "1234":
        for series, (plane, orientation) in KINDS.items():
            name = f"{study}{series}"
            first = (8.0, -8.0, 50.0) if plane == "sagittal" else (-20.0, -8.0, 0.0)
            if name == "23":
                first = (-20.0, -8.0, 60.0)
            known = {"FrameOfReferenceUID": frame(study, series)}
            if name == "43":
                known["ImagePositionPatient"] = None
            path = folder / "images" / study / name
            size = (5, 120, 60) if plane == "sagittal" else (12, 40, 80)
            write_stack(path, voxels(*size), orientation, first, shuffle=None, **known)
            row = {"study": study, "series": name, "plane": plane, "weighting": "t2"}
            row |= {"folder": f"images/{study}/{name}", "file_count": size[0]}
            rows.append({**row, "split": "train", "shard": 0, "problem": None})
    write_table(folder / "series.parquet", pd.DataFrame(rows), SERIES)
    studies = pd.DataFrame({"study": list("1234"), "split": "train", "region": "lumbar"})
    studies = studies.assign(shard=0, series_count=2, problem=None)
    write_table(folder / "studies.parquet", studies, STUDIES)
    points = [point(s, "2", CANAL, "l3_l4", 3, 20, 60) for s in "1234"]
    for study in "1234":
        points.append(point(study, "3", LEFT, "l3_l4", 6, 50, 20))
        points.append(point(study, "3", RIGHT, "l3_l4", 6, 30, 20))
    points.append(point("1", "3", LEFT, "l4_l5", 3, 30, 20))
    points.append(point("1", "3", RIGHT, "l4_l5", 3, 50, 20))
    points.append(point("4", "3", LEFT, "l4_l5", 3, 30, 20))
    points.append(point("4", "3", RIGHT, "l4_l5", 3, 50, 20))
    write_table(folder / "landmarks.parquet", pd.DataFrame(points), LANDMARKS)


def point(
    study: str, series: str, cell: tuple[str, str], level: str, number: int, x: float, y: float
) -> dict[str, object]:
    known = {"study": study, "series": f"{study}{series}", "instance_number": number}
    return {**known, "condition": cell[0], "side": cell[1], "level": level, "x_px": x, "y_px": y}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cohort")
    deliver(made)
    return made


def surveyed(folder: Path, leave_out: str = "impossible") -> SurveyedLandmarks:
    return survey_landmarks(
        read_table(folder / "landmarks.parquet", LANDMARKS),
        read_table(folder / "series.parquet", SERIES),
        survey_with_places(folder / "series.parquet", folder, ConvertSettings()),
        leave_out,
    )


def test_points_are_judged_in_the_patient_and_by_numbers_without_positions(folder: Path) -> None:
    table = surveyed(folder).annotations
    found = set(table[["study", "level", "side", "code"]].itertuples(index=False, name=None))
    both = ("left", "right")
    assert found == {
        *(("1", "l4_l5", side, "LANDMARK_SIDES_EXCHANGED") for side in both),
        *(("2", "l3_l4", side, "LANDMARK_SERIES_APART") for side in (*both, "central")),
        *(("4", level, side, "LANDMARK_WITHOUT_SLICE") for level in ("l3_l4", "l4_l5")
          for side in both),
        *(("4", "l4_l5", side, "LANDMARK_SIDES_EXCHANGED") for side in both),
    }  # fmt: skip
    words = table.set_index(["study", "code"])["found"]
    assert set(words["1", "LANDMARK_SIDES_EXCHANGED"]) == {
        "the left point lies 10.0 mm to the patient's right of the right one"
    }
    assert set(words["4", "LANDMARK_SIDES_EXCHANGED"]) == {
        "left at column 30, right at column 50 px"
    }
    # By hand: the canal point at y 2, z 20 mm; the recesses at y 2, z 80 mm.
    apart = set(words["2", "LANDMARK_SERIES_APART"])
    assert apart == {
        f"the level's points lie 60 mm from those in series {other}; the headers of the study's "
        "series name different frames of reference"
        for other in ("22", "23")
    }


def test_different_frames_alone_are_counted_and_held_against_no_study(folder: Path) -> None:
    found = surveyed(folder)
    # Study 4 has one series with positions.
    assert found.frames.studies == 3
    assert found.frames.differing == {"2", "3"}
    assert "3" not in set(found.annotations["study"])


@pytest.mark.parametrize("leave_out", ["impossible", "all", "none"])
def test_after_conversion_the_same_points_are_left_out(
    folder: Path, tmp_path: Path, leave_out: str
) -> None:
    convert_shard(folder / "series.parquet", 0, folder, tmp_path / "convert", {}, "code")
    kinds = ("stacks", "slices", "copies", "rejected")
    converted = {kind: tmp_path / "convert" / "0" / f"{kind}.parquet" for kind in kinds}
    given = (folder / "landmarks.parquet", folder / "studies.parquet")
    places = (tmp_path / "located.parquet", tmp_path / "gone.parquet")
    locate_shard(*given, converted, 0, leave_out, *places)
    gone = read_table(places[1], REJECTED)
    told = surveyed(folder, leave_out).annotations
    told = told[told["left_out"]].drop_duplicates(["series", "level", "side"])
    assert sorted(gone["series"]) == sorted(told["series"])
    assert len(gone) == {"impossible": 6, "all": 9, "none": 4}[leave_out]
    assert len(read_table(places[0], LOCATED_LANDMARKS)) == 16 - len(gone)


def test_a_point_on_a_copy_is_placed_where_the_kept_slice_lies(tmp_path: Path) -> None:
    deliver(tmp_path)
    volume = voxels(12, 40, 80)
    # Slice 6 again, under another number; slice 7 again, as a file of another name.
    position = np.array([-20.0, -8.0, 20.0])
    write_slice(tmp_path / "images" / "1" / "13" / "30.dcm", volume[5], AXIAL, position, 30)
    images = tmp_path / "images" / "1" / "13"
    shutil.copy(images / "7.dcm", images / "31.dcm")
    points = [
        point("1", "3", LEFT, "l3_l4", 30, 50, 20),
        point("1", "3", LEFT, "l2_l3", 31, 50, 20),
    ]
    write_table(tmp_path / "landmarks.parquet", pd.DataFrame(points), LANDMARKS)
    found = surveyed(tmp_path)
    assert found.annotations.empty
    assert found.points["z_mm"].tolist() == [20.0, 24.0]
    convert_shard(tmp_path / "series.parquet", 0, tmp_path, tmp_path / "convert", {}, "code")
    kinds = ("stacks", "slices", "copies", "rejected")
    converted = {kind: tmp_path / "convert" / "0" / f"{kind}.parquet" for kind in kinds}
    given = (tmp_path / "landmarks.parquet", tmp_path / "studies.parquet")
    places = (tmp_path / "located.parquet", tmp_path / "gone.parquet")
    locate_shard(*given, converted, 0, "impossible", *places)
    assert read_table(places[0], LOCATED_LANDMARKS)["z_mm"].tolist() == [20.0, 24.0]


def test_the_page_tells_points_pictures_and_frames(folder: Path) -> None:
    found = surveyed(folder)
    frames = found.frames
    checked = CheckedAnnotations(
        found.points, found.annotations, frames.studies, len(frames.differing), ADVICE
    )
    line = "9 of 16 annotated points contradict others or their images; 6 are left out of training."
    assert annotations_line(checked) == line
    blocks = annotations(checked).blocks
    by_code, listed, numbers = (block for block in blocks if block.kind == "table")
    assert by_code.rows[0][:5] == ["LANDMARK_SERIES_APART", 3, 0, 2, 1]
    assert by_code.rows[1][:5] == ["LANDMARK_SIDES_EXCHANGED", 4, 4, 2, 2]
    assert by_code.rows[2][5] == ADVICE["LANDMARK_WITHOUT_SLICE"]
    assert len(listed.rows) == 11
    assert numbers.rows[0][1:] == [0, "of 6 pairs, up to 0 slices apart"]
    # Study 4 has no recess in the patient to draw, studies 1 and 2 have.
    pictures = [block.caption.split(":")[0] for block in blocks if block.kind == "figure"]
    assert pictures == ["Study 2", "Study 1"]
    notes = [block.text for block in blocks if block.kind == "note"]
    assert notes[-1].startswith("In 2 of 3 studies the series name different frames")


def test_nothing_to_tell_and_nothing_annotated(folder: Path) -> None:
    found = surveyed(folder)
    clean = CheckedAnnotations(found.points[:1], found.annotations[:0], 3, 0, ADVICE)
    assert annotations_line(clean) == "Annotated points: 1; nothing contradicts."
    assert [block.kind for block in annotations(clean).blocks] == ["note", "cards", "table"]
    none = CheckedAnnotations(found.points[:0], found.annotations[:0], 0, 0, ADVICE)
    assert annotations(none).blocks == [Note("The cohort has no annotated points.", "missing")]
