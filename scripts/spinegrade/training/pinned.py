"""Batches of any shape in memory that CUDA can copy from while it computes."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def pinned(batch: Any) -> Any:
    """The same with every tensor in tuples, lists and dictionaries pinned."""
    if isinstance(batch, Tensor):
        return batch.pin_memory()
    if isinstance(batch, dict):
        return {name: pinned(value) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(pinned(value) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(pinned(value) for value in batch)
    return batch
