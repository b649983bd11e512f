"""What a test says of a refusal: its code, the setting at fault, and the values that it names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from spinegrade.errors import SpinegradeError


@contextmanager
def refused(
    code: str, *naming: object, key: str | None = None
) -> Iterator[pytest.ExceptionInfo[SpinegradeError]]:
    """Holds where the block ends in a SpinegradeError of ``code`` whose message names the values.

    ``naming``: values of the test's own making (a study, a file, a number, a key), never prose.
    ``key``: the path of the setting, where the refusal is of one; it must stand in the message.
    """
    with pytest.raises(SpinegradeError) as caught:
        yield caught
    error = caught.value
    assert (error.code, error.key) == (code, key), str(error)
    for value in (*naming, *([key] if key else [])):
        assert str(value) in str(error), (str(value), str(error))
