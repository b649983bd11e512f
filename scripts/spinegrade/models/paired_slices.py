"""A convolution over packed volumes by pairs of slices, with its gradient.

Two identities save multiplications. Both change only the order of sums, so that results agree
with ``conv3d(cat(upsample(low), skip))`` to rounding:

- Nearest upsampling by two and a kernel of three a side are one transposed convolution of
  stride two, whose kernel of four holds sums of the original taps: 16 multiplications for four
  pixels instead of 36, and no upsampled or concatenated map in memory.
- Two neighbouring slices under a kernel of three along the slices need four products instead
  of six: Winograd's F(2, 3), as in Lavin and Gray (2016), along this one axis.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from spinegrade.models.packed_volumes import Packing, at_least_single

LAYOUT = torch.channels_last
# Row k holds the taps of a kernel of three that tap k of the transposed kernel of four sums.
_SPREAD = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def spread_kernel(kernel: Tensor) -> Tensor:
    """Kernel (out, in, 3, 3) of an upsampled map as a transposed one (in, out, 4, 4)."""
    matrix = kernel.new_tensor(_SPREAD)
    return torch.einsum("yk,xl,oikl->ioyx", matrix, matrix, kernel)


def _gathered(gradient: Tensor) -> Tensor:
    """The adjoint of ``spread_kernel``."""
    matrix = gradient.new_tensor(_SPREAD)
    return torch.einsum("yk,xl,ioyx->oikl", matrix, matrix, gradient)


def _kernels(weight: Tensor) -> list[Tensor]:
    """The four in-plane kernels of F(2, 3) from (out, in, 3, rows, cols)."""
    first, middle, last = weight.unbind(2)
    ends, half = (first + last) / 2, middle / 2
    return [first, ends + half, ends - half, last]


def _halves(slices: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """First and second slices of all pairs, zero where a pair lacks its second."""
    if packing.even is None:
        return slices[0::2], slices[1::2]
    first = slices.index_select(0, packing.even)
    second = torch.zeros_like(first)
    second.index_copy_(0, packing.full, slices.index_select(0, packing.odd))
    return first, second


def _joined(first: Tensor, second: Tensor, packing: Packing) -> Tensor:
    """The adjoint of ``_halves``: slices from the pairs."""
    shape = (sum(packing.lengths), *first.shape[1:])
    slices = torch.empty(shape, dtype=first.dtype, device=first.device)
    slices = slices.to(memory_format=LAYOUT)
    if packing.even is None:
        slices[0::2], slices[1::2] = first, second
    else:
        slices.index_copy_(0, packing.even, first)
        slices.index_copy_(0, packing.odd, second.index_select(0, packing.full))
    return slices


def _add_previous(target: Tensor, source: Tensor, packing: Packing) -> None:
    """Add to each pair's ``target`` the ``source`` of the pair before it in its volume."""
    kept = [target[start].clone() for start in packing.pair_starts[1:]]
    target[1:] += source[:-1]
    for start, values in zip(packing.pair_starts[1:], kept, strict=True):
        target[start] = values


def _add_next(target: Tensor, source: Tensor, packing: Packing) -> None:
    """Add to each pair's ``target`` the ``source`` of the pair after it in its volume."""
    ends = [start - 1 for start in packing.pair_starts[1:]]
    kept = [target[end].clone() for end in ends]
    target[:-1] += source[1:]
    for end, values in zip(ends, kept, strict=True):
        target[end] = values


def _transformed(product: int, first: Tensor, second: Tensor, packing: Packing) -> Tensor:
    """The input of one of the four products, in channels-last memory."""
    if product == 1:
        found = first + second
    elif product == 2:
        found = second - first
    elif product == 0:
        found = -second
        _add_previous(found, second, packing)
    else:
        found = -first
        _add_next(found, first, packing)
    return found.contiguous(memory_format=LAYOUT)


def _add_transposed(
    product: int, gradient: Tensor, first: Tensor, second: Tensor, packing: Packing
) -> None:
    """The adjoint of ``_transformed``, added to the gradients of the halves."""
    if product == 1:
        first += gradient
        second += gradient
    elif product == 2:
        first -= gradient
        second += gradient
    elif product == 0:
        second -= gradient
        _add_next(second, gradient, packing)
    else:
        first -= gradient
        _add_previous(first, gradient, packing)


class _Operand:
    """One of the two maps that a convolution reads: the skipped one, or the one below it."""

    def __init__(self, slices: Tensor, weight: Tensor, packing: Packing, below: bool) -> None:
        self.first, self.second = _halves(slices, packing)
        self.kernels, self.packing, self.below = _kernels(weight), packing, below

    def _kernel(self, product: int) -> Tensor:
        kernel = self.kernels[product]
        kernel = spread_kernel(kernel) if self.below else kernel
        return kernel.to(self.first.dtype, memory_format=LAYOUT)

    def product(self, number: int) -> Tensor:
        """One of the four products, (pairs, out, rows, cols)."""
        values = _transformed(number, self.first, self.second, self.packing)
        if self.below:
            return functional.conv_transpose2d(values, self._kernel(number), stride=2, padding=1)
        return functional.conv2d(values, self._kernel(number), padding=1)

    def gradients(self, number: int, gradient: Tensor, of_values: bool) -> tuple[Tensor, Tensor]:
        """Gradients of one product's input (None unless ``of_values``) and of its kernel."""
        values = _transformed(number, self.first, self.second, self.packing)
        stride = [2, 2] if self.below else [1, 1]
        of_input, of_kernel, _ = torch.ops.aten.convolution_backward(
            *(gradient, values, self._kernel(number), None, stride, [1, 1], [1, 1]),
            *(self.below, [0, 0], 1, [of_values, True, False]),
        )
        of_kernel = at_least_single(of_kernel)
        return of_input, _gathered(of_kernel) if self.below else of_kernel


def _operands(skip: Tensor, low: Tensor | None, weight: Tensor, packing: Packing) -> list[_Operand]:
    # Sums of half-precision weights would lose bits: they are made of the stored ones.
    weight = at_least_single(weight)
    below = 0 if low is None else low.shape[1]
    operands = [_Operand(skip, weight[:, below:], packing, False)]
    if low is not None:
        operands.append(_Operand(low, weight[:, :below], packing, True))
    return operands


class _PairedSlices(torch.autograd.Function):
    """The convolution by pairs of slices; what the products read is computed again backwards."""

    @staticmethod
    def forward(
        ctx: Any, skip: Tensor, low: Tensor | None, weight: Tensor, packing: Packing
    ) -> Tensor:
        ctx.packing = packing
        ctx.save_for_backward(skip, low, weight)
        operands = _operands(skip, low, weight, packing)

        def product(number: int) -> Tensor:
            total = operands[0].product(number)
            for operand in operands[1:]:
                total += operand.product(number)
            return total

        first, second = product(0), product(1)
        first += second
        middle = product(2)
        first += middle
        second -= middle
        second += product(3)
        return _joined(first, second, packing)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        skip, low, weight = ctx.saved_tensors
        packing = ctx.packing
        first, second = _halves(gradient, packing)
        of_slices, of_weights = [], []
        for place, operand in enumerate(_operands(skip, low, weight, packing)):
            wanted = ctx.needs_input_grad[place]
            halves = [torch.zeros_like(operand.first, memory_format=LAYOUT) for _ in range(2)]
            kernels = []
            for number in range(4):
                seen = (first, first + second, first - second, second)[number]
                seen = seen.contiguous(memory_format=LAYOUT)
                of_values, of_kernel = operand.gradients(number, seen, wanted)
                kernels.append(of_kernel)
                if wanted:
                    _add_transposed(number, of_values, *halves, packing)
            half, middle = (kernels[1] + kernels[2]) / 2, (kernels[1] - kernels[2]) / 2
            of_weight = torch.stack([kernels[0] + half, middle, half + kernels[3]], dim=2)
            of_weights.insert(0, of_weight)
            of_slices.append(_joined(*halves, packing) if wanted else None)
        of_weight = torch.cat(of_weights, dim=1).to(weight.dtype)
        return of_slices[0], of_slices[1] if low is not None else None, of_weight, None


def paired_convolution(
    skip: Tensor, low: Tensor | None, weight: Tensor, packing: Packing
) -> Tensor:
    """A 3 x 3 x 3 convolution of packed volumes, zero beyond each one's faces.

    ``skip`` (S, channels, rows, cols) and, upsampled and before it, ``low`` (S, channels below,
    rows / 2, cols / 2), of one float type; ``weight`` (out, channels, 3, 3, 3). Returns
    (S, out, rows, cols) of their type, channels last, with gradients of first order.
    """
    return _PairedSlices.apply(skip, low, weight, packing)
