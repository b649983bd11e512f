"""The convert block of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ConvertSettings:
    """Tolerances and limits; workflow_config.yaml explains each."""

    orientation_tolerance_degrees: float = 0.05
    duplicate_tolerance_mm: float = 0.01
    spacing_tolerance_mm: float = 0.1
    max_spacing_mm: float = 20.0
    max_tilt_degrees: float = 65.0
    max_shear_degrees: float = 1.0
    min_slices: int = 3
    min_run_slices: int = 4
    max_frame_mb: float = 64.0
    max_series_mb: float = 1024.0

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> ConvertSettings:
        """From the validated block of the configuration."""
        return cls(**block)
