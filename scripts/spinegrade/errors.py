"""The one exception that users are meant to read."""

from __future__ import annotations


class SpinegradeError(Exception):
    """Bad input or a broken promise, worded so that a user can act on it.

    The message says what, where (study, series, file, row, config key), what was
    expected and what to do. Stage scripts print it without a traceback.

    ``code`` names the kind of refusal in capitals, ``FOLDS_TOO_MANY``; it begins with the room
    or the block that refuses, stays when the words are improved, and docs/errors.md lists it.
    ``key`` is the path of the setting that is at fault, ``cohort.folds``.
    """

    def __init__(self, message: str, *, code: str | None = None, key: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.key = key
