"""The engine of every training on a toy task: its draws, stages, choices and exact resuming."""

from __future__ import annotations

import math
import os
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killing import Killed, killed_at
from learner_helpers import CPU, engine, trained
from spinegrade.training.average import MovingAverage
from spinegrade.training.checkpoint import Checkpoint
from spinegrade.training.engine import Training
from spinegrade.training.optimise import learning_rate, parameter_groups
from spinegrade.training.plan import Plan, Stage
from spinegrade.training.read_ahead import ReadAhead
from spinegrade.training.task import Moment
from torch import nn


class Network(nn.Module):
    """A body with batch statistics and dropout, and a head; the body may be frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
        self.head = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))[:, 0]

    def freeze(self, name: str) -> None:
        getattr(self, name).requires_grad_(False)


class Toy:
    """Twelve points of a plane: how far off (near) and how far off squared (far)."""

    parts = ("near", "far")

    def __init__(self, count: int = 12, least: int = 2, noise: float = 0.1) -> None:
        self.x = torch.randn(count, 3, generator=torch.Generator().manual_seed(4))
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5])
        self.least, self.noise = least, noise
        self.studies = tuple(f"s{row}" for row in range(count))
        self.told: list[float] | None = None
        self.seen: list[tuple[list[int], int]] = []
        self.moments: list[Moment] = []

    def __len__(self) -> int:
        return len(self.x)

    def digest(self) -> str:
        return "toy"

    def network(self) -> nn.Module:
        return Network()

    def read(self, rows: np.ndarray, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen.append((rows.tolist(), seed))
        return self.x[rows], self.y[rows]

    def losses(self, network: nn.Module, batch: Any, at: Moment) -> torch.Tensor:
        self.moments.append(at)
        x, y = batch
        if at.draws is not None:
            x = x + self.noise * torch.randn(x.shape, generator=at.draws)
        apart = network(x) - y
        return torch.stack([apart.abs().mean(), (apart**2).mean()])

    def choice(self, network: nn.Module, at: Moment) -> float:
        assert not network.training and at.draws is None
        if self.told is not None:
            return self.told.pop(0)
        return float((network(self.x) - self.y).abs().mean())

    def record(self) -> dict[str, Any]:
        return {}


class WithoutStatistics(Toy):
    """The same for a network that sees each sample by itself."""

    def network(self) -> nn.Module:
        network = Network()
        network.body = nn.Sequential(nn.Linear(3, 8))
        return network


def plan(**changed: Any) -> Plan:
    given = {"epochs": 3, "batch_size": 4, "learning_rate": 0.05, "weight_decay": 0.1}
    return Plan(**{**given, "average_decay": 0.9, **changed})


def weights_of(training: Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.weights.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


# Ten epochs of ten steps: 100 in all, of which 10 warm up.
RATES = {
    "cosine": ({0: 0.1, 4: 0.5, 9: 1, 10: 1, 55: 0.5 * (1 + math.cos(0.475 * math.pi))}, 100),
    # As published it is sized for thirteen epochs, and warms up over a tenth of those that run.
    "cosine_from_zero": (
        {0: 0, 5: 0.5, 10: 1, 70: 0.5 * (1 + math.cos(0.475 * math.pi))},
        130,
    ),
    "constant": ({0: 1, 57: 1, 99: 1}, 100),
    # Half a cosine from 1 / 25 to 1 at step 9, then down to 1 / 250,000 at the last.
    "one_cycle": ({0: 1 / 25, 9: 1, 54: 0.5 * (1 + 4e-6), 99: 4e-6}, 100),
}


@pytest.mark.parametrize("schedule", RATES)
def test_rates_by_hand(schedule: str) -> None:
    shares, steps = RATES[schedule]
    chosen = plan(
        epochs=10,
        schedule=schedule,
        schedule_epochs=steps // 10,
        warm_up=0.1,
        cycles=0.475,
        learning_rate=2.0,
    )
    rates = [learning_rate(chosen, 10, step // 10, step % 10) for step in range(100)]
    for step, share in shares.items():
        assert rates[step] == pytest.approx(2 * share), step
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_one_cycle_is_that_of_torch() -> None:
    chosen = plan(epochs=5, schedule="one_cycle", warm_up=0.15, learning_rate=0.004)
    optimiser = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    ours = [learning_rate(chosen, 8, step // 8, step % 8) for step in range(40)]
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=0.004, total_steps=40, pct_start=0.15, cycle_momentum=False
    )
    theirs = []
    for _ in range(40):
        theirs.append(cycle.get_last_lr()[0])
        optimiser.step()
        if len(theirs) < 40:
            cycle.step()
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_which_parameters_decay() -> None:
    parts = {"linear": nn.Linear(2, 3), "gru": nn.GRU(2, 2), "norm": nn.BatchNorm1d(2)}
    network = nn.ModuleDict(parts)
    network["linear"].weight.requires_grad_(False)
    biases = [(3,), (6,), (6,), (2,)]
    still = {"all": [], "not_biases": biases, "matrices": [*biases, (2,)]}
    for decay, shapes in still.items():
        groups = parameter_groups(network, plan(decay=decay))
        found = {group["weight_decay"]: group["params"] for group in groups}
        assert [tuple(p.shape) for p in found.get(0.0, [])] == shapes
        assert len(found[0.1]) == 7 - len(shapes), "what is frozen is in no group"


def test_every_sample_is_seen_once_an_epoch_in_parts_of_even_size() -> None:
    task = Toy(count=11)
    training = trained(engine(task, plan(epochs=2, accumulation=2)))
    assert training.steps == 3
    rows = [part for part, _ in task.seen]
    # Steps of 4, 4 and 3; three samples are too few for two parts of two.
    assert [len(part) for part in rows[:5]] == [2, 2, 2, 2, 3]
    half = len(rows) // 2
    first, second = (list(chain(*part)) for part in (rows[:half], rows[half:]))
    assert sorted(first) == sorted(second) == list(range(11)) and first != second
    assert len({seed for _, seed in task.seen}) == len(task.seen), "a seed of its own each"


def test_a_part_is_never_smaller_than_it_may_be() -> None:
    task = Toy(count=8, least=3)
    trained(engine(task, plan(epochs=1, batch_size=8, accumulation=4)))
    assert [len(part) for part, _ in task.seen] == [4, 4]


def test_parts_of_a_step_add_up_to_the_whole() -> None:
    gradients, history = {}, {}
    for accumulation in (1, 3):
        task = WithoutStatistics(count=8, least=1, noise=0)
        training = engine(task, plan(epochs=1, batch_size=8, accumulation=accumulation))
        training.train_step(next(training.batches()))
        gradients[accumulation] = training.network.body[0].weight.grad
        history[accumulation] = training.history[0]
    torch.testing.assert_close(gradients[1], gradients[3])
    for name in ("loss", "near", "far"):
        assert history[1][name] == pytest.approx(history[3][name], rel=1e-5)
    assert history[1]["loss"] == pytest.approx(history[1]["near"] + history[1]["far"])


# Three steps an epoch, four epochs, the last of which is a stage of its own: twelve steps.
STAGES = (Stage(1, 0.01, None, {"near": 0.0, "far": 3.0}, ("statistics", "body")),)
DISTURBED = {"epochs": 3, "accumulation": 2, "stages": STAGES, "checkpoint_epochs": 2}
MOMENTS = {
    "before the first step": (MovingAverage, "update", 1, 0),
    "in the first epoch": (MovingAverage, "update", 3, 2),
    "in the second epoch": (MovingAverage, "update", 6, 5),
    "at the end of an epoch": (MovingAverage, "update", 7, 6),
    "in the stage that follows": (MovingAverage, "update", 11, 10),
    "at the last step": (MovingAverage, "update", 12, 11),
    "while a checkpoint is written": (os, "fsync", 5, 4),
    "while held-out samples are measured": (Toy, "choice", 4, 5),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_training_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def run(file: str, minutes: float = 0.0) -> Training:
        chosen = plan(**DISTURBED, validate_every=1)
        training = engine(Toy(), chosen, choosing=Toy(9), watching=Toy(7))
        training.run(Checkpoint(tmp_path / file, {}, minutes))
        return training

    whole = run("whole.pt", minutes=60)
    owner, name, call, kept = MOMENTS[moment]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, owner, name, call)
        run("cut.pt")
    assert (tmp_path / "cut.pt").exists() == (kept > 0)
    with monkeypatch.context() as patch:
        steps = killed_at(patch, MovingAverage, "update", -1)
        resumed = run("cut.pt", minutes=60)
    assert len(steps) == 12 - kept, "what was done and kept was done again"
    assert same(whole.weights, resumed.weights) and whole.history == resumed.history


def test_a_checkpoint_is_kept_every_so_many_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = killed_at(monkeypatch, Checkpoint, "save", -1)
    engine(Toy(), plan(epochs=5, checkpoint_epochs=2)).run(Checkpoint(tmp_path / "c", {}, 60))
    assert len(saved) == 3, "after the second, the fourth and the last epoch"


def test_the_average_holds_running_statistics_too() -> None:
    training = engine(Toy(), plan(average_decay=0.5))
    before = training.average.model.body[1].running_mean.clone()
    training.train_step(next(training.batches()))
    now = training.network.body[1].running_mean
    # The first decay is (1 + 0) / (10 + 0).
    expected = 0.1 * before + 0.9 * now
    torch.testing.assert_close(training.average.model.body[1].running_mean, expected)


def before_the_stage(frozen: tuple[str, ...], **plan_of_all: Any) -> tuple[Training, Any]:
    stages = (Stage(1, 0.0005, None, None, frozen),)
    training = engine(Toy(), plan(epochs=1, stages=stages, weight_decay=0.0, **plan_of_all))
    batches = training.batches()
    while training.epoch == 0:
        training.train_step(next(batches))
    return training, batches


@pytest.mark.parametrize("frozen", [("statistics",), ()])
def test_frozen_statistics_are_the_averages_and_stay(frozen: tuple[str, ...]) -> None:
    training, batches = before_the_stage(frozen)
    statistics = training.average.model.body[1].running_mean.clone()
    weight, averaged = (
        network.head.weight.detach().clone()
        for network in (training.network, training.average.model)
    )
    training.train_step(next(batches))
    now = training.network.body[1].running_mean
    assert torch.equal(now, statistics) == bool(frozen)
    # One step of AdamW moves a weight by about its rate, and away from nothing but its start.
    moved = (training.network.head.weight - (averaged if frozen else weight)).abs().max()
    assert 0 < moved < 0.0006 and not torch.equal(weight, averaged)


def test_a_frozen_part_keeps_its_weights_in_its_stage_alone() -> None:
    stages = (Stage(1, 0.01, frozen=("body",)), Stage(1, 0.01))
    training = engine(Toy(), plan(epochs=1, stages=stages))
    body = []
    for parts in training.batches():
        training.train_step(parts)
        body.append(training.network.body[0].weight.detach().clone())
    changed = [not torch.equal(a, b) for a, b in pairwise(body)]
    assert changed == [True, True, False, False, False, True, True, True]


def test_a_stage_has_its_own_bound_rate_and_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds, clip = [], nn.utils.clip_grad_norm_

    def spy(parameters: Any, bound: float) -> Any:
        bounds.append(bound)
        return clip(parameters, bound)

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", spy)
    stages = (Stage(1, 0.001, part_weights={"near": 0.0, "far": 3.0}),)
    weights = {"near": 1.0, "far": 0.5}
    training = trained(
        engine(Toy(), plan(epochs=2, gradient_norm=5.0, part_weights=weights, stages=stages))
    )
    assert bounds == [5.0] * 6, "no bound where the stage gives none"
    assert [row["learning_rate"] for row in training.history] == [0.05, 0.05, 0.001]
    for row, near, far in zip(training.history, (1, 1, 0), (0.5, 0.5, 3), strict=True):
        assert row["loss"] == pytest.approx(near * row["near"] + far * row["far"])


def test_the_epoch_with_the_lowest_choice_is_kept_and_patience_ends() -> None:
    choosing, watching = Toy(5), Toy(5)
    choosing.told = [0.9, 0.5, 0.7, 0.6, 0.4]
    training = engine(Toy(), plan(epochs=5, patience=2, validate_every=2), choosing, watching)
    kept = []
    for parts in training.batches():
        training.train_step(parts)
        if training.step == 0:
            state = training.average.model.state_dict()
            kept.append({name: value.clone() for name, value in state.items()})
        if training.is_done:
            break
    rows = training.history
    assert [row["choice_loss"] for row in rows] == [0.9, 0.5, 0.7, 0.6], "after two worse ones"
    assert same(training.weights, kept[1]) and not same(training.weights, kept[3])
    assert [row["held_out_loss"] is None for row in rows] == [True, False, True, False]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]


def test_without_a_choice_the_last_average_is_kept() -> None:
    training = trained(engine(Toy(), plan()))
    assert same(training.weights, training.average.model.state_dict())
    assert all(row["choice_loss"] is None for row in training.history)
    assert training.history[-1]["loss"] < 0.9 * training.history[0]["loss"]


def test_a_batch_is_read_while_the_one_before_is_used() -> None:
    asked = []

    def parts() -> Any:
        for place in range(3):
            asked.append(place)
            yield place

    ahead = iter(ReadAhead(lambda part: part, parts()))
    assert next(ahead) == 0
    assert asked == [0, 1], "the second is asked for before the first is used, the third is not"
    assert list(ahead) == [1, 2]


def test_draws_are_the_same_wherever_a_step_is_taken() -> None:
    task = Toy()
    trained(engine(task, plan(epochs=1)))
    again = Toy()
    trained(engine(again, plan(epochs=1)))
    draws = [
        [torch.rand(1, generator=at.draws).item() for at in one.moments] for one in (task, again)
    ]
    assert draws[0] == draws[1] and len(set(draws[0])) == 3
    assert all(at.device == CPU and at.epoch == 0 for at in task.moments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_training_on_a_device(precision: str) -> None:
    device = torch.device("cuda")
    chosen = plan(precision_cuda=precision, gradient_norm=5.0)
    training = engine(Toy(), chosen, choosing=Toy(5), device=device)
    for parts in training.batches():
        training.train_step([(n, tuple(t.to(device) for t in batch)) for n, batch in parts])
        training.restore(training.state())
    assert np.isfinite([row["loss"] for row in training.history]).all()
    assert training.scaler.is_enabled() == (precision == "float16")
