"""What a training says while it runs. It only logs: no value that a training uses comes from it.

Rules leave this module out of their code fingerprints, so that other words in a log never train
a model again.
"""

from __future__ import annotations

import logging
from pathlib import Path

from spinegrade.runtime.progress import Progress

_LOGGER = logging.getLogger("spinegrade")


class TrainingLog:
    """Tells where a training starts or goes on, then losses, learning rate and the time left.

    ``epoch`` epochs (of ``epochs``) and ``step`` steps of the next (of ``steps``) are done
    already, from ``checkpoint``.
    """

    def __init__(
        self, what: str, epochs: int, steps: int, epoch: int, step: int, checkpoint: Path
    ) -> None:
        self._epochs = epochs
        self._epoch = epoch
        self._note = ""
        left = (epochs - epoch) * steps - step
        if epoch or step:
            _LOGGER.info(
                "training %s goes on after epoch %d of %d and %d of %d steps, from %s",
                *(what, epoch, epochs, step, steps, checkpoint),
            )
            what = f"{what} (the rest)"
        self._progress = Progress(f"training {what}: steps", left)

    def step(self) -> None:
        """One more step is done, not the last of its epoch."""
        self._progress.step(note=self._note)

    def epoch(self, loss: float, learning_rate: float, held_out: float | None = None) -> None:
        """The last step of an epoch is done, and the epoch with it."""
        self._epoch += 1
        self._note = f"epoch {self._epoch} of {self._epochs}, loss {loss:.3f}"
        if held_out is not None:
            self._note += f", held out {held_out:.3f}"
        self._note += f", learning rate {learning_rate:.2g}"
        self._progress.step(note=self._note)
