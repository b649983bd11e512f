"""Modules by name, imported only when they are asked for: the models, the losses.

A thing's name is its module's name, and the module has a function ``build``. Nothing imports such a
module but through here, so that editing one changes the code fingerprint only of the rules whose
config names it; a rule adds ``module_of(name)`` to its fingerprint.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.near_names import unknown_name

_PACKAGE = Path(__file__).resolve().parent
_BUILD = re.compile(r"^def build\(", re.MULTILINE)


@dataclass(frozen=True)
class NamedModules:
    """The modules of the folder ``spinegrade/<folder>`` that have a ``build``.

    ``what`` is one of them in words ("architecture").
    """

    folder: str
    what: str

    def names(self) -> list[str]:
        """All names, sorted."""
        return _names_in(_PACKAGE / self.folder)

    def options(self, name: str) -> dict[str, bool]:
        """What the ``build`` of ``name`` takes, and whether it must be given; nothing is imported.

        Raises SpinegradeError for an unknown name.
        """
        self.module_of(name)
        return _options_in(_PACKAGE / self.folder / f"{name}.py")

    def check(
        self, where: str, name: str, given: Collection[str], options: Collection[str]
    ) -> None:
        """Refuse a ``name`` whose ``build`` does not take what a learner gives and what is asked.

        ``given``: by the kind of learner; ``options``: by the block ``where``. Raises
        SpinegradeError with the key, and with the names that would do or the options allowed.
        """
        if name not in self.names():
            raise _refusal(f"{where}.name", name, self.names(), self.what)
        takes = self.options(name)
        if not {*given} <= takes.keys():
            fit = [one for one in self.names() if {*given} <= self.options(one).keys()]
            raise _refusal(f"{where}.name", name, fit, f"{self.what} that takes {_list(given)}")
        for option in options:
            if option not in takes:
                raise _refusal(f"{where}.{option}", option, {*takes} - {*given}, "option")
        missing = [key for key, needed in takes.items() if needed and key not in {*given, *options}]
        if missing:
            raise SpinegradeError(
                f"{where}.{missing[0]} is missing: {self.what} {name} cannot be built without it",
                code="OPTIONS_WRONG",
                key=f"{where}.{missing[0]}",
            )

    def module_of(self, name: str) -> str:
        """The module that holds ``name``; raises SpinegradeError if unknown."""
        if name not in self.names():
            raise SpinegradeError(
                f"no {self.what} named {name!r}; known: {', '.join(self.names())} "
                f"(a file scripts/spinegrade/{self.folder}/<name>.py with a function build)",
                code="NAME_UNKNOWN",
            )
        return f"spinegrade.{self.folder}.{name}"

    def build(self, name: str, **options: Any) -> Any:
        """What the ``build(**options)`` of the module ``name`` gives.

        Raises SpinegradeError for an unknown name, and for options that its ``build`` does not
        take or misses, with the ones that it takes.
        """
        builder = importlib.import_module(self.module_of(name)).build
        signature = inspect.signature(builder)
        try:
            signature.bind(**options)
        except TypeError as error:
            raise SpinegradeError(
                f"{self.what} {name}: {error}; its options are "
                f"{', '.join(signature.parameters) or 'none'}",
                code="OPTIONS_WRONG",
            ) from error
        return builder(**options)


@cache
def _names_in(folder: Path) -> list[str]:
    files = (path for path in folder.glob("*.py") if path.stem != "registry")
    return sorted(path.stem for path in files if _BUILD.search(path.read_text(encoding="utf-8")))


@cache
def _options_in(file: Path) -> dict[str, bool]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    build = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build")
    places, named = build.args.args, build.args.kwonlyargs
    needed = len(places) - len(build.args.defaults)
    found = {argument.arg: place < needed for place, argument in enumerate(places)}
    return found | {
        argument.arg: default is None
        for argument, default in zip(named, build.args.kw_defaults, strict=True)
    }


def _list(words: Collection[str]) -> str:
    return ", ".join(sorted(words))


def _refusal(key: str, name: str, known: Collection[str], what: str) -> SpinegradeError:
    code = "OPTIONS_WRONG" if what == "option" else "NAME_UNKNOWN"
    return SpinegradeError(unknown_name(key, name, known, what), code=code, key=key)
