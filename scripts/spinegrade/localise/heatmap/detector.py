"""A trained detector: its network with the settings and steps that it needs to find points."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from spinegrade.errors import SpinegradeError
from spinegrade.localise.heatmap.network import HEADER, build_network, normalised
from spinegrade.localise.heatmap.offsets import Offsets
from spinegrade.localise.heatmap.steps import Steps
from spinegrade.targets import TARGETS, Target


class Detector(NamedTuple):
    """``network`` in evaluation mode; ``settings`` the detector's config block.

    ``steps`` and ``offsets`` as measured on its training studies.
    """

    network: nn.Module
    settings: Mapping[str, Any]
    steps: Steps | None
    offsets: Offsets
    device: torch.device

    @property
    def target(self) -> Target:
        """What the detector looks for."""
        return TARGETS[self.settings["target"]]

    def probabilities(
        self, images: NDArray[np.uint8], batch_size: int = 16
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Heatmaps (n, P, rows, cols) and, for sagittal detectors, slices (n, P, S).

        ``images`` uint8 (n, slices, rows, cols). Both sum to one for each point, and are the mean
        over the image and its left/right mirror.
        """
        # Sagittal grids are mirrored by their slices' order, axial ones by their columns'.
        sagittal = self.target.plane == "sagittal"
        exchange = list(self.target.mirror)
        in_plane, slices = [], []
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                part = torch.from_numpy(images[start : start + batch_size]).to(self.device)
                part = part.float() / 255.0
                found = self._softmax(part)
                other = self._softmax(part.flip(1 if sagittal else 3))
                heatmaps = other[0][:, exchange]
                heatmaps = heatmaps if sagittal else heatmaps.flip(3)
                in_plane.append(((found[0] + heatmaps) / 2).cpu().numpy())
                if found[1] is not None and other[1] is not None:
                    along = (found[1] + other[1][:, exchange].flip(2)) / 2
                    slices.append(along.cpu().numpy())
        return np.concatenate(in_plane), np.concatenate(slices) if slices else None

    def _softmax(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        found = self.network(normalised(images))
        in_plane = found.in_plane.double()
        in_plane = in_plane.flatten(2).softmax(dim=2).view(in_plane.shape)
        return in_plane, None if found.slices is None else found.slices.double().softmax(dim=2)


def load_detector(path: str | Path, device: torch.device) -> Detector:
    """Read a detector; raises SpinegradeError for a file that is none, or is broken."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        network = build_network(header["settings"])
        network.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise SpinegradeError(
            f"{path}: no detector of this version ({error}); remove it and run train_keypoints"
        ) from error
    steps = Steps.from_lists(header["steps"]) if header["steps"] else None
    network = network.to(device).eval()
    return Detector(network, header["settings"], steps, header["offsets"], device)
