"""Whether inflated networks of the pinned timm are those of timm-3d, tensor by tensor.

Usage, with timm-3d from benchmarks/requirements.txt installed:
    python benchmarks/inflated_networks.py

Each network gets the same random weights in both; printed are the number of weights and the
greatest difference of their features on one random volume of 32 x 64 x 64.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from spinegrade.models.registry import build
from spinegrade.runtime.torch_setup import import_timm

NETWORKS = ("resnet18", "resnet34d", "densenet121", "densenet161", "resnet152s")


def main() -> None:
    import_timm()
    # It compiles with what torch has deprecated, and says so each time.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm_3d

    torch.set_num_threads(1)
    for name in NETWORKS:
        torch.manual_seed(0)
        own = build("inflated_backbone", backbone=name, channels=2).eval()
        other = timm_3d.create_model(name, num_classes=0, in_chans=2, global_pool="avg").eval()
        other.load_state_dict(own.network.state_dict())
        volume = torch.randn(1, 2, 32, 64, 64)
        with torch.inference_mode():
            apart = (own(volume) - other(volume)).abs().max().item()
        weights = sum(parameter.numel() for parameter in own.parameters())
        print(f"{name}: {weights} weights, greatest difference {apart:g}")


if __name__ == "__main__":
    main()
