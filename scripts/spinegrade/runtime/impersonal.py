"""Texts for files that are passed on: no home folder, no user."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any


def impersonal(value: Any) -> Any:
    """A JSON value whose texts name no home folder and no user."""
    if isinstance(value, dict):
        return {key: impersonal(part) for key, part in value.items()}
    if isinstance(value, list):
        return [impersonal(part) for part in value]
    if not isinstance(value, str):
        return value
    for text, sign in ((f"{Path.cwd()}/", ""), (_home(), "~")):
        if len(text) > 1:
            value = value.replace(text, sign)
    return value.replace(f"/{_user()}/", "/<user>/")


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:
        return ""  # a user without an entry, as in a container


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
