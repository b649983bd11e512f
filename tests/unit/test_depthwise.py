"""Depthwise convolutions in bfloat16 on the CPU: the same numbers by another way."""

import pytest
import torch
from spinegrade.runtime import depthwise
from spinegrade.runtime.depthwise import FastDepthwise, _Depthwise
from spinegrade.training.precision import autocast
from torch import nn

SHAPES = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 5, "padding": 2, "stride": 2, "bias": False},
    {"kernel_size": 3, "padding": (1, 2), "dilation": (1, 2)},
]


def _step(layer: nn.Module, values: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    layer.zero_grad()
    values = values.clone().requires_grad_()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        found = layer(values)
    (found.float() ** 2).sum().backward()
    return [found, values.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_single_precision_but_for_rounding(shape):
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, groups=6, **shape)
    values = torch.randn(3, 6, 12, 10)
    with FastDepthwise():
        found = _step(layer, values, torch.bfloat16)
    assert found[0].dtype == torch.bfloat16
    assert type(found[0].grad_fn).__name__ == "_DepthwiseBackward"
    for ours, exact in zip(found, _step(layer, values, torch.float32), strict=True):
        # bfloat16 has eight bits: what passes through it a few times keeps two digits.
        assert (ours.float() - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", [1, 1500])
def test_a_large_batch_is_gone_through_in_parts(shape, part, monkeypatch):
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, groups=6, **shape)
    values = torch.randn(5, 6, 12, 10)  # of parts of 1500 values three, of 1 value five
    with FastDepthwise():
        at_once = _step(layer, values, torch.bfloat16)
        monkeypatch.setattr(depthwise, "_PART", part)
        in_parts = _step(layer, values, torch.bfloat16)
    for ours, theirs in zip(in_parts, at_once, strict=True):
        # Sums in another order, rounded to bfloat16.
        assert torch.allclose(ours, theirs, rtol=2**-7, atol=1e-3)


@pytest.mark.parametrize(
    ("layer", "dtype", "training"),
    [
        (nn.Conv2d(6, 6, 3), torch.bfloat16, True),
        (nn.Conv2d(6, 12, 3, groups=6), torch.bfloat16, True),
        (nn.Conv2d(6, 6, 3, groups=6, padding="same"), torch.bfloat16, True),
        (nn.Conv2d(6, 6, 3, groups=6), torch.float32, True),
        (nn.Conv2d(6, 6, 3, groups=6), torch.bfloat16, False),
    ],
    ids=["dense", "two filters a channel", "padding by name", "single precision", "inference"],
)
def test_what_is_not_its_own_stays_torchs(layer, dtype, training, monkeypatch):
    def refuse(*given):
        raise AssertionError("not a depthwise convolution in training")

    monkeypatch.setattr(_Depthwise, "apply", refuse)
    values = torch.randn(2, 6, 8, 8)
    with torch.set_grad_enabled(training), torch.autocast("cpu", dtype, dtype != torch.float32):
        plain = layer(values)
        with FastDepthwise():
            assert torch.equal(layer(values), plain)


@pytest.mark.parametrize(
    ("dtype", "way"),
    [(torch.bfloat16, "_DepthwiseBackward"), (torch.float32, "ConvolutionBackward0")],
)
def test_mixed_precision_on_the_cpu_takes_it(dtype, way):
    layer = nn.Conv2d(4, 4, 3, groups=4)
    with autocast(torch.device("cpu"), dtype):
        found = layer(torch.randn(1, 4, 6, 6))
    assert type(found.grad_fn).__name__ == way
    with torch.autocast("cpu", torch.bfloat16):
        after = layer(torch.randn(1, 4, 6, 6))
    assert type(after.grad_fn).__name__ == "ConvolutionBackward0", "it ends with the block"


def test_a_frozen_filter_gets_no_gradient():
    layer = nn.Conv2d(4, 4, 3, groups=4)
    layer.weight.requires_grad_(False)
    values = torch.randn(1, 4, 6, 6, requires_grad=True)
    with FastDepthwise(), torch.autocast("cpu", torch.bfloat16):
        layer(values).float().sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None and values.grad is not None
