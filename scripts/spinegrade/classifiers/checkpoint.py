"""Checkpoints that lie outside a rule's outputs, so that a killed job resumes where it stood."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from spinegrade.runtime.files import atomic_path

_LOGGER = logging.getLogger("spinegrade")


def fingerprint_of(*parts: Any) -> str:
    """Sixteen hex digits over plain values: settings, code fingerprint, studies, threads."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_checkpoint(path: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) atomically under ``fingerprint``."""
    with atomic_path(path) as temporary:
        torch.save({"fingerprint": fingerprint, **state}, temporary)


def load_checkpoint(path: Path, fingerprint: str, device: torch.device) -> dict[str, Any] | None:
    """The state saved at ``path``, or None where there is none that fits.

    A checkpoint of other settings, data or code, or one that cannot be read, is not used: it
    says so in the log, and training starts anew.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        _LOGGER.warning("%s cannot be read (%s): training starts anew", path, error)
        return None
    if not isinstance(state, dict) or state.get("fingerprint") != fingerprint:
        _LOGGER.warning("%s is of other settings, data or code: training starts anew", path)
        return None
    return state
