"""The number format of heavy arithmetic: what is asked for, and what the hardware computes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from spinegrade.runtime.depthwise import FastDepthwise
from spinegrade.training.plan import Plan

_LOGGER = logging.getLogger("spinegrade")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; emulated it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public question for this one.
    return torch.cpu._is_avx512_bf16_supported()


def usable_dtype(name: str, device: torch.device) -> torch.dtype:
    """float32, bfloat16 or float16 by ``name``; bfloat16 only where it is native, else float32."""
    dtype = _DTYPES[name]
    if dtype == torch.bfloat16 and not has_bfloat16(device):
        _LOGGER.info("this machine has no native bfloat16: float32 instead")
        return torch.float32
    return dtype


def dtype_of(plan: Plan, device: torch.device) -> torch.dtype:
    """The number format of a learner's heavy arithmetic on ``device``."""
    wanted = plan.precision_cuda if device.type == "cuda" else plan.precision_cpu
    return usable_dtype(wanted, device)


@contextmanager
def autocast(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Mixed precision of ``dtype``; nothing for float32."""
    mixed = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
    slow = device.type == "cpu" and dtype == torch.bfloat16
    with mixed, FastDepthwise() if slow else nullcontext():
        yield
