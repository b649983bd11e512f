"""The two-stage graders' networks: sizes of their heads, and crops that are not there."""

from __future__ import annotations

import pytest
import torch
from spinegrade.models.grader_parts import ConditionGate, CropFeatures, LevelLstm, SequenceGru
from spinegrade.models.registry import build, model_names
from torch import nn

SMALL = {"backbone": "test_resnet", "slices": 3}
FEATURES = 96  # of test_resnet
VIEWS = ("view_condition", "view_plain", "view_gru", "view_level_lstm")


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def two_way(gates: int, inputs: int, hidden: int) -> int:
    """A two-layer two-way recurrent net: weights of input and state, and two biases, a gate."""

    def layer(wide: int) -> int:
        return 2 * gates * hidden * (wide + hidden + 2)

    return layer(inputs) + layer(2 * hidden)


GATE = 5 * 64 + linear(64, 128) + linear(128, 256) + linear(256, 512)
GRADE = linear(512, 512) + linear(512, 3)
HEADS = {
    "view_plain": linear(FEATURES, 3),
    "view_condition": linear(FEATURES, 512) + GATE + GRADE,
    "view_gru": two_way(3, FEATURES, 512) + linear(1024, 3),
    "view_level_lstm": linear(FEATURES, 512) + two_way(4, 512, 256) + GRADE,
}


@pytest.mark.parametrize("name", VIEWS)
def test_heads_have_the_published_layers(name):
    built = build(name, **SMALL, conditions=(1, 2))
    assert count(built) - count(built.features.backbone) == HEADS[name]


def test_sizes_that_the_notes_fix_by_themselves():
    # An LSTM has 4 gates: both layers of 512 see 512, both ways.
    assert count(LevelLstm(512)) == 2 * 2 * 4 * 256 * (512 + 256 + 2) == 3_153_920
    # A GRU has 3: the first layer sees 512, the second 1024.
    assert count(SequenceGru(512, 512)) == 2 * 3 * 512 * (1026 + 1538) == 7_876_608
    assert count(ConditionGate(512)) == 320 + 8_320 + 33_024 + 131_584 == 173_248


@pytest.mark.parametrize("name", [*VIEWS, "axial_side", "all_view"])
def test_heads_compute_in_float32_under_mixed_precision(name):
    there = torch.rand(1, 2, 5) < 0.7
    if name == "all_view":
        network, inputs = all_view(), level_inputs([2, 0])
    elif name == "axial_side":
        network, axial = recess(), torch.rand(1, 2, 5, 2, 1, 24, 24)
        inputs = {"sagittal": torch.rand(1, 2, 5, 4, 32, 32), "sagittal_there": there}
        inputs |= {"axial": axial, "axial_there": there}
    else:
        network = build(name, **SMALL, conditions=(1, 2))
        inputs = {"sagittal": torch.rand(1, 2, 5, 3, 32, 32), "sagittal_there": there}
    network = network.eval()
    seen = []
    backbone = next(part for part in network.modules() if isinstance(part, CropFeatures)).backbone
    backbone.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(**inputs)
    assert seen == [torch.bfloat16] and mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, network(**inputs), rtol=0.05, atol=0.05)


def test_parts_are_no_architecture():
    assert set(VIEWS) <= set(model_names()) and "grader_parts" not in model_names()


def recess(**changed):
    encoder = {"backbone": "test_resnet"}
    options = {"sagittal_slices": 4, "axial_channels": 1, **changed}
    return build("axial_side", encoder=encoder, axial_encoder=encoder, **options)


def test_the_axial_grader_has_the_published_layers():
    built = recess()
    networks = count(built.sagittal.backbone) + count(built.axial.backbone)
    beside = linear(FEATURES, 512) + two_way(4, 512, 256) + linear(512, 128)
    axial = two_way(3, FEATURES, 512) + linear(1024, 512) + linear(512, 128)
    assert count(built) - networks == beside + axial + linear(256, 3)
    # Weights of its own in each branch, and as many channels as each is shown.
    first = [next(iter(part.backbone.parameters())) for part in (built.sagittal, built.axial)]
    assert [weight.shape[1] for weight in first] == [4, 1]


def test_recesses_of_a_batch_equal_one_study_at_a_time():
    network = recess(axial_channels=3).eval()
    sagittal, axial = torch.rand(3, 2, 5, 4, 32, 32), torch.rand(3, 2, 5, 2, 3, 24, 24)
    beside, there = torch.rand(3, 2, 5) < 0.6, torch.rand(3, 2, 5) < 0.6
    together = network(sagittal, beside, axial, there)
    assert together.shape == (3, 2, 5, 3)
    for row in range(3):
        part = slice(row, row + 1)
        alone = network(sagittal[part], beside[part], axial[part], there[part])
        torch.testing.assert_close(together[part], alone, rtol=1e-4, atol=1e-5)


def test_both_views_of_a_recess_have_a_say():
    network = recess().eval()
    sagittal, axial = torch.rand(1, 2, 5, 4, 32, 32), torch.rand(1, 2, 5, 3, 1, 24, 24)
    there = torch.ones(1, 2, 5, dtype=torch.bool)
    before = network(sagittal, there, axial, there)
    darker = axial.clone()
    darker[0, 0, 0] -= 1
    changed = (network(sagittal, there, darker, there) != before).any(dim=-1)
    assert changed.nonzero().tolist() == [[0, 0, 0]], "axial crops speak for their own cell"
    without = sagittal.clone()
    without[0, 1, 2] = 0
    changed = (network(without, there, axial, there) != before).any(dim=-1)
    assert changed[0, 1].all() and not changed[0, 0].any(), "levels of a side tell each other"


def all_view(**changed):
    encoder = {"backbone": "test_resnet"}
    return build("all_view", encoder=encoder, axial_encoder=encoder, slices=3, **changed)


def level_inputs(counts: list[int]) -> dict[str, torch.Tensor]:
    """Rows with so many sequences each, of two positions."""
    return {
        "sagittal": torch.rand(len(counts), 3, 3, 32, 32),
        "sagittal_there": torch.rand(len(counts), 3) < 0.7,
        "axial": torch.rand(sum(counts), 2, 3, 32, 32),
        "owner": torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
    }


def test_the_all_view_grader_has_the_published_layers():
    built = all_view()
    networks = count(built.sagittal.backbone) + count(built.axial.backbone)
    sagittal = linear(FEATURES, 512) + GATE + GRADE + linear(512, 512) + linear(512, 128)
    axial = two_way(3, FEATURES, 512)
    assert count(built) - networks == sagittal + axial + linear(5 * 128 + 1024, 15)


def test_levels_of_any_number_of_sequences_equal_one_at_a_time():
    network = all_view().eval()
    inputs = level_inputs([1, 0, 3, 2])
    together = network(**inputs)
    assert together.shape == (4, 5, 3) and together.dtype == torch.float32
    for row in range(4):
        part, mine = slice(row, row + 1), inputs["owner"] == row
        alone = network(
            inputs["sagittal"][part],
            inputs["sagittal_there"][part],
            inputs["axial"][mine],
            torch.zeros(int(mine.sum()), dtype=torch.int64),
        )
        torch.testing.assert_close(together[part], alone, rtol=1e-4, atol=1e-5)


def test_a_batch_without_any_sequence_is_graded_too():
    assert all_view().eval()(**level_inputs([0, 0])).isfinite().all()


def test_one_look_at_the_canal_is_worth_three():
    once, thrice = all_view().eval(), all_view(repeated=True).eval()
    thrice.load_state_dict(once.state_dict())
    inputs = level_inputs([1, 1])
    torch.testing.assert_close(once(**inputs), thrice(**inputs), rtol=1e-5, atol=1e-6)
    seen = []
    hook = thrice.sagittal.backbone.register_forward_hook(lambda *call: seen.append(call[1][0]))
    inputs["sagittal_there"][:] = True
    thrice(**inputs)
    hook.remove()
    assert len(seen[0]) == 10
    assert torch.equal(seen[0][3], seen[0][0]) and torch.equal(seen[0][4], seen[0][0])


def test_axial_slices_speak_for_every_condition_and_own_crops_for_theirs():
    network = all_view().eval()
    inputs = level_inputs([1])
    inputs["sagittal_there"][:] = True
    before = network(**inputs)
    darker = {**inputs, "axial": inputs["axial"] - 1}
    assert (network(**darker) != before).any(dim=-1).all()
    # With the joint head silent only the crop's own logits are left.
    torch.nn.init.zeros_(network.head.weight)
    before = network(**inputs)
    crops = inputs["sagittal"].clone()
    crops[:, 1] -= 1
    changed = (network(**{**inputs, "sagittal": crops}) != before).any(dim=-1)
    assert changed[0].tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("name", VIEWS)
def test_a_batch_equals_one_study_at_a_time(name):
    network = build(name, **SMALL, conditions=(1, 2)).eval()
    crops = torch.rand(3, 2, 5, 3, 32, 32) * 2 - 1
    there = torch.rand(3, 2, 5) < 0.7
    together = network(crops, there)
    assert together.shape == (3, 2, 5, 3) and together.dtype == torch.float32
    alone = torch.cat([network(crops[k : k + 1], there[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VIEWS)
def test_pixels_of_absent_crops_change_nothing(name):
    """In training too: batch statistics do not see them."""
    network = build(name, **SMALL, conditions=(0,), dropout=0.0).train()
    there = torch.tensor([[[True, True, False, True, True]], [[True] * 5]])
    crops = torch.rand(2, 1, 5, 3, 32, 32)
    other = crops.clone()
    other[~there] = 9.0
    expected = network(crops, there)[there]
    # The running statistics have moved since, but training does not use them.
    torch.testing.assert_close(network(other, there)[there], expected)
    changed = crops.clone()
    changed[0, 0, 0] += 0.5
    assert not torch.allclose(network(changed, there)[there], expected)


def test_features_lie_at_their_crops():
    class Sum(nn.Module):
        num_features = 1

        def forward(self, images):
            return images.sum(dim=(1, 2, 3))[:, None]

    crops = torch.arange(4.0).reshape(2, 2, 1, 1, 1)
    there = torch.tensor([[True, False], [True, True]])
    found = CropFeatures(Sum())(crops, there)
    assert found[..., 0].tolist() == [[0.0, 0.0], [2.0, 3.0]]
    nothing = CropFeatures(Sum())(crops, torch.zeros(2, 2, dtype=torch.bool))
    assert nothing.shape == (2, 2, 1) and not nothing.any()


def test_the_gate_knows_the_condition():
    left = build("view_condition", **SMALL, conditions=(1,)).eval()
    right = build("view_condition", **SMALL, conditions=(2,)).eval()
    right.load_state_dict(left.state_dict())
    crops, there = torch.rand(1, 1, 5, 3, 32, 32), torch.ones(1, 1, 5, dtype=torch.bool)
    assert not torch.allclose(left(crops, there), right(crops, there))


def test_levels_tell_each_other_through_the_lstm_alone():
    crops, there = torch.rand(1, 1, 5, 3, 32, 32), torch.ones(1, 1, 5, dtype=torch.bool)
    other = crops.clone()
    other[0, 0, 4] = 0
    for name in VIEWS:
        network = build(name, **SMALL, conditions=(0,)).eval()
        same = torch.equal(network(crops, there)[0, 0, 0], network(other, there)[0, 0, 0])
        assert same == (name != "view_level_lstm")


def test_the_order_of_slices_matters_to_the_gru():
    network = build("view_gru", **SMALL, conditions=(0,)).eval()
    crops, there = torch.rand(1, 1, 5, 3, 32, 32), torch.ones(1, 1, 5, dtype=torch.bool)
    assert not torch.allclose(network(crops, there), network(crops.flip(3), there))


def test_sequences_of_several_lengths_equal_one_at_a_time():
    gru = SequenceGru(4, 3)
    steps = torch.rand(9, 4)
    together = gru.of_lengths(steps, [2, 0, 6, 1])
    assert together.shape == (4, 6) and not together[1].any()
    for row, part in ((0, steps[:2]), (2, steps[2:8]), (3, steps[8:])):
        torch.testing.assert_close(together[row], gru(part[None])[0])
    assert not gru.of_lengths(steps[:0], [0, 0]).any()
