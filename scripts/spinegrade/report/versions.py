"""What the run was made with: packages, machine, configuration."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import spinegrade

PACKAGES = (
    "snakemake",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "scikit-learn",
    "pydicom",
    "opencv-python-headless",
    "matplotlib",
)


def package_versions() -> list[tuple[str, str]]:
    """(name, version) of the project, Python, the platform and the packages that matter."""
    found = [
        ("spinegrade", spinegrade.__version__),
        ("python", platform.python_version()),
        ("platform", platform.platform(terse=True)),
    ]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "not in this rule's environment"))
    return found


def flat_settings(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted key, value as text) of every leaf of a nested configuration, in its order."""
    rows: list[tuple[str, str]] = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            rows += flat_settings(value, f"{name}.")
        else:
            rows.append((name, "null" if value is None else str(value)))
    return rows
