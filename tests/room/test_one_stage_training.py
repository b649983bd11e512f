"""Training of the one-stage networks: they learn, and their flip, finish and digest are right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from learner_helpers import CPU, engine
from one_stage_helpers import samples_of, small, small_block, train, write_cohort
from spinegrade.grade.volumes.answers import look
from spinegrade.grade.volumes.prepared import prepare_volumes
from spinegrade.grade.volumes.reading import read_packed
from spinegrade.grade.volumes.samples import OneStageSamples
from spinegrade.grade.volumes.settings import Settings
from spinegrade.grade.volumes.task import VolumeTask
from spinegrade.training.engine import Training
from spinegrade.training.task import Moment


def trainer_of(samples: OneStageSamples, settings: Settings) -> Training:
    return engine(VolumeTask(samples, settings), settings.plan(0), prefix="one_stage")


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
    packed = read_packed(samples, np.array([3, 0]))
    assert packed.lengths == [8, 8] and packed.slices.dtype == torch.uint8
    assert torch.equal(packed.slices[:8], torch.from_numpy(np.array(samples.volumes[3])))
    assert torch.equal(packed.points[1], torch.from_numpy(samples.points[0]))


# Four studies outside fold 1 in batches of at most three: two steps an epoch, six in all. Dropped
# paths draw from the global generator, augmentation from streams of its own.
DISTURBED = {
    "model": {"encoder": {"drop_path": 0.3}},
    "training": {
        "epochs": 2,
        "stages": [
            {"epochs": 1, "learning_rate": 0.0005, "frozen": ["statistics", "all_but_last_block"]}
        ],
    },
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cohort) -> tuple[bytes, str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    weights = train(folder, cohort, small_block("foraminal", **DISTURBED), 1)
    return weights.read_bytes(), weights.with_suffix(".csv").read_text()


def test_mapped_volumes_give_the_same_bytes(tmp_path, cohort, undisturbed):
    volumes = str(tmp_path / "volumes.npy")
    prepare_volumes(cohort["stacks"], "foraminal", 64, volumes)
    # Nine studies, two of which have two stacks, of eight slices each.
    assert np.load(volumes, mmap_mode="r", allow_pickle=False).shape == (88, 64, 64)
    weights = train(tmp_path, cohort, small_block("foraminal", **DISTURBED), 1, [volumes])
    assert weights.read_bytes() == undisturbed[0]


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
    trainer = trainer_of(samples_of(cohort, settings), settings)
    for parts in trainer.batches():
        trainer.train_step(parts)
        assert not trainer.network.grade[-1].weight.grad.any()
        assert trainer.network.heatmap.weight.grad.any()
    (row,) = trainer.history
    assert row["loss"] == pytest.approx(row["heatmap"] + 0.5 * row["points"]) and row["grade"] > 0


@pytest.mark.parametrize(("target", "epochs"), [("foraminal", 30), ("canal", 20)])
def test_it_learns_where_the_dots_are(target, epochs, cohort, canal_cohort):
    training = {"learning_rate": 0.01, "epochs": epochs, "batch_size": 2, "average_decay": 0.9}
    still = {"align": 0, "homography": 0, "disturb": 0, "cutout": 0, "brightness_contrast": 0}
    settings = small(target, training=training, augment=still)
    tables = cohort if target == "foraminal" else canal_cohort
    samples = samples_of(tables, settings).of(["s00", "s01", "s02", "s03"])
    trainer = trainer_of(samples, settings)
    for packed in trainer.batches():
        trainer.train_step(packed)
    first, last = trainer.history[0], trainer.history[-1]
    assert last["loss"] < 0.35 * first["loss"] and last["grade"] < first["grade"]
    packed = read_packed(samples, np.arange(4))
    network, at = trainer.average.model, Moment(CPU, torch.float32)
    found = look(network, packed.slices, packed.lengths, settings, at).final
    apart = np.median(np.abs(found.points - samples.points), axis=(0, 1))
    # A mask pixel is four pixels of the canvas; the middle of all dots is about 13 from one.
    assert (apart < [4, 4, 1]).all()


def before_the_finish(cohort, finish: dict, **training):
    """A trainer at the end of its only other epoch, and the batches that are left."""
    settings = small("foraminal", training={"epochs": 1, "stages": [finish], **training})
    trainer = trainer_of(samples_of(cohort, settings), settings)
    batches = trainer.batches()
    while trainer.epoch == 0:
        trainer.train_step(next(batches))
    return trainer, batches


@pytest.mark.parametrize("only", [True, False])
def test_a_finish_of_the_last_block_alone_keeps_the_rest(cohort, only):
    finish = {"epochs": 1, "learning_rate": 0.0005, "frozen": ["all_but_last_block"] * only}
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


def test_bugged_and_fixed_differ_in_the_sides_of_reversed_volumes_alone(cohort, monkeypatch):
    seen: dict[str, list] = {"fixed": [], "bugged": []}
    for flip, calls in seen.items():
        kept = ["flip"] * (flip == "bugged")
        settings = small("foraminal", as_published=kept, training={"epochs": 1})
        trainer = trainer_of(samples_of(cohort, settings), settings)
        real = trainer.task.loss

        def spy(output, points, known, grades, lengths, calls=calls, real=real):
            calls.append((points, known, grades))
            return real(output, points, known, grades, lengths)

        trainer.task.loss = spy
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
    for kept in ([], ["flip"]):
        settings = small("canal", as_published=kept, training={"epochs": 1})
        trainer = trainer_of(samples_of(canal_cohort, settings), settings)
        for packed in trainer.batches():
            trainer.train_step(packed)
        weights.append(trainer.weights)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_digest_tells_pixels_points_and_grades(cohort):
    settings = small("foraminal")
    samples = samples_of(cohort, settings)
    before = VolumeTask(samples, settings).digest()
    assert VolumeTask(samples_of(cohort, settings), settings).digest() == before
    volumes = [np.array(volume) for volume in samples.volumes]
    volumes[5][3, 2, 1] ^= 1
    moved, graded = samples.points.copy(), samples.grades.copy()
    moved[0, 0, 0] += 1
    graded[7, 9] = -1
    for other in ({"volumes": volumes}, {"points": moved}, {"grades": graded}):
        assert VolumeTask(replace(samples, **other), settings).digest() != before
