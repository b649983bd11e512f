"""Volume networks from timm's image networks: each filter repeated along the slices.

The inflation of Carreira and Zisserman, "Quo vadis, action recognition?" (CVPR 2017): a k x k
filter becomes a k x k x k one whose layers are the given filter over k, so that a volume of equal
slices is answered, away from its ends, as the image would be. Pooling goes over slices too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spinegrade.errors import SpinegradeError
from spinegrade.models import timm_backbone

_SAME_IN_3D = (nn.Identity, nn.Dropout, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.LeakyReLU)


class InflatedBackbone(nn.Module):
    """(n, channels, slices, rows, cols) to (n, ``num_features``), the mean over the volume."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.num_features: int = network.num_features

    def forward(self, volumes: Tensor) -> Tensor:
        """``volumes`` float, every side at least 32 or what the network shrinks it by."""
        return self.network(volumes).mean(dim=(2, 3, 4))


class BatchNormAct3d(nn.BatchNorm3d):
    """Batch norm of volumes, then dropout and activation, as timm's of images."""

    def __init__(self, of_images: nn.BatchNorm2d) -> None:
        super().__init__(of_images.num_features, of_images.eps, of_images.momentum)
        self.drop, self.act = of_images.drop, of_images.act

    def forward(self, volumes: Tensor) -> Tensor:
        """Any shape (n, channels, slices, rows, cols)."""
        return self.act(self.drop(super().forward(volumes)))


class SameConv3d(nn.Conv3d):
    """A convolution whose output has ceil(side / stride) a side, whatever is padded for it.

    TensorFlow's padding, as timm's Conv2dSame for networks with weights from there (names with
    tf_): where the padding is odd the one more stands after the last.
    """

    def forward(self, volumes: Tensor) -> Tensor:
        """Any shape (n, channels, slices, rows, cols)."""
        pads: list[int] = []
        sides = zip(volumes.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True)
        for side, width, stride, dilation in sides:
            reach = (-(-side // stride) - 1) * stride + (width - 1) * dilation + 1
            padding = max(0, reach - side)
            # functional.pad counts from the last side.
            pads = [padding // 2, padding - padding // 2, *pads]
        return super().forward(functional.pad(volumes, pads))


def build(backbone: str, channels: int = 1, pretrained: str | None = None) -> InflatedBackbone:
    """The timm network ``backbone`` for volumes, without its classifier.

    Names, tensors and strides are timm's, slices shrink as rows do. ``pretrained`` as in
    ``timm_backbone.build``; its image filters are inflated too. Raises SpinegradeError as that
    does, and for a network with a part that has no counterpart for volumes: those of
    convolutions, batch norm and pooling alone have (ResNet, DenseNet and their kin).
    """
    network = timm_backbone.create_network(
        backbone, channels, pretrained, 0.0, num_classes=0, global_pool=""
    )
    _inflate_children(network, backbone)
    _refuse_image_parts(network, backbone, channels)
    return InflatedBackbone(network)


def _inflate_children(parent: nn.Module, backbone: str) -> None:
    for name, child in parent.named_children():
        made = _inflated(child)
        if made is None:
            _inflate_children(child, backbone)
        else:
            setattr(parent, name, made)


def _inflated(module: nn.Module) -> nn.Module | None:
    """The module's counterpart for volumes; None where it has none of its own."""
    if type(module) is nn.Conv2d:
        return _convolution(module, nn.Conv3d)
    if isinstance(module, nn.Conv2d) and type(module).__name__ == "Conv2dSame":
        return _convolution(module, SameConv3d)
    if isinstance(module, nn.BatchNorm2d):
        of_volumes = nn.BatchNorm3d(module.num_features, module.eps, module.momentum)
        if hasattr(module, "act"):
            of_volumes = BatchNormAct3d(module)
        of_volumes.load_state_dict(module.state_dict())
        return of_volumes
    if type(module) is nn.MaxPool2d:
        return nn.MaxPool3d(**_window(module), dilation=module.dilation)
    if type(module) is nn.AvgPool2d:
        return nn.AvgPool3d(**_window(module), count_include_pad=module.count_include_pad)
    return None


def _window(pool: Any) -> dict[str, Any]:
    return {key: getattr(pool, key) for key in ("kernel_size", "stride", "padding", "ceil_mode")}


def _convolution(image: nn.Conv2d, kind: type[nn.Conv3d]) -> nn.Conv3d:
    sides = {}
    for key in ("kernel_size", "stride", "padding", "dilation"):
        down, across = getattr(image, key)
        if down != across:
            raise SpinegradeError(
                f"a convolution's {key} is {down} by {across}: only square ones are inflated",
                code="ENCODER_NOT_INFLATED",
            )
        sides[key] = down
    volume = kind(
        *(image.in_channels, image.out_channels),
        **sides,
        groups=image.groups,
        bias=image.bias is not None,
    )
    depth = sides["kernel_size"]
    with torch.no_grad():
        volume.weight.copy_(image.weight[:, :, None].expand(-1, -1, depth, -1, -1) / depth)
        if image.bias is not None:
            volume.bias.copy_(image.bias)
    return volume


def _refuse_image_parts(network: nn.Module, backbone: str, channels: int) -> None:
    """A part that works on images alone would fail later, or mix rows with slices silently."""
    known = (*_SAME_IN_3D, nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AvgPool3d)
    leaves = (part for part in network.modules() if not list(part.children()))
    unknown = {type(part).__name__ for part in leaves if not isinstance(part, known)}
    if not unknown:
        was_training = network.training
        try:
            with torch.inference_mode():
                network.eval()(torch.zeros(1, channels, 32, 32, 32))
        except RuntimeError as error:
            unknown = {str(error)}
        network.train(was_training)
    if unknown:
        raise SpinegradeError(
            f"backbone {backbone!r} has parts that are not inflated to volumes "
            f"({', '.join(sorted(unknown))}); allowed: networks of convolutions, batch norm and "
            "pooling, such as densenet161, resnet34d, resnet152s, tf_efficientnet_lite0",
            code="ENCODER_NOT_INFLATED",
        )
