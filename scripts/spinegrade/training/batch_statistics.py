"""Whether batch normalisation uses the statistics of each batch or the running ones."""

from __future__ import annotations

from torch import nn


def freeze_statistics(network: nn.Module) -> None:
    """Let batch normalisation use running statistics, until ``network.train()`` is called."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
