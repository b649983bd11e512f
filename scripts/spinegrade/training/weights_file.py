"""Weights as .safetensors together with a record of what they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import atomic_path

# One key: the order of several in the file is not the same from run to run.
_HEADER = "training"


def save_weights(
    path: str | Path, weights: Mapping[str, Tensor], record: Mapping[str, Any]
) -> None:
    """Write ``weights`` and a ``record`` of plain values, atomically.

    Its studies, ``trained_on`` and ``chosen_on`` where given, are sorted, so that the bytes do not
    depend on their order.
    """
    given = [key for key in ("trained_on", "chosen_on") if key in record]
    studies = {key: sorted(record[key]) for key in given}
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    header = json.dumps({**record, **studies}, sort_keys=True)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {_HEADER: header})


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What ``save_weights`` wrote; lists of the record come back as tuples.

    Raises SpinegradeError for a file that cannot be read, and for one without a record.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
        record = json.loads(metadata[_HEADER])
        return tensors, {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    except (SafetensorError, OSError) as error:
        raise SpinegradeError(f"{path}: cannot be read ({error}); train it again") from error
    except (KeyError, AttributeError, json.JSONDecodeError) as error:
        raise without_record(path) from error


def without_record(path: str | Path) -> SpinegradeError:
    """What to say of weights whose record is missing or lacks something."""
    return SpinegradeError(f"{path}: does not say what it was trained on; train it again")


def fill_network(
    network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, what: str
) -> None:
    """Load ``tensors`` of ``path``; SpinegradeError where they are not ``what``'s ("grader a")."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise SpinegradeError(
            f"{path}: not the weights of {what} as configured ({error}); train it again"
        ) from error
