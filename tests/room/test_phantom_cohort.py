"""The delivered files: bytes that depend on the study alone, headers, tables."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pydicom
import pytest
from refusals import refused
from spinegrade.kaggle_rsna2024 import KAGGLE_GRADES, KAGGLE_SERIES, kaggle_condition, kaggle_level
from spinegrade.phantom.cohort import write_cohort
from spinegrade.phantom.dicom_writer import rle_frame
from spinegrade.phantom.study import PhantomSettings, study_id
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS
from spinegrade.runtime.files import read_json
from spinegrade.tables.files import read_table
from spinegrade.tables.truth import TRUTH

SMALL = {"seed": 11, "scale": 0.15, "missing_series_share": 0.0}

# The elements of a real file of the competition, in order.
ELEMENTS = [
    "SOPInstanceUID",
    "ContentDate",
    "ContentTime",
    "SeriesDescription",
    "PatientID",
    "SliceThickness",
    "SpacingBetweenSlices",
    "PatientPosition",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "SliceLocation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "WindowCenter",
    "WindowWidth",
    "PixelData",
]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(PhantomSettings(studies=3, test_studies=1, **SMALL), folder, 1)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.dcm"))
    }


def test_a_study_is_the_same_bytes_in_any_cohort(cohort: Path, tmp_path: Path) -> None:
    write_cohort(PhantomSettings(studies=2, test_studies=1, **SMALL), tmp_path, 2)
    smaller, larger = contents(tmp_path), contents(cohort)
    assert len(smaller) > 100
    assert all(larger[name] == content for name, content in smaller.items())
    rows = {
        folder: pd.read_csv(folder / "train_label_coordinates.csv", dtype=str).set_index("study_id")
        for folder in (cohort, tmp_path)
    }
    study = study_id(PhantomSettings(**SMALL), "train", 1)
    assert rows[cohort].loc[study].equals(rows[tmp_path].loc[study])


def test_a_cohort_grows_and_shrinks_without_remaking_what_stands(tmp_path: Path) -> None:
    write_cohort(PhantomSettings(studies=1, test_studies=0, **SMALL), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.dcm")}
    write_cohort(PhantomSettings(studies=2, test_studies=0, **SMALL), tmp_path)
    assert len(pd.read_csv(tmp_path / "train.csv")) == 2
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    write_cohort(PhantomSettings(studies=1, test_studies=0, **SMALL), tmp_path)
    assert set(tmp_path.rglob("*.dcm")) == set(before)
    other = PhantomSettings(studies=1, test_studies=0, **{**SMALL, "scale": 0.14})
    write_cohort(other, tmp_path)
    assert read_json(tmp_path / "phantom.json")["scale"] == 0.14
    images = [path for path in before if path.is_file()]
    assert all(path.stat().st_mtime_ns != before[path] for path in images)


def test_headers_are_as_bare_as_the_real_ones(cohort: Path) -> None:
    files = sorted((cohort / "train_images").rglob("*.dcm"))
    identities: dict[str, set[str]] = {}
    for path in files:
        header = pydicom.dcmread(path)
        study, series = path.parts[-3], path.parts[-2]
        assert [element.keyword for element in header] == ELEMENTS
        assert header.file_meta.TransferSyntaxUID.name == "RLE Lossless"
        assert header.file_meta.MediaStorageSOPClassUID.name == "Enhanced MR Image Storage"
        assert header.PatientID == header.StudyInstanceUID == study
        assert header.SeriesInstanceUID == f"{study}.{series}"
        assert header.InstanceNumber == int(path.stem)
        assert header.SeriesDescription in ("T1", "T2")
        identities.setdefault(header.SOPInstanceUID, set()).add(series)
        rows = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        np.testing.assert_allclose(rows @ rows.T, np.eye(2), atol=1e-6)
    # The same SOPInstanceUID stands in every series of a study.
    assert max(len(series) for series in identities.values()) >= 3
    pixels = pydicom.dcmread(files[0]).pixel_array
    assert pixels.dtype == np.uint16 and pixels.max() < 4096 and pixels.std() > 5


def test_rle_stream_by_hand() -> None:
    pixels = np.array([[0x0102, 0x0102, 0x0102, 0x0102]], np.uint16)
    stream = rle_frame(pixels)
    assert stream[:12] == bytes([2, 0, 0, 0, 64, 0, 0, 0, 66, 0, 0, 0])
    # PackBits: 257 - 4 = 253, then the repeated byte; high bytes first.
    assert stream[64:] == bytes([253, 1, 253, 2])
    noise = np.random.default_rng(0).integers(0, 4096, (31, 17)).astype(np.uint16)
    segment = np.frombuffer(rle_frame(noise)[:64], "<u4")
    high = imagecodecs.packbits_decode(rle_frame(noise)[segment[1] : segment[2]])
    assert high[: noise.size] == (noise >> 8).astype(np.uint8).tobytes()


def test_tables_are_those_of_the_competition(cohort: Path) -> None:
    labels = pd.read_csv(cohort / "train.csv", dtype=str)
    assert list(labels.columns) == ["study_id", *(cell.column for cell in LUMBAR_CELLS)]
    assert set(np.unique(labels.iloc[:, 1:].dropna())) <= set(KAGGLE_GRADES)
    series = pd.read_csv(cohort / "train_series_descriptions.csv", dtype=str)
    assert set(series["series_description"]) == set(KAGGLE_SERIES)
    for row in series.itertuples():
        assert (cohort / "train_images" / row.study_id / row.series_id).is_dir()
    assert series["series_id"].is_unique
    test_series = pd.read_csv(cohort / "test_series_descriptions.csv", dtype=str)
    sample = pd.read_csv(cohort / "sample_submission.csv")
    assert list(sample.columns) == ["row_id", "normal_mild", "moderate", "severe"]
    study = test_series["study_id"].unique()
    assert len(study) == 1 and len(sample) == 25
    assert sample["row_id"][0] == f"{study[0]}_spinal_canal_stenosis_l1_l2"
    assert {path.name for path in (cohort / "test_images").iterdir()} == set(study)


def test_landmarks_land_on_the_true_points(cohort: Path) -> None:
    marks = pd.read_csv(cohort / "train_label_coordinates.csv", dtype={"study_id": str})
    truth = read_table(cohort / "truth.parquet", TRUTH).set_index(
        ["study", "condition", "level", "side"]
    )
    assert len(truth) == 4 * 25
    assert len(marks) >= 0.9 * 3 * 25
    misses = []
    for row in marks.itertuples():
        folder = cohort / "train_images" / row.study_id / str(row.series_id)
        header = pydicom.dcmread(folder / f"{row.instance_number}.dcm", stop_before_pixels=True)
        condition, side = kaggle_condition(row.condition)
        true = truth.loc[(row.study_id, condition, kaggle_level(row.level), side)]
        along = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        spacing = float(header.PixelSpacing[0])
        place = np.array(header.ImagePositionPatient, float)
        place = place + spacing * (row.x * along[0] + row.y * along[1])
        miss = true[["x_mm", "y_mm", "z_mm"]].to_numpy(float) - place
        normal = np.cross(*along)
        assert abs(miss @ normal) <= 0.5 * float(header.SpacingBetweenSlices) + 0.6
        misses.append(along @ miss)
    # In the plane what is left is the rater's jitter: 1.3 px at full size, about 0.75 mm.
    assert 0.3 < np.std(misses) < 1.2
    assert np.abs(np.mean(misses, axis=0)).max() < 0.3


def test_floor_and_manifest(cohort: Path) -> None:
    floor = read_json(cohort / "floor.json")
    assert floor["studies"] == 3
    assert 0 < floor["expected"]["total"] < 0.8
    assert set(floor["realised"]) == set(floor["expected"])
    manifest = read_json(cohort / "phantom.json")
    assert (manifest["studies"], manifest["test_studies"], manifest["seed"]) == (3, 1, 11)


def test_ids_are_unlike_each_other_and_numeric() -> None:
    settings = PhantomSettings(seed=5)
    ids = [study_id(settings, split, k) for split in ("train", "test") for k in range(2000)]
    assert len(set(ids)) == 4000 and all(name.isdigit() for name in ids)


def test_unknown_settings_are_refused() -> None:
    with refused("PHANTOM_KEYS", "sutdies", key="phantom"):
        PhantomSettings.from_config({"sutdies": 3})
