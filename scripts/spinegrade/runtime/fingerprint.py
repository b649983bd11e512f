"""A fingerprint of the code that a rule runs: its script and all that it reaches by import.

Snakemake does not see the modules that a script imports. Every rule therefore carries, as a
parameter, a hash of the normalised syntax trees (comments, docstrings and layout left out) of
its stage script and of every project module in its import closure.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from spinegrade.runtime.files import write_text

SCRIPTS = Path(__file__).resolve().parents[2]
PACKAGE = "spinegrade"
# They tell what happens, or decide when and on which device a job runs, never what it computes.
OUTSIDE = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        *("runtime.progress", "runtime.status", "runtime.freshness", "runtime.gpu_lease"),
        *("runtime.run_lock", "runtime.made_note", "runtime.impersonal", "runtime.sigterm"),
        "training.log",
    )
)
# Packages whose name in requirements.txt is not the one they are imported by.
_PACKAGES = {"cv2": "opencv-python-headless", "sklearn": "scikit-learn", "yaml": "pyyaml"}


def _module_file(module: str) -> Path | None:
    base = SCRIPTS.joinpath(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _normalised(tree: ast.AST) -> tuple[str, set[str]]:
    """The tree as text without docstrings and places in the file, and the names it imports.

    One walk, several times as fast as ``ast.dump`` after two others.
    """
    text: list[str] = []
    imported: set[str] = set()
    waiting: list[object] = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, ast.AST):
            if isinstance(item, ast.Import):
                imported.update(alias.name for alias in item.names)
            elif isinstance(item, ast.ImportFrom) and item.level == 0 and item.module:
                imported.add(item.module)
                imported.update(f"{item.module}.{alias.name}" for alias in item.names)
            text.append(type(item).__name__)
            waiting.extend(_fields(item))
        elif isinstance(item, list):
            text.append(f"[{len(item)}")
            waiting.extend(item)
        else:
            text.append(repr(item))
    return "\n".join(text), imported


def _fields(node: ast.AST) -> list[object]:
    fields = [getattr(node, name, None) for name in node._fields]
    owner = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, owner) and node.body and isinstance(node.body[0], ast.Expr):
        value = node.body[0].value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            fields[node._fields.index("body")] = node.body[1:]
    return fields


def _project_modules(found: set[str]) -> set[str]:
    packages = {
        ".".join(name.split(".")[:depth])
        for name in found
        if name.split(".")[0] == PACKAGE
        for depth in range(1, len(name.split(".")) + 1)
    }
    return {name for name in packages if name not in OUTSIDE and _module_file(name)}


@cache
def _pins(requirements: Path) -> dict[str, str]:
    """The pinned version of each package, by its name in lower case."""
    if not requirements.exists():
        return {}
    lines = requirements.read_text().splitlines()
    return dict(line.strip().lower().split("==") for line in lines if "==" in line)


class _Module(NamedTuple):
    """Digest of a module's syntax tree, the project modules and the packages that it imports."""

    digest: str
    imports: frozenset[str]
    packages: frozenset[str]


# By fingerprint: the digests that it was made of.
PARTS: dict[str, dict[str, str]] = {}
# By file: its time and size, and what was found in it then.
_KNOWN: dict[str, tuple[list[int], _Module]] = {}


def remember_in(path: str | Path) -> None:
    """Keep what is found in each file at ``path``, by time and size: parsing is what costs.

    Read now, written when the process ends.
    """
    path = Path(path)
    try:
        for file, (stamp, digest, imports, packages) in json.loads(path.read_text()).items():
            _KNOWN[file] = stamp, _Module(digest, frozenset(imports), frozenset(packages))
    except (OSError, ValueError):
        pass  # nothing kept, or kept by another version
    before = dict(_KNOWN)

    def keep() -> None:
        if before != _KNOWN:
            rows = {f: [s, m.digest, sorted(m.imports), sorted(m.packages)] for f, (s, m) in
                    _KNOWN.items()}  # fmt: skip
            with contextlib.suppress(OSError):
                write_text(path, json.dumps(rows))

    atexit.register(keep)


def _examined(path: Path) -> _Module:
    known = path.stat()
    stamp = [known.st_mtime_ns, known.st_size]
    name = str(path)
    if name not in _KNOWN or _KNOWN[name][0] != stamp:
        text, names = _normalised(ast.parse(path.read_bytes(), filename=name))
        digest = hashlib.sha256(text.encode()).hexdigest()
        packages = frozenset(name.split(".")[0] for name in names) - {PACKAGE}
        _KNOWN[name] = stamp, _Module(digest, frozenset(_project_modules(names)), packages)
    return _KNOWN[name][1]


def code_fingerprint(script: str, *modules: str, resources: tuple[str, ...] = ()) -> str:
    """Sixteen hex digits over the code that ``scripts/<script>.py`` reaches.

    ``modules`` adds modules that are found by name at run time (such as
    ``spinegrade.models.heatmap_unet`` from a config block); ``resources`` adds files, by
    content, relative to the project. Imports must be absolute: a relative one is not followed.
    """
    digest, found, packages = _examined(SCRIPTS / f"{script}.py")
    digests = {f"scripts/{script}": digest}
    waiting, imported = set(found) | set(modules), set(packages)
    while waiting:
        module = waiting.pop()
        path = _module_file(module)
        if path is None:
            raise FileNotFoundError(f"no module {module} under {SCRIPTS}")
        digests[module], found, packages = _examined(path)
        waiting |= {name for name in found if name not in digests}
        imported |= packages
    pins = _pins(SCRIPTS.parent / "requirements.txt")
    for package in imported:
        name = _PACKAGES.get(package, package).lower().replace("_", "-")
        if name in pins:
            digests[f"package {name}"] = pins[name]
    for resource in resources:
        content = (SCRIPTS.parent / resource).read_bytes()
        digests[resource] = hashlib.sha256(content).hexdigest()
    text = "\n".join(f"{name} {digests[name]}" for name in sorted(digests))
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
    PARTS[fingerprint] = digests
    return fingerprint
