"""The codes by which an annotated point is left out of training, or told.

docs/annotations.md explains them to users; a test holds it against ``ADVICE``.
"""

from __future__ import annotations

from collections.abc import Sequence

WITHOUT_SLICE = "LANDMARK_WITHOUT_SLICE"
AMBIGUOUS = "LANDMARK_AMBIGUOUS"
OUTSIDE_IMAGE = "LANDMARK_OUTSIDE_IMAGE"
OTHER_KIND = "LANDMARK_OTHER_KIND"
TWICE = "LANDMARK_TWICE"
REPEATED = "LANDMARK_REPEATED"
SIDES_EXCHANGED = "LANDMARK_SIDES_EXCHANGED"
ONE_SLICE = "LANDMARK_ONE_SLICE"
LEVELS_OUT_OF_ORDER = "LANDMARK_LEVELS_OUT_OF_ORDER"
NUMBERS_OUT_OF_ORDER = "LANDMARK_NUMBERS_OUT_OF_ORDER"
OFF_LINE = "LANDMARK_OFF_LINE"
SERIES_APART = "LANDMARK_SERIES_APART"

ADVICE: dict[str, str] = {
    WITHOUT_SLICE: "check series and instance number of the annotated point",
    AMBIGUOUS: "name each file by the instance number that the coordinates use, or give every "
    "slice of the series a number of its own",
    OUTSIDE_IMAGE: "check the coordinates of the annotated point",
    OTHER_KIND: "check the series of the annotated point, and that series' description",
    TWICE: "keep the right one of the two rows",
    REPEATED: "nothing, or remove the repeated row; it counts once",
    SIDES_EXCHANGED: "check which of the two points is the patient's left",
    ONE_SLICE: "check the instance numbers of both foramina",
    LEVELS_OUT_OF_ORDER: "check the levels of these points",
    NUMBERS_OUT_OF_ORDER: "check the instance numbers and the levels of these points",
    OFF_LINE: "check where the point lies",
    SERIES_APART: "check the levels of these points, and that the series share one frame of "
    "reference",
}
"""Every code with what to do."""

NEVER_LOCATED = frozenset({WITHOUT_SLICE, AMBIGUOUS, OUTSIDE_IMAGE})
"""There is no pixel to learn from: these are left out whatever the configuration says."""

IMPOSSIBLE = NEVER_LOCATED | {OTHER_KIND, TWICE, SIDES_EXCHANGED}
"""What cannot be, as against what is only unlikely."""


def codes_left_out(leave_out: str | Sequence[str]) -> frozenset[str]:
    """The codes whose points are left out, for the key ``annotations.leave_out``.

    ``impossible``, ``all``, ``none``, or a list of codes of ``ADVICE``. A repeated row is never
    left out: it counts once.
    """
    named = {"impossible": IMPOSSIBLE, "all": frozenset(ADVICE), "none": frozenset()}
    chosen = named[leave_out] if isinstance(leave_out, str) else frozenset(leave_out)
    return (chosen | NEVER_LOCATED) - {REPEATED}
