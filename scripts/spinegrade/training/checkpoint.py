"""Checkpoints of training: exact resume, outside the outputs that Snakemake removes on a failure.

A file is one line of JSON (what training it belongs to, size and SHA-256 of the rest) and then
the state as torch saves it. The line is read first, so that the state of another training is
never loaded; the hash finds what torch would load without a word: bits that turned, a hole.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spinegrade.runtime.files import atomic_path
from spinegrade.runtime.sigterm import Sigterm

_LOGGER = logging.getLogger("spinegrade")
_FORMAT = 1


def training_parts(
    *,
    code: str,
    settings: Mapping[str, Any],
    data: str,
    math_threads: int,
    device: torch.device,
    precision: str,
) -> dict[str, Any]:
    """All that the bytes of a training depend on, by the names that a refusal uses.

    ``code`` and ``data`` are fingerprints, ``settings`` plain values, nested or not, without
    those that cannot change a result (how often a checkpoint is saved).
    """
    parts = {
        "code": code,
        "settings": settings,
        "data": data,
        "math_threads": math_threads,
        "device": f"{device.type}, {precision}",
        "torch version": torch.__version__,
    }
    return json.loads(json.dumps(parts, sort_keys=True))


class Checkpoint:
    """The state of one training on disk, bound to ``parts`` (``training_parts``).

    ``minutes`` of work may pass without a save (0: a save at every chance). In a ``with`` block
    a SIGTERM makes the next chance a save, which then ends the process by that signal.
    """

    def __init__(self, path: str | Path, parts: Mapping[str, Any], minutes: float) -> None:
        self.path = Path(path)
        self.parts = dict(parts)
        self.minutes = minutes
        self._saved = time.monotonic()
        self._sigterm = Sigterm()

    def __enter__(self) -> Checkpoint:
        self._sigterm.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._sigterm.__exit__(kind)

    def is_due(self) -> bool:
        """Whether ``minutes`` have gone by since the last save or the start, or SIGTERM came."""
        return self._sigterm.came or time.monotonic() - self._saved >= 60 * self.minutes

    def save(self, state: Mapping[str, Any]) -> None:
        """Write ``state`` (tensors, numbers, texts, None, lists and dicts of them) atomically."""
        content = io.BytesIO()
        torch.save(dict(state), content)
        digest = hashlib.sha256(content.getbuffer()).hexdigest()
        header = {"format": _FORMAT, "bytes": content.getbuffer().nbytes, "sha256": digest}
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            file.write(json.dumps(header | {"parts": self.parts}).encode() + b"\n")
            file.write(content.getbuffer())
            file.flush()
            # Without this a power cut may leave the new name with no content.
            os.fsync(file.fileno())
        self._saved = time.monotonic()
        self._sigterm.carry_out(self.path)

    def save_if_due(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Save what ``state()`` gives when a save is due."""
        if self.is_due():
            self.save(state())

    def load(self) -> dict[str, Any] | None:
        """The state saved last, its tensors on the CPU; None where there is none to go on from.

        A file that is damaged or of another training is not used, and the log says why.
        """
        try:
            header, content = self._read()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _LOGGER.warning(
                "checkpoint %s is cut off or damaged (%s): nothing needs to be done, training "
                "starts anew, and only the epochs done so far of this one fold are lost",
                *(self.path, error),
            )
            return None
        other = differences(header["parts"], self.parts)
        if other:
            _LOGGER.warning(
                "checkpoint %s is of a training with other %s: training starts anew",
                *(self.path, ", other ".join(other)),
            )
            return None
        try:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:
            # Its bytes are those that the header promises, so that somebody made it by hand.
            _LOGGER.warning(
                "checkpoint %s holds no state of a training (%s): training starts anew",
                *(self.path, type(error).__name__),
            )
            return None

    def remove(self) -> None:
        """Remove the file, once what it led to stands."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> tuple[dict[str, Any], bytes]:
        """Header and state's bytes; raises ValueError where they do not fit each other."""
        with self.path.open("rb") as file:
            header = json.loads(file.readline())
            content = file.read()
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            raise ValueError("no checkpoint of this version")
        if not isinstance(header.get("parts"), dict):
            raise ValueError("it does not say what it belongs to")
        if len(content) != header.get("bytes"):
            raise ValueError(f"{len(content)} bytes of {header.get('bytes')}")
        if hashlib.sha256(content).hexdigest() != header.get("sha256"):
            raise ValueError("its content is not what was written")
        return header, content


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The parts that differ, by name; for settings also which ones, and their values."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            was, is_now = _flat(old), _flat(new)
            keys = [k for k in sorted({*was, *is_now}) if was.get(k) != is_now.get(k)]
            told = [f"{k} {was.get(k)!r}, now {is_now.get(k)!r}" for k in keys[:3]]
            more = f"; and {len(keys) - 3} more" if len(keys) > 3 else ""
            found.append(f"{name} ({'; '.join(told)}{more})")
        elif name in ("code", "data"):
            found.append(name)
        else:
            found.append(f"{name} ({old}, now {new})")
    return found


def _flat(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[above + key] = value
    return flat


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of every global random generator (Python's, NumPy's, torch's), plain values."""
    kind, keys, place, has_normal, normal = np.random.get_state()
    version, words, second = random.getstate()
    state = {
        "python": [version, list(words), second],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), place, has_normal, normal],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Take up what ``random_state`` gave."""
    version, words, second = state["python"]
    random.setstate((version, tuple(words), second))
    kind, keys, place, has_normal, normal = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has_normal, normal))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
