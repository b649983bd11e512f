"""Axial levels: sequences of several series, what is varied, and rows out of fold."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keypoint_helpers import affine_of, write_stack
from learner_blocks import filled, merged
from learner_helpers import CPU, stand_ins
from regressor_helpers import infer, small, small_block, train, write_spines
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import to_mm
from spinegrade.localise.axial_levels import find
from spinegrade.localise.axial_levels.find import find_levels, side_chances
from spinegrade.localise.axial_levels.levels import read_slices, sequence_of, training_sequences
from spinegrade.localise.axial_levels.settings import Settings
from spinegrade.localise.axial_levels.task import LevelTask, varied
from spinegrade.tables.files import read_table
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.training.fold_models import Cohort
from spinegrade.training.record import FoldModel, read_weights, save_weights
from spinegrade.training.task import Moment
from spinegrade.volumes import load_stacks

LEVELS = {
    "kind": "axial_levels",
    "xy_from": "xy",
    "model": {"encoder": {"backbone": "test_resnet"}},
    "input": {"frame_px": 32, "image_px": 32, "crop_px": 32, "slice_mm": 6.0},
    "training": {"epochs": 1, "batch_size": 2, "accumulation": 2, "learning_rate": 0.003},
}
XY = small_block("axial_slice", training={"epochs": 1})


def of_levels(**more: Any) -> Settings:
    """Settings of a localiser of levels; blocks of ``more`` are merged."""
    return Settings("net", filled(merged(LEVELS, more)))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_spines(tmp_path_factory.mktemp("spines"), 4, series=("ax",))


def test_series_follow_from_head_to_feet_at_even_distances(tmp_path: Path) -> None:
    stacks = []
    for series, bottom, slices, thick in (("1", -60, 4, 4.0), ("2", 40, 5, 3.0), ("3", 0, 3, 6.0)):
        volume = np.zeros((slices, 32, 32), np.int16)
        volume[slices - 1] = 50 * int(series)
        affine = affine_of([1, 0, 0], [0, 1, 0], [0, 0, thick], np.array([0, 0, bottom]))
        names = {"series": series, "plane": "axial"}
        stacks.append(write_stack(tmp_path, volume, affine.astype(float), **names))
    settings = of_levels(input={"slice_mm": 3.0})
    look = sequence_of(settings, stacks)
    assert [frame.stack.series for frame in look.frames] == ["2", "3", "1"]
    # 5 of 3 mm, 3 of 6 mm, and int(4 * 4 / 3) = 5 of 4 mm.
    assert [len(places) for places in look.places] == [5, 6, 5]
    assert look.places[2].tolist() == [0, 0, 1, 2, 3]
    seen = read_slices(settings, look)
    assert seen.shape == (16, 32, 32)
    # The head's slice comes first, twice where slices are doubled.
    assert seen[:, 0, 0].tolist() == [100, 0, 0, 0, 0, 150, 150, 0, 0, 0, 0, 50, 50, 0, 0, 0]


def test_the_middle_of_the_frame_is_seen(cohort: dict[str, str]) -> None:
    settings = of_levels(input={"frame_px": 48})
    stacks = load_stacks([cohort["stacks"]])
    look = sequence_of(settings, stacks[:1])
    whole = look.frames[0].slices(look.places[0])
    assert np.array_equal(read_slices(settings, look), whole[:, 8:40, 8:40])


def test_annotated_places_are_those_of_the_slices(cohort: dict[str, str]) -> None:
    settings = of_levels()
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    stacks = load_stacks([cohort["stacks"]])
    found = training_sequences(settings, stacks, landmarks, ["s00", "s01", "s04"])
    assert [one.study for one in found] == ["s00", "s01"]
    own = landmarks[(landmarks["study"] == "s00") & (landmarks["side"] == "left")]
    # 24 slices of 6 mm, from the head.
    assert found[0].places[0, 0].tolist() == pytest.approx((23 - own["index"]).tolist())


def test_a_mirror_exchanges_left_and_right_unless_as_published(
    cohort: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    landmarks = read_table(cohort["located_landmarks"], LOCATED_LANDMARKS)
    landmarks = landmarks[landmarks["side"] == "left"]
    stacks = load_stacks([cohort["stacks"]])
    for kept, side in (([], 1), (["flip"], 0)):
        settings = of_levels(as_published=kept)
        task = LevelTask(training_sequences(settings, stacks, landmarks, ["s00"]), settings)
        seen = {}
        monkeypatch.setattr(
            "spinegrade.localise.axial_levels.task.varied",
            lambda slices, *_: (slices.float() / 127.5 - 1, True),
        )
        task.loss = lambda *given, seen=seen: seen.update(counted=given[4]) or torch.zeros(3)
        at = Moment(CPU, torch.float32, 0, torch.Generator())
        task.losses(task.network(), task.read(np.array([0]), 0), at)
        assert seen["counted"].any(dim=2).any(dim=0).tolist() == [side == 0, side == 1]


def test_slices_are_varied_alike_and_mirrored_as_told() -> None:
    one = torch.zeros(1, 32, 32, dtype=torch.uint8)
    one[0, :, 20:] = 200
    slices = one.expand(3, 32, 32).contiguous()
    settings = of_levels(augment={"chance": 0.0})
    mirrored_seen = set()
    for seed in range(12):
        seen, mirrored = varied(slices, settings, torch.Generator().manual_seed(seed))
        assert torch.equal(seen[0], seen[2]) and seen.shape == (3, 32, 32)
        # The bright third lies to the right, or to the left of a mirrored image.
        assert (seen[0, :, 0].mean() > 0) == mirrored
        mirrored_seen.add(mirrored)
    assert mirrored_seen == {True, False}


def stand_in(network: torch.nn.Module, settings: Any) -> FoldModel:
    nobody = Cohort([], frozenset(), None)
    return stand_ins([network], nobody, settings=settings.as_dict()).models[0]


class Told(torch.nn.Module):
    """Points of levels at slices 2, 6, 10 ... of a series, by the logits of one answer."""

    def forward(self, slices):
        place = torch.arange(len(slices), dtype=torch.float32)[:, None, None]
        wanted = torch.arange(5.0) * 4 + 2
        chance = torch.where((place - wanted).abs() < 0.5, 0.8, 1e-6).expand(-1, 2, -1).clone()
        chance[:, 1] *= 0.5
        return type("Output", (), {"sides": torch.logit(chance)})()


def test_rows_by_hand(cohort: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    telling = stand_in(Told(), of_levels(as_published=["flip"]))
    placing = stand_in(torch.nn.Identity(), small("axial_slice"))
    shown = []

    def regress(models, looks):
        assert models[0] is placing
        shown.extend(look.places[0][0] for look in looks)
        # Left point at (20, 8), right point at (10, 9) of the frame.
        return np.tile(np.array([[20.0, 8.0], [10.0, 9.0]]), (len(looks), 1, 1))

    monkeypatch.setattr(find, "regress", regress)
    stack = load_stacks([cohort["stacks"]])[0]
    rows = find_levels([telling], [placing], [stack], "levels:fold_0")
    assert shown == [2, 6, 10, 14, 18] and len(rows) == 10
    left, right = rows[1], rows[6]
    assert (left["level"], left["side"], right["side"]) == ("l2_l3", "left", "right")
    # Frame slice 6 of 24 from the head is the stack's 17; 24 columns and 20 rows in 32 px.
    assert left["index"] == 17 and left["x_px"] == pytest.approx(20.5 * 24 / 32 - 0.5)
    assert right["x_px"] == pytest.approx(10.5 * 24 / 32 - 0.5)
    assert right["y_px"] == pytest.approx(9.5 * 20 / 32 - 0.5)
    assert (left["confidence"], right["confidence"]) == pytest.approx((0.8, 0.4), abs=1e-4)
    mm = to_mm(stack.affine, [[left["x_px"], left["y_px"], 17]])[0]
    assert [left["x_mm"], left["y_mm"]] == pytest.approx(mm[:2].tolist())
    assert left["z_mm"] == pytest.approx(mm[2], abs=0.1)


def test_a_reversed_look_has_its_sides_exchanged() -> None:
    class Brightest(torch.nn.Module):
        """Left is what lies in the bright half of the columns to the right, right the other."""

        def forward(self, slices):
            half = slices.shape[2] // 2
            left, right = slices[:, :, half:].mean((1, 2)), slices[:, :, :half].mean((1, 2))
            sides = torch.stack([left, right], dim=1)[:, :, None].expand(-1, -1, 5) * 4
            return type("Output", (), {"sides": sides})()

    slices = torch.zeros(2, 32, 32, dtype=torch.uint8)
    slices[:, :, 16:] = 255
    fixed = stand_in(Brightest(), of_levels())
    chances = side_chances([fixed], slices)
    sure = 1 / (1 + math.exp(-4))
    assert chances[0, :, 0].tolist() == pytest.approx([sure, 1 - sure])
    published = stand_in(Brightest(), of_levels(as_published=["flip"]))
    mixed = side_chances([published], slices)
    assert mixed[0, 0, 0] == pytest.approx(1 / (1 + math.exp(-4 / 3)))


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, cohort: dict[str, str]
) -> tuple[list[str], list[str]]:
    folder = tmp_path_factory.mktemp("trained")
    torch.set_num_threads(1)
    made = [
        [train(folder, cohort, block, fold, name) for fold in range(2)]
        for name, block in (("levels", filled(LEVELS)), ("xy", XY))
    ]
    return made[0], made[1]


def test_each_study_by_both_networks_that_never_saw_it(
    cohort: dict[str, str], trained: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    levels, xy = trained
    history = Path(levels[0]).with_suffix(".csv").read_text().splitlines()
    assert history[0] == "epoch,learning_rate,loss,level,side,place,choice_loss"
    path, _ = infer(tmp_path, cohort, levels, filled(LEVELS), "levels", xy)
    table = read_table(path, KEYPOINTS)
    assert len(table) == 5 * 10 and (table["confidence"] < 1).all()
    sources = table.groupby("study")["source"].agg(set)
    assert sources["s00"] == {"levels:fold_0"} and sources["s04"] == {"levels:mean"}


def test_a_leak_through_xy_from_is_refused(
    cohort: dict[str, str], trained: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    levels, xy = trained
    planted = str(tmp_path / "planted.safetensors")
    weights, record = read_weights(xy[0])
    save_weights(planted, weights, replace(record, trained_on=(*record.trained_on, "s00")))
    with pytest.raises(SpinegradeError, match=r"planted.safetensors was trained on 1 .* s00"):
        both = [planted, xy[1]]
        infer(tmp_path, cohort, levels, filled(LEVELS), "levels", both)
