"""Names that nothing has: the one that was likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# A condition has one name in the configuration; people and tables have others.
_CONDITIONS = {
    **dict.fromkeys(("spinal_canal_stenosis", "spinal", "central"), "canal"),
    **dict.fromkeys(("neural_foraminal_narrowing", "foramen", "foramina"), "foraminal"),
    **dict.fromkeys(("subarticular_stenosis", "recess", "recesses"), "subarticular"),
}


def near(name: object, known: Iterable[object]) -> str | None:
    """The one of ``known`` that ``name`` likely means; None where none is near."""
    names = [str(one) for one in known]
    meant = _CONDITIONS.get(str(name))
    close = [meant] if meant in names else difflib.get_close_matches(str(name), names, 1)
    return close[0] if close else None


def unknown_name(where: str, name: object, known: Iterable[str], what: str = "") -> str:
    """A sentence on a name that is none of the ``known``: the likely one, and all of them."""
    known, close = sorted(known), near(name, known)
    hint = f"; did you mean {close}?" if close else "."
    listed = ", ".join(known) or "none"
    shown = "missing" if name is None else repr(name)
    return f"{where} is {shown}{hint} Known{f' ({what})' if what else ''}: {listed}"
