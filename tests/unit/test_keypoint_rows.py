"""What the log says of points that could not be found: studies are counted, not rows."""

from __future__ import annotations

import logging

import pytest
from spinegrade.keypoint_rows import rejected_table, rejection, tell_rejected


def test_studies_are_counted_and_rows_apart(caplog: pytest.LogCaptureFixture) -> None:
    unseen = [rejection("1", "KEYPOINTS_LEVEL_UNSEEN", f"level {n}", "look") for n in range(5)]
    unseen += [rejection("2", "KEYPOINTS_LEVEL_UNSEEN", "level 0", "look")]
    absent = [rejection("3", "KEYPOINTS_NO_SERIES", "no stack", "deliver it")]
    with caplog.at_level(logging.WARNING):
        tell_rejected(rejected_table([*unseen, *absent]))
    assert caplog.messages == [
        "KEYPOINTS_LEVEL_UNSEEN: 2 studies (6 rows): 1, 2",
        "KEYPOINTS_NO_SERIES: 1 study: 3",
    ]
    caplog.clear()
    tell_rejected(rejected_table([]))
    assert caplog.messages == []
