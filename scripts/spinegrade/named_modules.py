"""Modules by name, imported only when they are asked for: the models, the losses.

A thing's name is its module's name, and the module has a function ``build``. Nothing imports such a
module but through here, so that editing one changes the code fingerprint only of the rules whose
config names it; a rule adds ``module_of(name)`` to its fingerprint.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinegrade.errors import SpinegradeError

_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class NamedModules:
    """The modules of the folder ``spinegrade/<folder>`` that have a ``build``.

    ``what`` is one of them in words ("architecture"). ``parts`` are modules that they are made
    of, without a ``build``.
    """

    folder: str
    what: str
    parts: frozenset[str] = frozenset()

    def names(self) -> list[str]:
        """All names, sorted."""
        left_out = {"__init__", "registry"} | self.parts
        files = (_PACKAGE / self.folder).glob("*.py")
        return sorted(path.stem for path in files if path.stem not in left_out)

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
