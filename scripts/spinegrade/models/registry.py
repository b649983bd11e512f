"""Architectures by name: "heatmap_unet" is ``spinegrade.models.heatmap_unet``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spinegrade.named_modules import NamedModules

if TYPE_CHECKING:
    from torch import nn

MODELS = NamedModules("models", "architecture")
model_names = MODELS.names
module_of = MODELS.module_of


def build(name: str, **options: Any) -> nn.Module:
    """Build the architecture ``name``: its module's ``build(**options)``; see ``NamedModules``."""
    return MODELS.build(name, **options)
