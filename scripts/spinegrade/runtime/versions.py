"""What a run is made with: the project, Python, the platform and the packages that matter."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

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
