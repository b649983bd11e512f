"""Training checkpoints: exact resume, outside the declared outputs that a failed job loses."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from spinegrade.runtime.files import atomic_path

_LOGGER = logging.getLogger("spinegrade")


class Checkpoint:
    """One training run's state on disk, bound to the fingerprint of its code and settings.

    A file made under another fingerprint is passed over with a note in the log: it belongs to
    another training.
    """

    def __init__(self, path: str | Path, fingerprint: str) -> None:
        self.path = Path(path)
        self.fingerprint = fingerprint

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` (tensors, numbers, texts, lists and dicts of them) atomically."""
        with atomic_path(self.path) as temporary:
            torch.save({"fingerprint": self.fingerprint, "state": state}, temporary)

    def load(self) -> dict[str, Any] | None:
        """The state saved last, or None where there is none to go on from."""
        if not self.path.exists():
            return None
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            _LOGGER.warning("%s cannot be read (%s); training starts anew", self.path, error)
            return None
        if not isinstance(saved, dict) or saved.get("fingerprint") != self.fingerprint:
            _LOGGER.info("%s is of other code or settings; training starts anew", self.path)
            return None
        return saved["state"]

    def remove(self) -> None:
        """Remove the file, once what it led to stands."""
        self.path.unlink(missing_ok=True)
