"""What regressors look at: frames and points of frames, by hand and by dots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from keypoint_helpers import affine_of, write_stack
from regressor_helpers import small, write_spines
from spinegrade.geometry.affine import to_mm
from spinegrade.localise.coordinates.frames import Frame, nearest_places
from spinegrade.localise.coordinates.samples import image_of, training_samples
from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL
from spinegrade.tables.files import read_table
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.volumes import load_stacks


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("spines")
    return write_spines(folder, 4, series=("t1", "t2", "ax"), lacking={"s01": ("t1",)})


def samples_of(cohort: dict[str, str], **more: object):
    studies = [f"s{number:02d}" for number in range(4)]
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    return training_samples(small(**more), load_stacks([cohort["stacks"]]), landmarks, studies)


def test_rows_and_columns_are_scaled_each_on_its_own(tmp_path: Path) -> None:
    affine = affine_of([0, 2, 0], [0, 0, -1], [5, 0, 0], [0, 0, 0])
    volume = np.zeros((3, 20, 10), np.int16)
    volume[1, 7, 4] = 200
    frame = Frame(write_stack(tmp_path, volume, affine), 40)
    # Four frame columns and two frame rows a pixel: its centre is (4.5 * 4, 7.5 * 2) - 1/2.
    assert frame.places([[4, 7, 1]])[0] == pytest.approx([17.5, 14.5, 1])
    seen = frame.slices([0, 1, 1])
    assert seen.shape == (3, 40, 40) and not seen[0].any()
    y, x = np.indices((40, 40))
    assert (seen[1] * x).sum() / seen[1].sum() == pytest.approx(17.5, abs=0.05)
    assert (seen[2] * y).sum() / seen[2].sum() == pytest.approx(14.5, abs=0.05)
    assert np.array_equal(seen[1], seen[2])


@pytest.mark.parametrize(
    ("plane", "columns", "rows", "across", "expected"),
    [
        # Columns to the front and rows to the head: both are turned.
        ("sagittal", [0, -1, 0], [0, 0, 1], [5, 0, 0], [19 - 3, 19 - 6, 1]),
        # Rows to the back, columns to the feet: they change places.
        ("sagittal", [0, 0, -1], [0, 1, 0], [5, 0, 0], [6, 3, 1]),
        # Axial slices are seen from head to feet: index 1 of 4 is the third.
        ("axial", [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 6, 2]),
        ("axial", [-1, 0, 0], [0, 1, 0], [0, 0, 5], [19 - 3, 6, 2]),
    ],
)
def test_a_frame_follows_the_patient(
    tmp_path: Path, plane: str, columns: list, rows: list, across: list, expected: list
) -> None:
    volume = np.zeros((4, 20, 20), np.int16)
    volume[1, 6, 3] = 200
    axes = (np.array(axis, float) for axis in (columns, rows, across))
    frame = Frame(write_stack(tmp_path, volume, affine_of(*axes, np.zeros(3)), plane=plane), 20)
    assert frame.places([[3, 6, 1]])[0] == pytest.approx(expected)
    x, y, index = expected
    assert np.argwhere(frame.slices(range(4)) > 100).tolist() == [[index, y, x]]


def test_slices_are_the_nearest_as_torch_takes_them() -> None:
    assert nearest_places(3, 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest_places(7, 4).tolist() == [0, 1, 3, 5]


def test_a_joint_sample_holds_canal_then_left_then_right(cohort: dict[str, str]) -> None:
    samples = samples_of(cohort)
    assert samples.studies == ("s00", "s01", "s02", "s03")
    cells = small().cells
    assert [c.condition for c in cells] == [SPINAL] * 5 + [FORAMINAL] * 10
    assert [c.side for c in cells] == ["central"] * 5 + ["left"] * 5 + ["right"] * 5
    assert samples.known[0].all()
    # Without T1 its points are unknown and its channel is empty.
    assert samples.known[1].tolist() == [True] * 5 + [False] * 10
    image = image_of(small(), samples.looks[1])
    assert image.shape == (2, 32, 32, 32) and not image[0].any() and image[1].any()


@pytest.mark.parametrize("finds", ["foraminal", "canal", ["foraminal", "canal"]])
def test_points_lie_on_their_dots(cohort: dict[str, str], finds: object) -> None:
    more = {"finds": finds, "input": {"frame_px": 128, "image_px": 64}}
    settings = small(**more)
    samples = samples_of(cohort, **more)
    for row in range(0, len(samples), 2):
        image = image_of(settings, samples.looks[row])
        for place, cell in enumerate(settings.cells):
            channel = settings.channel_of_point[place]
            x, y, share = samples.points[row, place]
            slices = samples.looks[row].frames[channel].stack.slices
            shown = np.flatnonzero(samples.looks[row].places[channel] == round(share * slices))
            near = image[
                channel, shown[0], round(y) - 4 : round(y) + 5, round(x) - 5 : round(x) + 6
            ]
            assert near.max() > 60, cell
            peak = np.unravel_index(near.argmax(), near.shape)
            assert abs(peak[0] - 4) <= 2 and abs(peak[1] - 5) <= 3


def test_frame_points_lead_back_to_the_patient(cohort: dict[str, str]) -> None:
    settings = small(finds="foraminal")
    samples = samples_of(cohort, finds="foraminal")
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    of_study = landmarks[(landmarks["study"] == "s00") & (landmarks["condition"] == FORAMINAL)]
    frame = samples.looks[0].frames[0]
    places = samples.points[0].astype(float) * [1, 1, frame.stack.slices]
    found = to_mm(frame.stack.affine, to_mm(frame.to_stack, places))
    for place, cell in enumerate(settings.cells):
        own = of_study[(of_study["level"] == cell.level) & (of_study["side"] == cell.side)]
        assert found[place] == pytest.approx(own[["x_mm", "y_mm", "z_mm"]].to_numpy()[0], abs=1e-3)
