"""Training and prediction of the one-stage networks: they learn, resume bit for bit, never leak."""

from __future__ import annotations

import pydoc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from one_stage_helpers import small, write_cohort
from safetensors.torch import load_file, save_file
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import to_mm
from spinegrade.models.one_stage_canal import CanalOutput
from spinegrade.models.one_stage_foraminal import ForaminalOutput
from spinegrade.names import PROBABILITY_COLUMNS
from spinegrade.one_stage import predict as predict_module
from spinegrade.one_stage.answers import Looks, look, mean_answer
from spinegrade.one_stage.canvas import CanvasGeometry
from spinegrade.one_stage.network import Seen, load_network, save_network
from spinegrade.one_stage.predict import predict
from spinegrade.one_stage.prepared import prepare_volumes
from spinegrade.one_stage.reading import ReadAhead, read_packed
from spinegrade.one_stage.samples import training_samples
from spinegrade.one_stage.settings import Settings
from spinegrade.one_stage.trainer import OneStageTrainer
from spinegrade.one_stage.training import digest_of, fold_studies, train_one_stage
from spinegrade.runtime.average import MovingAverage
from spinegrade.tables import read_table, write_table
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


def train(folder: Path, cohort: dict[str, str], settings: Settings, fold: int, **more: Any) -> str:
    weights = str(folder / f"{fold}.safetensors")
    train_one_stage(
        settings=settings,
        fold=fold,
        studies_path=cohort["studies"],
        folds_path=cohort["folds"],
        stacks_paths=[cohort["stacks"]],
        landmarks_paths=[cohort["located_landmarks"]],
        labels_path=cohort["labels"],
        weights_path=weights,
        history_path=str(folder / f"{fold}.csv"),
        checkpoint_path=str(folder / f"{fold}.pt"),
        device="cpu",
        **{"code": "a", "seed": 5, "math_threads": 1, "checkpoint_minutes": 5.0}
        | {"volumes_paths": []}
        | more,
    )
    return weights


def samples_of(cohort: dict[str, str], settings: Settings):
    return training_samples(
        settings.target,
        load_stacks([cohort["stacks"]]),
        read_table(cohort["located_landmarks"], "located_landmarks"),
        read_table(cohort["labels"], "labels"),
        [f"s{number:02d}" for number in range(8)],
        canvas=settings.canvas_px,
    )


# --- reading ---------------------------------------------------------------------------------


def test_volumes_are_packed_in_the_order_asked_for(cohort):
    samples = samples_of(cohort, small("foraminal"))
    packed = read_packed(samples, np.array([3, 0]), False)
    assert packed.lengths == [8, 8] and packed.slices.dtype == torch.uint8
    assert torch.equal(packed.slices[:8], torch.from_numpy(np.array(samples.volumes[3])))
    assert torch.equal(packed.points[1], torch.from_numpy(samples.points[0]))
    parts = [np.array([2]), np.array([1, 0]), np.array([3])]
    ahead = ReadAhead(samples, iter(parts), False)
    found = [batch.points for batch in ahead]
    assert len(found) == 3 and ahead.waited_s > 0
    for points, part in zip(found, parts, strict=True):
        assert torch.equal(points, torch.from_numpy(samples.points[part]))


def test_a_batch_is_read_while_the_one_before_is_used(cohort):
    samples = samples_of(cohort, small("foraminal"))
    asked = []

    def parts():
        for place in range(3):
            asked.append(place)
            yield np.array([place])

    ahead = iter(ReadAhead(samples, parts(), False))
    next(ahead)
    assert asked == [0, 1], "the second is asked for before the first is used, the third is not"
    ahead.close()


# --- training --------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def killed_at(patch: pytest.MonkeyPatch, owner: object, name: str, call: int) -> list[int]:
    """Let the ``call``-th call of ``owner.name`` raise Killed before it does anything."""
    calls, real = [], getattr(owner, name)

    def replaced(*arguments, **more):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return real(*arguments, **more)

    patch.setattr(owner, name, replaced)
    return calls


# Four studies outside fold 1 in batches of at most three: two steps an epoch, six in all. Dropped
# paths draw from the global generator, augmentation from streams of its own.
DISTURBED = {
    "encoder": {"backbone": "test_resnet", "drop_path": 0.3},
    "training": {"epochs": 2, "finish": {"epochs": 1, "learning_rate": 0.0005}},
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cohort) -> tuple[bytes, str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    weights = train(folder, cohort, small("foraminal", **DISTURBED), 1)
    return Path(weights).read_bytes(), (folder / "1.csv").read_text()


UPDATE = "spinegrade.runtime.average.MovingAverage.update"
MOMENTS = {
    "in the first epoch": (UPDATE, 2, 1),
    "in the second epoch": (UPDATE, 4, 3),
    "after the second epoch": (UPDATE, 5, 4),
    "before the weights are written": ("spinegrade.one_stage.training.save_network", 1, 6),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_training_ends_in_the_same_bytes(
    tmp_path, cohort, undisturbed, monkeypatch, moment
):
    settings = small("foraminal", **DISTURBED)
    place, call, kept = MOMENTS[moment]
    owner, name = pydoc.locate(place.rpartition(".")[0]), place.rpartition(".")[2]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, owner, name, call)
        train(tmp_path, cohort, settings, 1, checkpoint_minutes=0)
    assert (tmp_path / "1.pt").exists() and not (tmp_path / "1.csv").exists()
    with monkeypatch.context() as patch:
        steps = killed_at(patch, MovingAverage, "update", -1)
        weights = train(tmp_path, cohort, settings, 1)
    assert len(steps) == 6 - kept, "what was done and kept was done again"
    assert (Path(weights).read_bytes(), (tmp_path / "1.csv").read_text()) == undisturbed
    assert not (tmp_path / "1.pt").exists()


def test_the_best_epoch_so_far_survives_a_kill(tmp_path, cohort, monkeypatch):
    settings = small("foraminal", select="published", training={"epochs": 3})
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = Path(train(whole, cohort, settings, 0)).read_bytes()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, MovingAverage, "update", 6)
        train(tmp_path, cohort, settings, 0, checkpoint_minutes=0)
    assert Path(train(tmp_path, cohort, settings, 0)).read_bytes() == expected


def test_a_training_without_grades_is_refused(tmp_path, cohort):
    labels = read_table(cohort["labels"], "labels")
    write_table(tmp_path / "labels.parquet", labels.assign(grade=pd.NA), "labels")
    bare = {**cohort, "labels": str(tmp_path / "labels.parquet")}
    words = "network net, fold 0: no study to learn from has landmarks and a grade for foraminal"
    with pytest.raises(SpinegradeError, match=words):
        train(tmp_path, bare, small("foraminal"), 0)


def test_mapped_volumes_give_the_same_bytes(tmp_path, cohort, undisturbed):
    volumes = str(tmp_path / "volumes.npy")
    prepare_volumes(cohort["stacks"], "foraminal", 64, volumes)
    # Nine studies, two of which have two stacks, of eight slices each.
    assert np.load(volumes, mmap_mode="r", allow_pickle=False).shape == (88, 64, 64)
    weights = train(tmp_path, cohort, small("foraminal", **DISTURBED), 1, volumes_paths=[volumes])
    assert Path(weights).read_bytes() == undisturbed[0]


def test_the_history_has_the_parts_of_the_loss_and_both_rates(undisturbed, tmp_path):
    (tmp_path / "h.csv").write_text(undisturbed[1])
    history = pd.read_csv(tmp_path / "h.csv")
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["learning_rate"].tolist() == [0.002, 0.002, 0.0005]
    parts = history[["heatmap", "points", "grade"]].sum(axis=1)
    np.testing.assert_allclose(history["loss"], parts, rtol=1e-6)
    assert history["choice_loss"].isna().all()


@pytest.mark.parametrize(("target", "epochs"), [("foraminal", 30), ("canal", 20)])
def test_it_learns_where_the_dots_are(target, epochs, cohort, canal_cohort):
    training = {"learning_rate": 0.01, "epochs": epochs, "batch_size": 2, "average_decay": 0.9}
    still = {"align": 0, "homography": 0, "disturb": 0, "cutout": 0, "brightness_contrast": 0}
    settings = small(target, training=training, augmentation=still)
    tables = cohort if target == "foraminal" else canal_cohort
    samples = samples_of(tables, settings).of(["s00", "s01", "s02", "s03"])
    trainer = OneStageTrainer(samples, settings, 0, 1, CPU)
    for packed in trainer.batches():
        trainer.train_step(packed)
    first, last = trainer.history[0], trainer.history[-1]
    assert last["loss"] < 0.35 * first["loss"] and last["grade"] < first["grade"]
    packed = read_packed(samples, np.arange(4), False)
    network = trainer.average.model
    found = look(network, packed.slices, packed.lengths, settings, CPU, torch.float32).final
    apart = np.median(np.abs(found.points - samples.points), axis=(0, 1))
    # A mask pixel is four pixels of the canvas; the middle of all dots is about 13 from one.
    assert (apart < [4, 4, 1]).all()


def test_the_average_holds_running_statistics_too(cohort):
    settings = small("foraminal", training={"average_decay": 0.5, "epochs": 1})
    trainer = OneStageTrainer(samples_of(cohort, settings), settings, 0, 1, CPU)
    name = next(k for k in trainer.network.state_dict() if k.endswith("running_mean"))
    before = trainer.average.model.state_dict()[name].clone()
    batches = trainer.batches()
    trainer.train_step(next(batches))
    batches.close()
    now = trainer.network.state_dict()[name]
    # The first decay is (1 + 0) / (10 + 0).
    expected = 0.1 * before + 0.9 * now
    torch.testing.assert_close(trainer.average.model.state_dict()[name], expected)
    assert not torch.equal(before, now)


def test_bugged_and_fixed_differ_in_the_sides_of_reversed_volumes_alone(cohort, monkeypatch):
    seen: dict[str, list] = {"fixed": [], "bugged": []}
    for flip, calls in seen.items():
        settings = small("foraminal", flip=flip, training={"epochs": 1})
        trainer = OneStageTrainer(samples_of(cohort, settings), settings, 0, 1, CPU)
        real = trainer.loss

        def spy(output, points, known, grades, lengths, calls=calls, real=real):
            calls.append((points, known, grades))
            return real(output, points, known, grades, lengths)

        trainer.loss = spy
        batches = trainer.batches()
        trainer.train_step(next(batches))
        batches.close()
    (fixed,), (bugged,) = seen["fixed"], seen["bugged"]
    exchanged = [*range(5, 10), *range(5)]
    turned = ~(fixed[0] == bugged[0]).all(dim=(1, 2))
    assert turned.any() and not turned.all(), "some volumes of the first batch are reversed"
    for one, other in zip(fixed, bugged, strict=True):
        assert torch.equal(one[~turned], other[~turned])
        assert torch.equal(one[turned], other[turned][:, exchanged])


# --- which epoch is kept -----------------------------------------------------------------------


def test_which_studies_learn_and_which_choose(cohort):
    tables = read_table(cohort["studies"], "studies"), read_table(cohort["folds"], "folds")
    outside, inside = ["s01", "s03", "s05", "s07"], ["s00", "s02", "s04", "s06"]
    assert fold_studies(*tables, small("foraminal"), 0, 5) == (outside, [])
    published = fold_studies(*tables, small("foraminal", select="published"), 0, 5)
    assert published == (outside, inside)
    inner = fold_studies(*tables, small("foraminal", select="inner", inner_share=0.4), 0, 5)
    assert sorted([*inner.learning, *inner.choosing]) == outside
    assert inner.learning and inner.choosing
    with pytest.raises(SpinegradeError, match=r"network net, fold 2: 0 usable studies are held"):
        fold_studies(*tables, small("foraminal"), 2, 5)
    with pytest.raises(SpinegradeError, match=r"fold 0: inner_share is 1e-06, which takes 0 of 4"):
        fold_studies(*tables, small("foraminal", select="inner", inner_share=1e-6), 0, 5)


def test_the_epoch_with_the_lowest_choice_loss_is_kept(cohort, monkeypatch):
    settings = small("foraminal", select="published", training={"epochs": 3})
    samples = samples_of(cohort, settings)
    trainer = OneStageTrainer(samples, settings, 0, 1, CPU, samples.of(["s00", "s02"]))
    told = iter([0.9, 0.5, 0.7])
    monkeypatch.setattr(trainer, "choice_loss", lambda: next(told))
    kept = []
    for packed in trainer.batches():
        trainer.train_step(packed)
        if trainer.step == 0:
            state = trainer.average.model.state_dict()
            kept.append({name: value.clone() for name, value in state.items()})
    assert [row["choice_loss"] for row in trainer.history] == [0.9, 0.5, 0.7]
    for name, value in trainer.weights.items():
        assert torch.equal(value, kept[1][name])
    assert not all(torch.equal(value, kept[2][name]) for name, value in trainer.weights.items())


def test_the_choice_loss_by_hand(cohort):
    settings = small("foraminal", select="published")
    samples = samples_of(cohort, settings)
    grades = samples.grades.copy()
    grades[:2] = -1
    grades[0, 0], grades[0, 1], grades[1, 5] = 2, 0, 1
    choosing = replace(samples, grades=grades).of(["s00", "s01"])
    with_tta = replace(settings, tta="left_right")
    trainer = OneStageTrainer(samples, with_tta, 0, 1, CPU, choosing)
    net = trainer.average.model
    p = [look(net, *read_packed(choosing, np.array([k]), False)[:2], settings, CPU, torch.float32)
         for k in range(2)]  # fmt: skip
    first, second = (one.final.grades[0] for one in p)
    logs = 4 * np.log(first[0, 2]) + np.log(first[1, 0]) + 2 * np.log(second[5, 1])
    assert trainer.choice_loss() == pytest.approx(-logs / 7)


def test_a_network_chosen_on_its_fold_says_so(tmp_path, cohort):
    settings = small("foraminal", select="published", training={"epochs": 1})
    weights = train(tmp_path, cohort, settings, 0)
    _, seen = load_network(weights, settings, CPU)
    assert seen.trained_on == ("s01", "s03", "s05", "s07") and seen.code == "a"
    assert seen.chosen_on == ("s00", "s02", "s04", "s06")
    assert seen.refused == {"s01", "s03", "s05", "s07"}
    # Inner studies chose the epoch as well, and may not be predicted.
    inner = replace(seen, select="inner", chosen_on=("s01",), trained_on=("s03",))
    assert inner.refused == {"s01", "s03"}


def test_weights_of_another_network_are_refused(tmp_path, cohort):
    settings = small("foraminal", training={"epochs": 1})
    trainer = OneStageTrainer(samples_of(cohort, settings), settings, 0, 1, CPU)
    path = tmp_path / "w.safetensors"
    save_network(path, trainer.weights, Seen("net", "foraminal", 0, "last", "a", ("s01",), ()))
    load_network(path, settings, CPU)
    for other, words in (
        (small("canal"), "'canal', 'last'"),
        (small("foraminal", select="inner"), "'foraminal', 'inner'"),
        (small("foraminal", decoder={"widths": [8, 8, 8]}), "not the weights of network net"),
    ):
        with pytest.raises(SpinegradeError, match=words):
            load_network(path, other, CPU)
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(path), bare)
    with pytest.raises(SpinegradeError, match="does not say what it was trained on"):
        load_network(bare, settings, CPU)


def test_the_digest_tells_pixels_points_and_grades(cohort):
    settings = small("foraminal")
    samples = samples_of(cohort, settings)
    before = digest_of(samples)
    assert digest_of(samples_of(cohort, settings)) == before
    volumes = [np.array(volume) for volume in samples.volumes]
    volumes[5][3, 2, 1] ^= 1
    moved, graded = samples.points.copy(), samples.grades.copy()
    moved[0, 0, 0] += 1
    graded[7, 9] = -1
    for other in ({"volumes": volumes}, {"points": moved}, {"grades": graded}):
        assert digest_of(replace(samples, **other)) != before


# --- prediction --------------------------------------------------------------------------------


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
    from spinegrade.one_stage.canvas import on_canvas

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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("target", ["foraminal", "canal"])
def test_training_on_a_device(cohort, canal_cohort, precision, target):
    device = torch.device("cuda")
    settings = small(target, training={"precision_cuda": precision, "gradient_norm": 5.0})
    samples = samples_of(cohort if target == "foraminal" else canal_cohort, settings)
    trainer = OneStageTrainer(samples, settings, 0, 5, device, samples.of(["s00"]))
    for packed in trainer.batches():
        trainer.train_step(packed)
        trainer.restore(trainer.state())
    assert np.isfinite([[row["loss"], row["choice_loss"]] for row in trainer.history]).all()
    assert trainer.scaler.is_enabled() == (precision == "float16")
