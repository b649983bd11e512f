"""Imports point one way: from rooms to what all rooms share, never from room to room."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "scripts" / "spinegrade"
ROOMS = {
    "cohort",
    "convert",
    "shapes",
    "localise",
    "crop",
    "grade",
    "combine",
    "report",
    "phantom",
}
SHARED_FOLDERS = {
    "annotations",
    "geometry",
    "imaging",
    "losses",
    "metrics",
    "models",
    "regions",
    "runtime",
    "tables",
    "training",
}


def imports() -> dict[str, set[str]]:
    """By top-level part of the package (a folder, or a module): the other parts it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            parts = {m.split(".")[1] for m in modules if m.startswith("spinegrade.")}
            found[own] |= parts - {own}
    return found


def test_no_room_imports_another_and_nothing_shared_imports_a_room() -> None:
    found = imports()
    assert found.keys() >= ROOMS
    assert {own: parts & ROOMS for own, parts in found.items() if parts & ROOMS} == {}


def test_every_folder_is_a_room_or_shared() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == ROOMS | SHARED_FOLDERS


def test_shared_parts_import_each_other_without_a_circle() -> None:
    left = {own: parts - ROOMS for own, parts in imports().items() if own not in ROOMS}
    while ready := {own for own, parts in left.items() if not parts & left.keys()}:
        left = {own: parts for own, parts in left.items() if own not in ready}
    assert left == {}
