"""A training that is killed at a call of its choice, for tests of resuming."""

from __future__ import annotations

import os
import signal

import pytest
from spinegrade.runtime.sigterm import Sigterm


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


def told_to_end_at(patch: pytest.MonkeyPatch, owner: object, name: str, call: int) -> None:
    """Let a SIGTERM come before the ``call``-th call of ``owner.name``.

    Where the process would then end by that signal, Killed is raised.
    """
    calls: list[int] = []
    real, carry_out = getattr(owner, name), Sigterm.carry_out

    def replaced(*arguments: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == call:
            assert callable(signal.getsignal(signal.SIGTERM)), "it would end the tests themselves"
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **more)

    def ended(sigterm: Sigterm, kept: object) -> None:
        if sigterm.came:
            raise Killed
        carry_out(sigterm, kept)

    patch.setattr(owner, name, replaced)
    patch.setattr(Sigterm, "carry_out", ended)
