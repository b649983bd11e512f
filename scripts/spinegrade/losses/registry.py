"""Losses by name: "point_cross_entropy" is ``spinegrade.losses.point_cross_entropy``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spinegrade.named_modules import NamedModules

LOSSES = NamedModules("losses", "loss")
loss_names = LOSSES.names
module_of = LOSSES.module_of


def build(name: str, **options: Any) -> Callable[..., Any]:
    """Build the loss ``name``: its module's ``build(**options)``; see ``NamedModules``."""
    return LOSSES.build(name, **options)
