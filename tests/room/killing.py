"""A training that is killed at a call of its choice, for tests of resuming."""

from __future__ import annotations

import pytest


class Killed(BaseException):
    """Not an Exception: nothing in the package may catch it."""


def killed_at(patch: pytest.MonkeyPatch, owner: object, name: str, call: int) -> list[int]:
    """Let the ``call``-th call of ``owner.name`` raise Killed before it does anything.

    With a ``call`` that never comes this counts: the list has an entry for every call.
    """
    calls: list[int] = []
    real = getattr(owner, name)

    def replaced(*arguments: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return real(*arguments, **more)

    patch.setattr(owner, name, replaced)
    return calls
