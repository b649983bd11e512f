"""Depthwise convolutions under bfloat16 on the CPU, with gradients that do not take the slow way.

torch's CPU kernels for the gradient of a depthwise convolution's weights, and of its input where
it strides, are several times slower in bfloat16 than in float32; in a network of such convolutions
they are most of a training step. Here those two are computed in float32, all else as it was.
``benchmarks/depthwise_step.py`` says what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Values that are copied to float32 at once: whole copies would be the peak of a large step.
_PART = 2**25


class _Depthwise(torch.autograd.Function):
    """``functional.conv2d`` of one filter a channel, all tensors of one half-precision type."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        values: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
    ) -> Tensor:
        ctx.save_for_backward(values, weight)
        ctx.shape = stride, padding, dilation
        return functional.conv2d(values, weight, bias, stride, padding, dilation, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, weight = ctx.saved_tensors
        of_values, of_weight, of_bias = ctx.needs_input_grad[:3]
        strided = max(ctx.shape[0]) > 1
        in_half, _ = _gradients(
            *(gradient, values, weight, *ctx.shape), of_values and not strided, False
        )
        parts = max(1, min(len(values), -(-values.numel() // _PART)))
        found = []
        for pair in zip(gradient.tensor_split(parts), values.tensor_split(parts), strict=True):
            single = [tensor.float() for tensor in (*pair, weight)]
            images, filters = _gradients(*single, *ctx.shape, of_values and strided, of_weight)
            biases = single[0].sum(dim=(0, 2, 3)) if of_bias else None
            found.append((None if images is None else images.to(values.dtype), filters, biases))
        of_images, of_filters, of_biases = zip(*found, strict=True)
        return (
            torch.cat(of_images) if of_values and strided else in_half,
            reduce(torch.add, of_filters).to(weight.dtype) if of_weight else None,
            reduce(torch.add, of_biases).to(gradient.dtype) if of_bias else None,
            *(None, None, None),
        )


def _gradients(
    gradient: Tensor,
    values: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    of_values: bool,
    of_weight: bool,
) -> tuple[Tensor | None, Tensor | None]:
    if not (of_values or of_weight):
        return None, None
    both = torch.ops.aten.convolution_backward(
        *(gradient, values, weight, None, stride, padding, dilation),
        *(False, [0, 0], len(weight), [of_values, of_weight, False]),
    )
    return both[0], both[1]


class FastDepthwise(TorchFunctionMode):
    """While it is entered, depthwise ``conv2d`` of bfloat16 autocast on the CPU are the above.

    Nothing else changes: not another device, precision or convolution, nor inference.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch for each of its functions."""
        kwargs = kwargs or {}
        if func is functional.conv2d and _applies():
            given = _arguments(*args, **kwargs)
            if given is not None:
                return _Depthwise.apply(*given)
        return func(*args, **kwargs)


def _applies() -> bool:
    return (
        torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


def _arguments(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[Any, ...] | None:
    """What ``_Depthwise`` takes, None for what is not its own; parameters are named by torch."""
    depthwise = groups > 1 and groups == len(weight) and weight.shape[1] == 1
    if not depthwise or input.device.type != "cpu" or input.ndim != 4 or isinstance(padding, str):
        return None
    pairs = ([v, v] if isinstance(v, int) else list(v) for v in (stride, padding, dilation))
    half = (None if t is None else t.to(torch.bfloat16) for t in (input, weight, bias))
    return *half, *pairs
