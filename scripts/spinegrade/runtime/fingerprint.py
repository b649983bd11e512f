"""A fingerprint of the code that a rule runs: its script and all that it reaches by import.

Snakemake does not see the modules that a script imports. Every rule therefore carries, as a
parameter, a hash of the normalised syntax trees (comments, docstrings and layout left out) of
its stage script and of every project module in its import closure.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2]
PACKAGE = "spinegrade"


def _module_file(module: str) -> Path | None:
    base = SCRIPTS.joinpath(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
            continue
        value = body[0].value
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        owner = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if is_text and isinstance(node, owner):
            node.body = body[1:] or [ast.Pass()]
    return tree


def _imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    packages = {
        ".".join(name.split(".")[:depth])
        for name in found
        if name.split(".")[0] == PACKAGE
        for depth in range(1, len(name.split(".")) + 1)
    }
    return {name for name in packages if _module_file(name)}


@cache
def _digest_and_imports(path: Path) -> tuple[str, frozenset[str]]:
    tree = ast.parse(path.read_bytes(), filename=str(path))
    imports = frozenset(_imports(tree))
    text = ast.dump(_without_docstrings(tree))
    return hashlib.sha256(text.encode()).hexdigest(), imports


def code_fingerprint(script: str, *modules: str, resources: tuple[str, ...] = ()) -> str:
    """Sixteen hex digits over the code that ``scripts/<script>.py`` reaches.

    ``modules`` adds modules that are found by name at run time (such as
    ``spinegrade.models.heatmap_unet`` from a config block); ``resources`` adds files, by
    content, relative to the project. Imports must be absolute: a relative one is not followed.
    """
    start = SCRIPTS / f"{script}.py"
    digests = {f"scripts/{script}": _digest_and_imports(start)[0]}
    waiting = set(_digest_and_imports(start)[1]) | set(modules)
    while waiting:
        module = waiting.pop()
        path = _module_file(module)
        if path is None:
            raise FileNotFoundError(f"no module {module} under {SCRIPTS}")
        digest, imports = _digest_and_imports(path)
        digests[module] = digest
        waiting |= {name for name in imports if name not in digests}
    for resource in resources:
        content = (SCRIPTS.parent / resource).read_bytes()
        digests[resource] = hashlib.sha256(content).hexdigest()
    text = "\n".join(f"{name} {digests[name]}" for name in sorted(digests))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
