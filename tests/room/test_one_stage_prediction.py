"""Prediction of the one-stage networks: answers by hand, both looks, and no leak."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learner_helpers import CPU, stand_ins
from one_stage_helpers import samples_of, small, small_block, train, write_cohort
from spinegrade.geometry.affine import to_mm
from spinegrade.grade.volumes import predict as kind
from spinegrade.grade.volumes.answers import Looks, look, mean_answer
from spinegrade.grade.volumes.canvas import CanvasGeometry
from spinegrade.grade.volumes.reading import read_packed
from spinegrade.models.one_stage_canal import CanalOutput
from spinegrade.models.one_stage_foraminal import ForaminalOutput
from spinegrade.models.registry import build
from spinegrade.tables.files import read_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.studies import STUDIES
from spinegrade.training.fold_models import Cohort
from spinegrade.training.record import read_weights
from spinegrade.training.task import Moment
from spinegrade.volumes import load_stacks

AT = Moment(CPU, torch.float32)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> dict[str, str]:
    return write_cohort(tmp_path_factory.mktemp("t1"), "foraminal", 8, two_series=("s01", "s08"))


@pytest.fixture(scope="module")
def canal_cohort(tmp_path_factory) -> dict[str, str]:
    return write_cohort(tmp_path_factory.mktemp("t2"), "canal", 8)


class Foraminal(torch.nn.Module):
    """Finds a point of each volume at (8 + k, 6) mask px in slice k, and grades by its slices."""

    def forward(self, slices, lengths):
        logits = torch.full((10, len(slices), 16, 16), -30.0)
        points, start = torch.zeros(len(lengths), 10, 3), 0
        for volume, length in enumerate(lengths):
            for k in range(10):
                place = (8 + k % 5, 6, k % length)
                logits[k, start + place[2], place[1], place[0]] = 0.0
                points[volume, k] = torch.tensor(place)
            start += length
        grades = torch.tensor([0.0, 1.0, 2.0]).log().expand(len(lengths), 10, 3)
        return ForaminalOutput(logits, points, grades.clamp(min=-9))


def test_an_answer_by_hand():
    slices = torch.zeros(8, 64, 64, dtype=torch.uint8)
    found = look(Foraminal(), slices, [8], small("foraminal"), AT)
    assert found.plain is None
    # A mask pixel is 4 canvas px: (8 + 1/2) * 4 - 1/2.
    np.testing.assert_allclose(found.final.points[0, 0], [33.5, 25.5, 0])
    np.testing.assert_allclose(found.final.points[0, 7], [41.5, 25.5, 7])
    np.testing.assert_allclose(found.final.grades[0, 3], [0, 1 / 3, 2 / 3], atol=1e-4)
    np.testing.assert_allclose(found.final.confidence, 1)


def test_confidence_is_the_probability_near_the_point():
    class Spread(torch.nn.Module):
        """Half of point 0 at (2, 2) in slice 1, a quarter 3 px beside, a quarter 2 slices off."""

        def forward(self, slices, lengths):
            chances = torch.full((10, 4, 16, 16), 1e-12)
            chances[:, 1, 2, 2], chances[:, 1, 2, 5], chances[:, 3, 2, 2] = 0.5, 0.25, 0.25
            points = torch.tensor([2.0, 2, 1]).expand(1, 10, 3)
            return ForaminalOutput(chances.log(), points, torch.zeros(1, 10, 3))

    slices = torch.zeros(4, 64, 64, dtype=torch.uint8)
    found = look(Spread(), slices, [4], small("foraminal"), AT)
    np.testing.assert_allclose(found.final.confidence, 0.75, atol=1e-6)


def test_canal_confidence_is_that_in_the_plane_times_that_along_the_slices():
    class Spread(torch.nn.Module):
        def forward(self, slices, lengths):
            along = torch.tensor([0.1, 0.5, 0.2, 0.2]).log().expand(5, 4)
            maps = torch.full((1, 5, 16, 16), 1e-12)
            maps[..., 4, 4], maps[..., 4, 9] = 0.6, 0.4
            points = torch.tensor([4.0, 4, 1]).expand(1, 5, 3)
            third = torch.full((1, 5, 3), 1 / 3)
            return CanalOutput(along, maps.log(), points, third, torch.full((1, 3, 16, 16), 1 / 3))

    slices = torch.zeros(4, 64, 64, dtype=torch.uint8)
    found = look(Spread(), slices, [4], small("canal"), AT)
    np.testing.assert_allclose(found.final.confidence, 0.6 * 0.8, atol=1e-6)


@pytest.mark.parametrize("target", ["foraminal", "canal"])
def test_a_mirrored_patient_has_the_mirrored_answer_under_left_right(target, cohort, canal_cohort):
    settings = small(target, looks=["plain", "mirrored"])
    samples = samples_of(cohort if target == "foraminal" else canal_cohort, settings)
    torch.manual_seed(3)
    network = build(settings.model_name, **settings.network_options()).eval()
    slices, lengths, *_ = read_packed(samples, np.array([0, 1]))
    turned = torch.cat([part.flip(0) for part in slices.split(lengths)])
    with_tta = [look(network, s, lengths, settings, AT, True) for s in (slices, turned)]
    mirror = list(settings.points.mirror)
    own, other = (one.final for one in with_tta)
    np.testing.assert_allclose(own.points[..., :2], other.points[:, mirror, :2], atol=1e-4)
    np.testing.assert_allclose(own.points[..., 2], 7 - other.points[:, mirror, 2], atol=1e-4)
    np.testing.assert_allclose(own.grades, other.grades[:, mirror], atol=1e-5)
    np.testing.assert_allclose(own.confidence, other.confidence[:, mirror], atol=1e-5)
    plain = [one.plain for one in with_tta]
    np.testing.assert_allclose(
        own.grades, mean_answer([plain[0], plain[1]._replace(grades=plain[1].grades[:, mirror])])
        .grades, atol=1e-6,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cohort) -> list[str]:
    folder = tmp_path_factory.mktemp("trained")
    block = small_block("foraminal", training={"epochs": 1})
    return [str(train(folder, cohort, block, fold)) for fold in range(2)]


def everyone(cohort, studies=None, folds=True) -> Cohort:
    table = read_table(cohort["studies"], STUDIES)
    names = sorted(studies or table["study"])
    if not folds:
        return Cohort(names, frozenset(names), None)
    of_fold = read_table(cohort["folds"], FOLDS)
    by_study = dict(zip(of_fold["study"], of_fold["fold"].astype(int), strict=True))
    return Cohort(names, frozenset(table.loc[table["split"] == "test", "study"]), by_study)


def networks_of(trained, settings):
    found = []
    for path in trained:
        weights, record = read_weights(path)
        network = kind.network_of(settings, None, record, weights)
        network.load_state_dict(weights)
        found.append(network.eval())
    return found


def predicted(cohort, networks, settings=None, stacks=None, of=None):
    settings = settings or small("foraminal", training={"epochs": 1})
    stacks = load_stacks([cohort["stacks"]]) if stacks is None else stacks
    opened = kind.Opened(stacks, None)
    of = of or everyone(cohort)
    return kind.predict(settings, opened, stand_ins(networks, of), of.studies)


def test_each_study_by_the_network_that_never_saw_it(cohort, trained):
    settings = small("foraminal", training={"epochs": 1}, looks=["plain", "mirrored"])
    networks = networks_of(trained, settings)
    found = predicted(cohort, networks, settings)
    table, keypoints = found.predictions, found.tables["keypoints"][0]
    assert len(table) == 9 * 10 and len(keypoints) == 9 * 10
    assert found.tables["rejected"][0].empty
    assert set(table["classifier"]) == {"net"}
    assert table.loc[table["study"] == "s08", "fold"].isna().all()
    np.testing.assert_allclose(table[list(PROBABILITY_COLUMNS)].sum(axis=1), 1)
    sources = keypoints.groupby("study")["source"].agg(lambda s: set(s).pop())
    assert sources["s02"] == "net:fold_0" and sources["s03"] == "net:fold_1"
    assert sources["s08"] == "net:mean"
    assert len(found.tables["plain"][0]) == 80, "out of fold alone"
    # By hand: study s03 is of fold 1, so network 1 alone; s08 is new, so the mean of both and of
    # its two series, which hold the same pixels.
    stacks = {(s.study, s.series): s for s in load_stacks([cohort["stacks"]])}

    def grades(network, study):
        made = training_like(stacks[study, "1"], settings)
        return look(network, made, [8], settings, AT, True).final.grades[0]

    columns = list(PROBABILITY_COLUMNS)
    s03 = table[table["study"] == "s03"][columns].to_numpy()
    np.testing.assert_allclose(s03, grades(networks[1], "s03"), atol=1e-6)
    s08 = table[table["study"] == "s08"][columns].to_numpy()
    both = (grades(networks[0], "s08") + grades(networks[1], "s08")) / 2
    np.testing.assert_allclose(s08, both, atol=1e-6)


def training_like(stack, settings):
    from spinegrade.grade.volumes.canvas import on_canvas

    return torch.from_numpy(on_canvas(stack, settings.canvas_px))


def test_a_keypoint_by_hand_in_pixels_and_in_mm(cohort):
    found = predicted(cohort, [Foraminal()], of=everyone(cohort, folds=False))
    keypoints = found.tables["keypoints"][0]
    row = keypoints[keypoints["study"] == "s00"].iloc[2]
    assert (row["level"], row["side"], row["index"]) == ("l3_l4", "left", 2)
    # Mask (10, 6) is canvas (41.5, 25.5). The stack of 40 x 32 px lies on the canvas as 64 x 51,
    # its first column at 6: x (41.5 - 6 + .5) * 32 / 51 - .5, y (25.5 + .5) * 40 / 64 - .5.
    assert row["x_px"] == pytest.approx(36 * 32 / 51 - 0.5)
    assert row["y_px"] == pytest.approx(26 * 40 / 64 - 0.5)
    stack = next(s for s in load_stacks([cohort["stacks"]]) if s.study == "s00")
    assert CanvasGeometry(stack, 64).first == (0, 6)
    mm = to_mm(stack.affine, [[row["x_px"], row["y_px"], 2]])[0]
    np.testing.assert_allclose(row[["x_mm", "y_mm", "z_mm"]].to_numpy(float), mm)
    assert row["source"] == "net:mean" and row["confidence"] == pytest.approx(1)


def test_of_several_series_grades_are_averaged_and_points_taken_where_surest(
    cohort, trained, monkeypatch
):
    answers = iter(range(100))
    real = kind.look

    def told(*arguments, **more):
        number = next(answers)
        found = real(*arguments, **more).final
        grades = np.zeros_like(found.grades)
        grades[..., number % 3] = 1
        # The second of two series is the surer one.
        return Looks(found._replace(grades=grades, confidence=found.confidence * 0 + number / 9),
                     None)  # fmt: skip

    monkeypatch.setattr(kind, "look", told)
    networks = networks_of(trained, small("foraminal", training={"epochs": 1}))
    found = predicted(cohort, networks, of=everyone(cohort, ["s01"]))
    columns = list(PROBABILITY_COLUMNS)
    np.testing.assert_allclose(found.predictions[columns], [[0.5, 0.5, 0]] * 10)
    assert set(found.tables["keypoints"][0]["series"]) == {"2"}


def test_a_study_without_the_series_is_rejected_by_name(cohort):
    stacks = [s for s in load_stacks([cohort["stacks"]]) if s.study != "s04"]
    networks = [Foraminal(), Foraminal()]
    found = predicted(cohort, networks, stacks=stacks)
    rejected = found.tables["rejected"][0]
    assert rejected["study"].tolist() == ["s04"]
    assert rejected["code"].tolist() == ["KEYPOINTS_NO_SERIES"]
    assert "s04" not in set(found.predictions["study"])
    nothing = predicted(cohort, networks, stacks=[])
    assert len(nothing.tables["rejected"][0]) == 9 and nothing.predictions.empty
