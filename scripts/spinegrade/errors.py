"""The one exception that users are meant to read."""

from __future__ import annotations


class SpinegradeError(Exception):
    """Bad input or a broken promise, worded so that a user can act on it.

    The message says what, where (study, series, file, row, config key), what was
    expected and what to do. Stage scripts print it without a traceback.
    """
