"""The real study: its stacks, its annotated points in patient space, its axial slices."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK
from spinegrade.annotations.judge import judge
from spinegrade.annotations.meeting import MEET_MM, level_marks
from spinegrade.annotations.points import add_context
from spinegrade.convert.landmarks import locate_landmarks, place_points
from spinegrade.convert.series import Converted, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource
from spinegrade.geometry.affine import affine_from_columns, to_mm, to_pixels
from spinegrade.geometry.planes import nearest_stack
from spinegrade.geometry.rigid import corner_voxels
from spinegrade.kaggle_rsna2024 import kaggle_condition, kaggle_level
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS, SPINAL, SUBARTICULAR
from spinegrade.tables.files import check_table
from spinegrade.tables.landmarks import LANDMARKS
from spinegrade.tables.slices import SLICES
from spinegrade.tables.stacks import STACKS
from spinegrade.volumes import Stack, stacks_of_table

pytestmark = pytest.mark.real_data

STUDY = "100206310"
T1, T2, AXIAL = "2092806862", "1792451510", "1012284084"
SERIES = {T1: ("sagittal", "t1"), T2: ("sagittal", "t2"), AXIAL: ("axial", "t2")}


class Real:
    """The study unpacked and converted once for all tests of this file."""

    def __init__(self, data: Path, folder: Path) -> None:
        with tarfile.open(data / "rsna2024" / f"train_images_{STUDY}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        self.images = next(folder.rglob(STUDY))
        self.folder = folder
        self.result = Converted()
        for series, (plane, weighting) in SERIES.items():
            source = SeriesSource(STUDY, series, "train", plane, weighting, self.images / series)
            self.result.add(convert_series(source, folder / "convert", ConvertSettings()))
        self.stacks = check_table(pd.DataFrame(self.result.stacks), STACKS)
        self.slices = check_table(pd.DataFrame(self.result.slices), SLICES)
        with gzip.open(data / "rsna2024" / "train_label_coordinates_with_size.csv.gz") as file:
            rows = pd.read_csv(file, dtype={"study_id": str, "series_id": str})
        rows = rows[rows["study_id"] == STUDY]
        cells = [kaggle_condition(text) for text in rows["condition"]]
        landmarks = pd.DataFrame(
            {
                "study": rows["study_id"],
                "series": rows["series_id"],
                "instance_number": rows["instance_number"],
                "condition": [condition for condition, _ in cells],
                "level": [kaggle_level(text) for text in rows["level"]],
                "side": [side for _, side in cells],
                "x_px": rows["x"],
                "y_px": rows["y"],
            }
        )
        self.landmarks = check_table(landmarks, LANDMARKS)
        self.located, self.rejected = locate_landmarks(self.landmarks, self.stacks, self.slices)

    def of(self, series: str) -> list[Stack]:
        table = self.stacks[self.stacks["series"] == series]
        return stacks_of_table(table, self.folder / "convert")


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Real:
    return Real(real_data, tmp_path_factory.mktemp("real"))


def test_sagittal_series_are_one_stack_each(real: Real) -> None:
    for series, shape, pixel in ((T1, (18, 512, 512), 0.68359375), (T2, (18, 462, 448), 0.5357142)):
        (stack,) = real.of(series)
        assert stack.shape == shape
        row = real.stacks[real.stacks["series"] == series].iloc[0]
        assert row["row_spacing_mm"] == pytest.approx(pixel, abs=1e-6)
        assert row["slice_spacing_mm"] == pytest.approx(4.48, abs=1e-5)
        # Numbered from the patient's right, as this scanner happens to do.
        numbers = real.slices.loc[real.slices["series"] == series, "instance_number"]
        assert numbers.tolist() == list(range(1, 19))


def test_the_axial_series_has_six_orientations_in_seven_even_volumes(real: Real) -> None:
    rows = real.slices[real.slices["series"] == AXIAL]
    assert len(rows) == 60
    assert rows["orientation"].nunique() == 6
    # Two of its blocks of eight are parallel, but 5.94 mm apart where their steps are 3.5 mm:
    # one affine cannot hold both.
    by_orientation = rows.groupby("orientation")["stack"].nunique()
    assert sorted(by_orientation) == [1, 1, 1, 1, 1, 2]
    stacks = real.of(AXIAL)
    assert sorted(stack.slices for stack in stacks) == [7, 8, 8, 9, 9, 9, 10]
    spacing = real.stacks.loc[real.stacks["series"] == AXIAL, "slice_spacing_mm"]
    np.testing.assert_allclose(spacing, 3.5, atol=1e-5)
    assert [(row["code"], row["found"][:9]) for row in real.result.rejected] == [
        ("UNEVEN_STEPS", "5.939 mm ")
    ]
    # Feet to head: this scanner numbered from the head.
    assert rows["instance_number"].tolist() == list(range(60, 0, -1))


def test_every_slice_lies_where_its_header_says(real: Real) -> None:
    affines = {
        (row["series"], row["stack"]): affine_from_columns(row)
        for row in real.stacks.to_dict("records")
    }
    for row in real.slices.to_dict("records"):
        header = pydicom.dcmread(real.images / row["series"] / row["file"], stop_before_pixels=True)
        assert int(header.InstanceNumber) == row["instance_number"]
        affine = affines[row["series"], row["stack"]]
        first, along = to_mm(affine, [[0, 0, row["index"]], [100, 0, row["index"]]])
        np.testing.assert_allclose(first, np.array(header.ImagePositionPatient, float), atol=1e-5)
        direction = np.array(header.ImageOrientationPatient[:3], float)
        expected = direction * float(header.PixelSpacing[1]) * 100
        np.testing.assert_allclose(along - first, expected, atol=1e-5)
        corner = np.array([[header.Columns - 1, header.Rows - 1, row["index"]]], float)
        np.testing.assert_allclose(to_pixels(affine, to_mm(affine, corner)), corner, atol=1e-6)


def test_voxels_are_those_of_another_reader(real: Real) -> None:
    for series in SERIES:
        slices = real.slices[real.slices["series"] == series]
        for stack in real.of(series):
            volume = stack.open()
            for row in slices[slices["stack"] == stack.stack].iloc[::5].itertuples():
                image = SimpleITK.ReadImage(str(real.images / series / row.file))
                np.testing.assert_array_equal(
                    volume[row.index], SimpleITK.GetArrayFromImage(image)[0]
                )


def test_every_volume_opens_where_it_lies(real: Real) -> None:
    for row in real.stacks.to_dict("records"):
        image = SimpleITK.ReadImage(str(real.folder / "convert" / row["volume"]))
        true = affine_from_columns(row)
        corners = corner_voxels((row["slices"], row["rows"], row["cols"]))
        seen = [image.TransformContinuousIndexToPhysicalPoint(list(corner)) for corner in corners]
        apart = np.linalg.norm(seen - to_mm(true, corners), axis=1)
        assert apart.max() < 1e-3  # no shear: far less than half a pixel
        assert row["shear_degrees"] < 1e-4


def test_all_annotated_points_are_located_and_left_lies_left(real: Real) -> None:
    assert real.rejected.empty
    assert len(real.located) == len(real.landmarks) == 25
    both = real.located[real.located["side"] != "central"].pivot_table(
        index=["condition", "level"], columns="side", values="x_mm"
    )
    assert len(both) == 10 and (both["left"] > both["right"]).all()


def test_the_check_finds_nothing_in_it(real: Real) -> None:
    points = place_points(real.landmarks, real.stacks, real.slices)
    assert judge(points).empty
    marks = level_marks(add_context(points)).set_index("rank")[["x_mm", "y_mm", "z_mm"]]
    middles = [marks.loc[rank] - marks.loc[rank].mean() for rank in range(5)]
    # No two series can then be farther apart than the check allows.
    assert max(np.linalg.norm(part, axis=1).max() for part in middles) < MEET_MM / 2


def plane_distance(header: pydicom.Dataset, point_mm: np.ndarray) -> float:
    axes = np.array(header.ImageOrientationPatient, float)
    offset = point_mm - np.array(header.ImagePositionPatient, float)
    return float(abs(offset @ np.cross(axes[:3], axes[3:])))


def test_canal_points_lead_to_the_annotated_axial_slice(real: Real) -> None:
    stacks = real.of(AXIAL)
    axial = real.slices[real.slices["series"] == AXIAL]
    number = {(r.stack, r.index): r.instance_number for r in axial.itertuples()}
    annotated = real.landmarks[real.landmarks["condition"] == SUBARTICULAR]
    headers = [
        pydicom.dcmread(path, stop_before_pixels=True) for path in (real.images / AXIAL).iterdir()
    ]
    distances = []
    for level in LUMBAR_LEVELS:
        point = real.located[
            (real.located["condition"] == SPINAL) & (real.located["level"] == level)
        ].iloc[0]
        point_mm = point[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
        nearest = nearest_stack(stacks, point_mm)
        assert nearest is not None
        found = number[stacks[nearest.stack].stack, nearest.index]
        # The same by the headers alone: the slice whose plane is nearest.
        by_header = {int(h.InstanceNumber): plane_distance(h, point_mm) for h in headers}
        assert found == min(by_header, key=by_header.__getitem__)
        assert nearest.distance_mm == pytest.approx(by_header[found], abs=1e-4)
        distances.append(nearest.distance_mm)
        at_level = annotated[annotated["level"] == level]
        assert abs(found - at_level["instance_number"]).max() <= 1
        # The canal lies between the two annotated recesses, left of the image's right one.
        assert at_level["x_px"].min() < nearest.x_px < at_level["x_px"].max()
    assert max(distances) < 1.75  # half a step
