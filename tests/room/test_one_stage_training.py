"""Training of the one-stage networks: they learn, and resume bit for bit."""

from __future__ import annotations

import pydoc
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from killing import Killed, killed_at
from one_stage_helpers import samples_of, small, train, write_cohort
from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.answers import look
from spinegrade.grade.volumes.prepared import prepare_volumes
from spinegrade.grade.volumes.reading import read_packed
from spinegrade.grade.volumes.trainer import OneStageTrainer
from spinegrade.grade.volumes.training import digest_of
from spinegrade.tables import read_table, write_table
from spinegrade.training.average import MovingAverage
from spinegrade.training.read_ahead import ReadAhead

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


def test_volumes_are_packed_in_the_order_asked_for(cohort):
    samples = samples_of(cohort, small("foraminal"))
    packed = read_packed(samples, np.array([3, 0]), False)
    assert packed.lengths == [8, 8] and packed.slices.dtype == torch.uint8
    assert torch.equal(packed.slices[:8], torch.from_numpy(np.array(samples.volumes[3])))
    assert torch.equal(packed.points[1], torch.from_numpy(samples.points[0]))
    parts = [np.array([2]), np.array([1, 0]), np.array([3])]
    ahead = ReadAhead(partial(read_packed, samples, pinned=False), iter(parts))
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

    ahead = iter(ReadAhead(partial(read_packed, samples, pinned=False), parts()))
    next(ahead)
    assert asked == [0, 1], "the second is asked for before the first is used, the third is not"
    ahead.close()


# Four studies outside fold 1 in batches of at most three: two steps an epoch, six in all. Dropped
# paths draw from the global generator, augmentation from streams of its own.
DISTURBED = {
    "encoder": {"backbone": "test_resnet", "drop_path": 0.3},
    "training": {
        "epochs": 2,
        "finish": {
            "epochs": 1,
            "learning_rate": 0.0005,
            "frozen_statistics": True,
            "only_last_block": True,
        },
    },
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cohort) -> tuple[bytes, str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    weights = train(folder, cohort, small("foraminal", **DISTURBED), 1)
    return Path(weights).read_bytes(), (folder / "1.csv").read_text()


UPDATE = "spinegrade.training.average.MovingAverage.update"
MOMENTS = {
    "in the first epoch": (UPDATE, 2, 1),
    "in the second epoch": (UPDATE, 4, 3),
    "after the second epoch": (UPDATE, 5, 4),
    "in the finish": (UPDATE, 6, 5),
    "before the weights are written": ("spinegrade.grade.volumes.training.save_network", 1, 6),
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


def test_parts_count_by_their_weight(cohort):
    training = {"epochs": 1, "loss": {"part_weights": {"points": 0.5, "grade": 0}}}
    settings = small("foraminal", training=training)
    trainer = OneStageTrainer(samples_of(cohort, settings), settings, 0, 1, CPU)
    for packed in trainer.batches():
        trainer.train_step(packed)
        assert not trainer.network.grade[-1].weight.grad.any()
        assert trainer.network.heatmap.weight.grad.any()
    (row,) = trainer.history
    assert row["loss"] == pytest.approx(row["heatmap"] + 0.5 * row["points"]) and row["grade"] > 0


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


def statistics(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = network.state_dict().items()
    return {name: value.clone() for name, value in found if "running" in name}


def before_the_finish(cohort, finish: dict, **training):
    """A trainer at the end of its only other epoch, and the batches that are left."""
    settings = small("foraminal", training={"epochs": 1, "finish": finish, **training})
    trainer = OneStageTrainer(samples_of(cohort, settings), settings, 0, 1, CPU)
    batches = trainer.batches()
    while trainer.epoch == 0:
        trainer.train_step(next(batches))
    return trainer, batches


@pytest.mark.parametrize("frozen", [True, False])
def test_the_finish_uses_the_averages_statistics_and_leaves_them(cohort, frozen):
    finish = {"epochs": 1, "learning_rate": 0.0005, "frozen_statistics": frozen}
    trainer, batches = before_the_finish(cohort, finish)
    average = statistics(trainer.average.model)
    weight = trainer.network.heatmap.weight.detach().clone()
    averaged = trainer.average.model.heatmap.weight.clone()
    trainer.train_step(next(batches))
    batches.close()
    now = statistics(trainer.network)
    assert all(torch.equal(now[name], average[name]) for name in now) == frozen
    start = averaged if frozen else weight
    # One step of AdamW moves a weight by about its rate, and away from nothing but its start.
    moved = (trainer.network.heatmap.weight - start).abs().max()
    assert 0 < moved < 0.0006 and not torch.equal(weight, averaged)


@pytest.mark.parametrize("only", [True, False])
def test_a_finish_of_the_last_block_alone_keeps_the_rest(cohort, only):
    finish = {"epochs": 1, "learning_rate": 0.0005, "only_last_block": only}
    trainer, batches = before_the_finish(cohort, finish)
    before = {n: p.detach().clone() for n, p in trainer.network.named_parameters()}
    trainer.train_step(next(batches))
    batches.close()
    after = dict(trainer.network.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    last = f"decoder.{len(trainer.network.decoder) - 1}."
    heads = {n for n in before if not n.startswith(("encoder.", "decoder.")) or n.startswith(last)}
    assert heads <= changed
    assert (changed == heads) == only


def test_a_finish_has_its_own_bound_and_weighs_parts_by_itself(cohort, monkeypatch):
    bounds = []
    clip = torch.nn.utils.clip_grad_norm_

    def spy(parameters, bound):
        bounds.append(bound)
        return clip(parameters, bound)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    finish = {"epochs": 1, "learning_rate": 0.0005, "part_weights": {"points": 0, "grade": 3}}
    trainer, batches = before_the_finish(cohort, finish, gradient_norm=5)
    assert bounds == [5] * trainer.steps
    for packed in batches:
        trainer.train_step(packed)
    assert len(bounds) == trainer.steps, "no bound where the finish gives none"
    first, last = trainer.history
    assert first["loss"] == pytest.approx(first["heatmap"] + first["points"] + first["grade"])
    assert last["loss"] == pytest.approx(last["heatmap"] + 3 * last["grade"])


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


def test_a_canal_network_is_the_same_with_either_flip(canal_cohort):
    weights = []
    for flip in ("fixed", "bugged"):
        settings = small("canal", flip=flip, training={"epochs": 1})
        torch.manual_seed(0)
        trainer = OneStageTrainer(samples_of(canal_cohort, settings), settings, 0, 1, CPU)
        for packed in trainer.batches():
            trainer.train_step(packed)
        weights.append(trainer.weights)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


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
