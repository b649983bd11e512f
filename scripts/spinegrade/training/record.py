"""Weights as .safetensors together with a record of what they come from, one for all learners."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import atomic_path

# One key: the order of several in the file is not the same from run to run.
_HEADER = "spinegrade"


@dataclass(frozen=True)
class Record:
    """What a learner's weights come from.

    ``room`` and ``kind`` name the module, ``settings`` are the learner's plain ones and ``code``
    is the fingerprint of the code. ``trained_on``: the studies that it learnt from; ``chosen_on``:
    those whose score chose the epoch, none where that is the last one (``select`` last).
    ``extra``: what the kind needs to predict beside the weights.
    """

    name: str
    room: str
    kind: str
    fold: int
    code: str
    select: str
    settings: Mapping[str, Any]
    trained_on: tuple[str, ...]
    chosen_on: tuple[str, ...]
    extra: Mapping[str, Any]

    @property
    def refused(self) -> set[str]:
        """The studies that it may not predict: published choices are named as such."""
        chosen = () if self.select == "published" else self.chosen_on
        return {*self.trained_on, *chosen}


@dataclass(frozen=True)
class FoldModel:
    """A fold's network in evaluation mode on ``device``, and the record of its weights."""

    network: nn.Module
    record: Record
    device: torch.device
    path: str

    @property
    def fold(self) -> int:
        """The fold that it did not learn from."""
        return self.record.fold

    @property
    def refused(self) -> set[str]:
        """The studies that it may not look at."""
        return self.record.refused


def save_weights(path: str | Path, weights: Mapping[str, Tensor], record: Record) -> None:
    """Write ``weights`` and their ``record`` atomically, its studies sorted and each once."""
    plain = asdict(record)
    for key in ("trained_on", "chosen_on"):
        plain[key] = sorted(set(plain[key]))
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    header = json.dumps(plain, sort_keys=True)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {_HEADER: header})


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], Record]:
    """What ``save_weights`` wrote.

    Raises SpinegradeError for a file that cannot be read, and for one without a record.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SpinegradeError(f"{path}: cannot be read ({error}); train it again") from error
    try:
        plain = json.loads(metadata[_HEADER])
        studies = {key: tuple(plain[key]) for key in ("trained_on", "chosen_on")}
        return tensors, Record(**{**plain, **studies})
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise SpinegradeError(
            f"{path}: does not say what it was trained on; train it again"
        ) from error


def load_model(
    path: str | Path,
    expected: Mapping[str, Any],
    network_of: Callable[[Record, Mapping[str, Tensor]], nn.Module],
    device: torch.device,
) -> FoldModel:
    """The model of ``path``; ``network_of`` makes its network of the record and the weights.

    Raises SpinegradeError for a file that cannot be read, whose record differs from what is
    ``expected`` of it (name, room, kind, select), or whose weights do not fit the network.
    """
    weights, record = read_weights(path)
    found = {key: getattr(record, key) for key in expected}
    if found != dict(expected):
        raise SpinegradeError(f"{path}: weights of {found}, expected {expected}; train it again")
    try:
        network = network_of(record, weights)
        network.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError) as error:
        raise SpinegradeError(
            f"{path}: not the weights of {record.name} as configured ({error}); train it again"
        ) from error
    return FoldModel(network.to(device).eval(), record, device, str(path))
