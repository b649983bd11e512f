"""A regressor's training in the words of the engine."""

from __future__ import annotations

from dataclasses import asdict

from spinegrade.localise.coordinates.settings import Settings
from spinegrade.training.plan import Plan


def plan_of(settings: Settings, fold: int) -> Plan:
    """The plan of a ``fold``."""
    block = asdict(settings.training)
    block["schedule_epochs"] = block["epochs"] + block.pop("further_epochs")
    return Plan.from_block(block, fold, schedule="cosine_from_zero", decay="not_biases")
