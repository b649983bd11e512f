"""Prediction of the one-stage networks: answers by hand, both looks, and no leak."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from one_stage_helpers import samples_of, small, train, write_cohort
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import to_mm
from spinegrade.grade.volumes import predict as predict_module
from spinegrade.grade.volumes.answers import Looks, look, mean_answer
from spinegrade.grade.volumes.canvas import CanvasGeometry
from spinegrade.grade.volumes.network import Seen, load_network
from spinegrade.grade.volumes.predict import predict
from spinegrade.grade.volumes.reading import read_packed
from spinegrade.grade.volumes.trainer import OneStageTrainer
from spinegrade.models.one_stage_canal import CanalOutput
from spinegrade.models.one_stage_foraminal import ForaminalOutput
from spinegrade.names import PROBABILITY_COLUMNS
from spinegrade.tables import read_table
from spinegrade.volumes import load_stacks

CPU = torch.device("cpu")


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
    found = look(Foraminal(), slices, [8], small("foraminal"), CPU, torch.float32)
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
    found = look(Spread(), slices, [4], small("foraminal"), CPU, torch.float32)
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
    found = look(Spread(), slices, [4], small("canal"), CPU, torch.float32)
    np.testing.assert_allclose(found.final.confidence, 0.6 * 0.8, atol=1e-6)


@pytest.mark.parametrize("target", ["foraminal", "canal"])
def test_a_mirrored_patient_has_the_mirrored_answer_under_left_right(target, cohort, canal_cohort):
    settings = small(target, tta="left_right")
    samples = samples_of(cohort if target == "foraminal" else canal_cohort, settings)
    torch.manual_seed(3)
    network = OneStageTrainer(samples, settings, 0, 1, CPU).network.eval()
    slices, lengths, *_ = read_packed(samples, np.array([0, 1]), False)
    turned = torch.cat([part.flip(0) for part in slices.split(lengths)])
    with_tta = [look(network, s, lengths, settings, CPU, torch.float32) for s in (slices, turned)]
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
    settings = small("foraminal", training={"epochs": 1})
    return [train(folder, cohort, settings, fold) for fold in range(2)]


def predicted(cohort, weights, settings=None, **more):
    studies = read_table(cohort["studies"], "studies")
    folds = read_table(cohort["folds"], "folds")
    given = {
        "settings": settings or small("foraminal", training={"epochs": 1}),
        "stacks": load_stacks([cohort["stacks"]]),
        "studies": studies,
        "folds": dict(zip(folds["study"], folds["fold"].astype(int), strict=True)),
        "weights": weights,
        "device": CPU,
    }
    return predict(**given | more)


def test_each_study_by_the_network_that_never_saw_it(cohort, trained):
    settings = small("foraminal", training={"epochs": 1}, tta="left_right")
    found = predicted(cohort, trained, settings)
    table, keypoints = found.final
    assert len(table) == 9 * 10 and len(keypoints) == 9 * 10 and found.rejected.empty
    assert set(table["classifier"]) == {"net"}
    assert table.loc[table["study"] == "s08", "fold"].isna().all()
    np.testing.assert_allclose(table[list(PROBABILITY_COLUMNS)].sum(axis=1), 1)
    sources = keypoints.groupby("study")["source"].agg(lambda s: set(s).pop())
    assert sources["s02"] == "net:fold_0" and sources["s03"] == "net:fold_1"
    assert sources["s08"] == "net:mean"
    assert len(found.plain.predictions) == 90
    # By hand: study s03 is of fold 1, so network 1 alone; s08 is new, so the mean of both and of
    # its two series, which hold the same pixels.
    stacks = {(s.study, s.series): s for s in load_stacks([cohort["stacks"]])}
    networks = [load_network(path, settings, CPU)[0] for path in trained]

    def grades(network, study):
        made = training_like(stacks[study, "1"], settings)
        return look(network, made, [8], settings, CPU, torch.float32).final.grades[0]

    columns = list(PROBABILITY_COLUMNS)
    s03 = table[table["study"] == "s03"][columns].to_numpy()
    np.testing.assert_allclose(s03, grades(networks[1], "s03"), atol=1e-6)
    s08 = table[table["study"] == "s08"][columns].to_numpy()
    both = (grades(networks[0], "s08") + grades(networks[1], "s08")) / 2
    np.testing.assert_allclose(s08, both, atol=1e-6)


def training_like(stack, settings):
    from spinegrade.grade.volumes.canvas import on_canvas

    return torch.from_numpy(on_canvas(stack, settings.canvas_px))


def test_a_keypoint_by_hand_in_pixels_and_in_mm(cohort, trained, monkeypatch):
    stub = Foraminal()
    seen = Seen("net", "foraminal", 0, "last", "a", (), ())
    monkeypatch.setattr(
        predict_module, "load_models", lambda *_: [predict_module.Model(stub, seen)]
    )
    found = predicted(cohort, trained, folds=None)
    row = found.final.keypoints[found.final.keypoints["study"] == "s00"].iloc[2]
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
    real = predict_module.look

    def told(*arguments, **more):
        number = next(answers)
        found = real(*arguments, **more).final
        grades = np.zeros_like(found.grades)
        grades[..., number % 3] = 1
        # The second of two series is the surer one.
        return Looks(found._replace(grades=grades, confidence=found.confidence * 0 + number / 9),
                     None)  # fmt: skip

    monkeypatch.setattr(predict_module, "look", told)
    studies = read_table(cohort["studies"], "studies")
    found = predicted(cohort, trained, studies=studies[studies["study"] == "s01"]).final
    columns = list(PROBABILITY_COLUMNS)
    np.testing.assert_allclose(found.predictions[columns], [[0.5, 0.5, 0]] * 10)
    assert set(found.keypoints["series"]) == {"2"}


def test_no_network_predicts_what_it_has_seen(cohort, trained):
    folds = {f"s{k:02d}": k % 2 for k in range(8)}
    with pytest.raises(SpinegradeError, match="trained on 1 studies that it is to predict, s01"):
        predicted(cohort, trained, folds={**folds, "s01": 0})
    with pytest.raises(SpinegradeError, match="trained on 4 studies that it is to predict, s01"):
        predicted(cohort, trained, folds=None)
    with pytest.raises(SpinegradeError, match=r"no weights for the folds \[1\]"):
        predicted(cohort, trained[:1])


def test_a_study_without_the_series_is_rejected_by_name(cohort, trained):
    stacks = [s for s in load_stacks([cohort["stacks"]]) if s.study != "s04"]
    found = predicted(cohort, trained, stacks=stacks)
    assert found.rejected["study"].tolist() == ["s04"]
    assert found.rejected["code"].tolist() == ["KEYPOINTS_NO_SERIES"]
    assert "s04" not in set(found.final.predictions["study"])
    nothing = predicted(cohort, trained, stacks=[])
    assert len(nothing.rejected) == 9 and nothing.final.predictions.empty
