"""A SIGTERM that waits for what is to be kept, though not for long, and then ends the process.

SLURM sends it before a job's time is up, and where it cancels, preempts or requeues a job; what
still runs after its KillWait (30 s unless a cluster says otherwise) is killed outright. A process
that was told to end and finishes its work all the same counts as failed, so it does not.
"""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType
from typing import Any

_LOGGER = logging.getLogger("spinegrade")
# Well within SLURM's usual KillWait, and long enough for a step and a write.
PATIENCE_S = 20.0


class Sigterm:
    """Context in which SIGTERM is kept until ``carry_out``, for ``PATIENCE_S`` at most.

    For the main thread. When the time is over, SIGALRM ends the process wherever it is.
    """

    def __init__(self) -> None:
        self.came = False
        self._before: Any = signal.SIG_DFL

    def __enter__(self) -> Sigterm:
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.carry_out("nothing more to keep")
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, self._before)

    def carry_out(self, kept: object) -> None:
        """End the process by SIGTERM if one came; the log says what was ``kept`` before."""
        if not self.came:
            return
        _LOGGER.warning("told to end by SIGTERM; kept before: %s", kept)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if not self.came:
            self.came = True
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
