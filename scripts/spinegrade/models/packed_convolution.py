"""The layers of a decoder over packed volumes; their weights are those of the plain ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinegrade.models.packed_volumes import Packing, at_least_single
from spinegrade.models.paired_slices import LAYOUT, paired_convolution, spread_kernel


def _by_taps(skip: Tensor, low: Tensor | None, weight: Tensor, packing: Packing) -> Tensor:
    """The convolution as one of the plane with an output for each tap along the slices."""
    outputs = weight.shape[0]
    below = 0 if low is None else low.shape[1]
    kernel = weight.permute(2, 0, 1, 3, 4).flatten(0, 1)
    taps = functional.conv2d(skip, kernel[:, below:], padding=1)
    if low is not None:
        spread = spread_kernel(at_least_single(kernel[:, :below]))
        taps = taps + functional.conv_transpose2d(low, spread.to(kernel.dtype), stride=2, padding=1)
    return _AddedTaps.apply(taps, outputs, packing)


class _AddedTaps(torch.autograd.Function):
    """Each slice's middle tap, its predecessor's first and its successor's last."""

    @staticmethod
    def forward(ctx: Any, taps: Tensor, outputs: int, packing: Packing) -> Tensor:
        ctx.packing = packing
        before, here, after = taps.split(outputs, dim=1)
        total = here.contiguous(memory_format=LAYOUT)
        for volume in _slices_of(packing):
            total[volume][1:] += before[volume][:-1]
            total[volume][:-1] += after[volume][1:]
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        outputs = gradient.shape[1]
        shape = (len(gradient), 3 * outputs, *gradient.shape[2:])
        taps = torch.empty(
            shape, dtype=gradient.dtype, device=gradient.device, memory_format=LAYOUT
        )
        before, here, after = taps.split(outputs, dim=1)
        here.copy_(gradient)
        for volume in _slices_of(ctx.packing):
            before[volume][:-1] = gradient[volume][1:]
            before[volume][-1] = 0
            after[volume][1:] = gradient[volume][:-1]
            after[volume][0] = 0
        return taps, None, None


def _slices_of(packing: Packing) -> list[slice]:
    places = zip(packing.starts, packing.lengths, strict=True)
    return [slice(start, start + length) for start, length in places]


def _in_working_precision(slices: Tensor) -> Tensor:
    """``slices`` as autocast would hand them to a convolution, channels last."""
    kind = slices.device.type
    if torch.is_autocast_enabled(kind):
        slices = slices.to(torch.get_autocast_dtype(kind))
    return slices.contiguous(memory_format=LAYOUT)


class PackedConv3d(nn.Conv3d):
    """A 3 x 3 x 3 convolution without bias, zero beyond each volume's faces, of packed volumes.

    ``scheme`` is ``pairs``, ``taps`` or ``auto``: pairs of slices on the CPU, where
    multiplications count, and one convolution for all taps on other devices.
    """

    def __init__(self, in_channels: int, out_channels: int, scheme: str = "auto") -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)
        self.scheme = scheme

    def forward(self, skip: Tensor, packing: Packing, low: Tensor | None = None) -> Tensor:
        """(S, channels, rows, cols) to (S, out, rows, cols), channels last.

        With ``low`` (S, channels below, rows / 2, cols / 2) it is the convolution of ``low``,
        upsampled to the nearest in the plane, concatenated with ``skip`` in this order.
        """
        skip = _in_working_precision(skip)
        low = None if low is None else _in_working_precision(low)
        on_cpu = skip.device.type == "cpu"
        if self.scheme == "pairs" or (self.scheme == "auto" and on_cpu):
            return paired_convolution(skip, low, self.weight, packing)
        return _by_taps(skip, low, self.weight.to(skip.dtype), packing)


class UpsamplingConv2d(nn.Conv2d):
    """A 3 x 3 convolution without bias of ``cat(upsample(low), skip)``, without making that."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, skip: Tensor, low: Tensor) -> Tensor:
        """(S, channels, rows, cols) and (S, channels below, rows / 2, cols / 2)."""
        skip, low = _in_working_precision(skip), _in_working_precision(low)
        below = low.shape[1]
        spread = spread_kernel(at_least_single(self.weight[:, :below])).to(low.dtype)
        of_low = functional.conv_transpose2d(low, spread, stride=2, padding=1)
        weight = self.weight[:, below:].to(skip.dtype)
        return of_low + functional.conv2d(skip, weight, padding=1)


class PackedBatchNorm3d(nn.BatchNorm3d):
    """Batch normalisation of packed volumes: its statistics are over their voxels only."""

    def _check_input_dim(self, input: Tensor) -> None:
        # Slices times in-plane pixels are the voxels, whichever axis is called depth.
        if input.dim() != 4:
            raise ValueError(f"expected packed slices (S, channels, rows, cols), got {input.shape}")
