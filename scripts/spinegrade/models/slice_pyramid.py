"""Any timm image network as a pyramid of feature maps of single slices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spinegrade.errors import SpinegradeError
from spinegrade.models.timm_backbone import create_network
from spinegrade.training.batch_statistics import freeze_statistics

STRIDES = (4, 8, 16, 32)


class PyramidNetwork(nn.Module):
    """A network with an ``encoder`` and the blocks of a ``decoder``, parts of which may rest."""

    encoder: nn.Module
    decoder: nn.ModuleList

    def freeze(self, name: str) -> None:
        """Let a part keep its weights: encoder, or all_but_last_block of encoder and decoder.

        Raises SpinegradeError for another name.
        """
        parts = {
            "encoder": (self.encoder,),
            "all_but_last_block": (self.encoder, *self.decoder[:-1]),
        }
        if name not in parts:
            raise SpinegradeError(
                f"frozen names {name!r}, which this network has not; it has {', '.join(parts)}",
                code="OPTION_UNKNOWN",
            )
        for part in parts[name]:
            part.requires_grad_(False)


class SlicePyramid(nn.Module):
    """``channels`` are those of the four maps; ``network`` is timm's.

    With ``frozen_statistics`` batch normalisation uses its running statistics in training, too.
    """

    def __init__(
        self,
        network: nn.Module,
        places: list[int],
        channels: tuple[int, ...],
        frozen_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.places, self.channels = network, places, channels
        self.frozen_statistics = frozen_statistics
        self.channels_last = getattr(network, "output_fmt", None) == "NHWC"

    def train(self, mode: bool = True) -> SlicePyramid:
        """As every module's, but for statistics that are frozen."""
        super().train(mode)
        if self.frozen_statistics:
            freeze_statistics(self.network)
        return self

    def freeze_to(self, stride: int) -> None:
        """Let what the map at ``stride`` is made by learn nothing."""
        side = 2 * STRIDES[-1]
        training = self.training
        self.eval()
        wanted = self(torch.zeros(1, 1, side, side))[STRIDES.index(stride)]
        parameters = list(self.network.parameters())
        gradients = torch.autograd.grad(wanted.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is None)
        self.train(training)

    def forward(self, slices: Tensor) -> list[Tensor]:
        """(S, 1, rows, cols) float in -1 .. 1 to maps at strides 4, 8, 16 and 32.

        Raises SpinegradeError where rows or columns are no multiple of 32, and where an encoder
        without padding makes smaller maps.
        """
        rows, cols = slices.shape[-2:]
        if rows % STRIDES[-1] or cols % STRIDES[-1]:
            raise SpinegradeError(
                f"slices of {rows} x {cols} pixels came to an encoder that halves them five times; "
                f"give an image size that is a multiple of {STRIDES[-1]}",
                code="IMAGE_SIZE",
            )
        colours = slices.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        maps = self.network(colours)
        maps = [maps[place] for place in self.places]
        if self.channels_last:
            maps = [m.permute(0, 3, 1, 2) for m in maps]
        found = [tuple(m.shape[-2:]) for m in maps]
        expected = [(rows // stride, cols // stride) for stride in STRIDES]
        if found != expected:
            raise SpinegradeError(
                f"the encoder makes maps of {found} (rows, columns) from slices of {rows} x {cols} "
                f"pixels; expected {expected}; choose one that pads its convolutions",
                code="ENCODER_MAPS",
            )
        return maps


def build(
    backbone: str,
    pretrained: str | None = None,
    drop_path: float = 0.0,
    frozen_to_stride: int | None = None,
    frozen_statistics: bool = False,
) -> SlicePyramid:
    """The timm network ``backbone`` without its end: a map at each of the strides 4 to 32.

    ``pretrained`` is as in ``timm_backbone``. A grey slice is copied to the three colours that
    published weights expect. What comes before the map at ``frozen_to_stride`` keeps its weights,
    and with ``frozen_statistics`` all batch normalisation its running statistics: both are for
    pretrained weights and small batches.

    Raises SpinegradeError for a network that timm does not know or cannot take features from,
    for one that lacks these four strides, and for weights that are absent or do not fit.
    """
    try:
        network = create_network(backbone, 3, pretrained, drop_path, features_only=True)
    except (RuntimeError, AssertionError, ValueError, TypeError, AttributeError) as error:
        # timm has no question for this; each family fails in its own way.
        raise SpinegradeError(
            f"encoder {backbone}: timm takes no feature maps from it ({error}); choose one of "
            "which timm.create_model(..., features_only=True) does",
            code="ENCODER_MAPS",
        ) from error
    strides = list(network.feature_info.reduction())
    if not set(STRIDES) <= set(strides):
        raise SpinegradeError(
            f"encoder {backbone}: its feature maps have the strides {strides}; expected "
            f"{', '.join(map(str, STRIDES))} among them; choose another encoder",
            code="ENCODER_MAPS",
        )
    places = [len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES]
    channels = network.feature_info.channels()
    pyramid = SlicePyramid(
        network, places, tuple(channels[place] for place in places), frozen_statistics
    )
    if frozen_to_stride is not None:
        pyramid.freeze_to(frozen_to_stride)
    return pyramid
