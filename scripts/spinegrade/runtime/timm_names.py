"""The names of timm's networks, for checks that must not take the seconds of its import."""

from __future__ import annotations

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path

from spinegrade.errors import SpinegradeError


@cache
def timm_networks() -> frozenset[str]:
    """Names of timm's networks, read from its source: importing it takes seconds."""
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise SpinegradeError(
            "timm is not installed; install requirements.txt", code="TIMM_MISSING"
        )
    marked = re.compile(r"^@register_model\s*\ndef (\w+)", re.MULTILINE)
    files = (Path(spec.origin).parent / "models").rglob("*.py")
    return frozenset(name for file in files for name in marked.findall(file.read_text("utf-8")))


def check_backbone(name: str, where: str) -> None:
    """Refuse a backbone that timm does not know, by the config's key ``where``.

    A weight tag (``resnet18.a1_in1k``) may follow the network's name.
    """
    known = timm_networks()
    if name.split(".")[0] in known:
        return
    close = difflib.get_close_matches(name, sorted(known), 3, 0.5)
    raise SpinegradeError(
        f"{where} is {name!r}: timm has no such network; close names: {', '.join(close) or 'none'}",
        code="ENCODER_UNKNOWN",
        key=where,
    )
