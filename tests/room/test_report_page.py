"""The whole page from a made-up run: self-contained, complete, escaped, tolerant of gaps."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_run import HOSTILE, make_run, options
from spinegrade.metrics.bootstrap import Interval
from spinegrade.report.data import Paths, RunData
from spinegrade.report.page import write_report
from spinegrade.report.parts import Note
from spinegrade.report.sections_score import headline, score_run
from spinegrade.runtime.files import write_json
from spinegrade.tables import empty_table, read_table, write_table


class _Tags(HTMLParser):
    """Every tag of a page, with its attributes; and whether tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _page(paths: Paths, folder: Path, **changed: object) -> str:
    target = folder / "report.html"
    write_report(str(target), paths, replace(options(), **changed), "made_up", "phantom")
    return target.read_text(encoding="utf-8")


def _parsed(html: str) -> _Tags:
    parser = _Tags()
    parser.feed(html)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Paths]:
    folder = tmp_path_factory.mktemp("run")
    return folder, make_run(folder)


@pytest.fixture(scope="module")
def page(run: tuple[Path, Paths]) -> str:
    folder, paths = run
    return _page(paths, folder)


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    for tag, attributes in _parsed(page).tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, value)
    assert "@import" not in page
    assert not re.search(r"url\(", page)
    assert len(page) < 15e6


def test_the_headline_holds_score_prior_floor_and_counts(page: str) -> None:
    # The cells' own grade has 0.6 everywhere: -log(0.6); the prior a third: -log(1/3).
    for text in ("0.511", "1.099", "0.465", "0.300", "Training studies", "149"):
        assert text in page
    # Six studies have labels: no verdict on so few.
    assert "too few have labels for a verdict" in page


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.80, 0.95, "better than the prior: the whole interval"),
        (0.90, 1.05, "not told apart from the prior"),
        (1.02, 1.10, "worse than the prior: the whole interval"),
    ],
)
def test_the_verdict_follows_the_interval(
    run: tuple[Path, Paths], low: float, high: float, words: str
) -> None:
    data = RunData(run[1])
    scored = score_run(data, options())
    scored = replace(
        scored,
        cells=replace(scored.cells, studies=np.arange(12)),
        compared=replace(scored.compared, ratio=Interval(1.0, low, high)),
    )
    notes = [block for block in headline(data, scored).blocks if isinstance(block, Note)]
    assert words in notes[0].text


def test_every_picture_says_what_it_shows(page: str) -> None:
    tags = _parsed(page).tags
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in tags if tag == "svg")
    anchors = {attributes.get("id") for tag, attributes in tags if tag == "section"}
    links = {attributes["href"] for tag, attributes in tags if tag == "a"} - {"#content"}
    assert links == {f"#{anchor}" for anchor in anchors}


def test_text_from_data_is_escaped(page: str) -> None:
    assert HOSTILE not in page
    assert "&lt;script&gt;alert" in page


def test_best_median_worst_and_new_studies_are_shown(page: str) -> None:
    # Study 400n is predicted 2n px (n mm) from the truth; 4006 is new.
    assert "Study 4000: best by keypoints (0.0 mm median)" in page
    assert "median by keypoints" in page
    assert "Study 4005: worst by keypoints (5.0 mm median)" in page
    assert "Study 4006: new study" in page


def test_run_time_is_summed_by_rule(page: str) -> None:
    rows = re.findall(
        r"<td>crop_rois</td><td[^>]*>2</td><td>4.0</td><td>2.5</td><td>120</td>", page
    )
    assert len(rows) == 1


def test_a_cohort_without_truth_new_studies_shape_or_training(tmp_path: Path) -> None:
    paths = make_run(tmp_path, train=5, test=0, phantom=False)
    html = _page(replace(paths, histories=[]), tmp_path)
    _parsed(html)
    for sentence in (
        "There are no new studies in this cohort.",
        "Nothing was trained",
        "No mean shape was fitted",
        "the annotated point",
    ):
        assert sentence in html
    assert "Floor" not in html


def test_new_studies_alone_have_findings_and_no_score(tmp_path: Path) -> None:
    paths = make_run(tmp_path, train=1, test=2, phantom=False)
    for path, kind in (
        (paths.labels, "labels"),
        (paths.landmarks[0], "located_landmarks"),
        (paths.crop_tables[0], "rois"),
        (paths.rejected[0], "rejected"),
    ):
        write_table(path, empty_table(kind), kind)
    for path in (paths.probabilities, paths.prior):
        table = read_table(path, "predictions")
        table["fold"] = pd.array([pd.NA] * len(table), dtype="Int64")
        write_table(path, table, "predictions")
    write_json(paths.score, {"scored": False, "reason": "no labelled cell of any condition"})
    empty = tmp_path / "none"
    empty.mkdir()
    html = _page(replace(paths, benchmarks=str(empty)), tmp_path)
    _parsed(html)
    for sentence in (
        "No score: no labelled cell of any condition.",
        "No keypoint can be measured",
        "It has no labelled crop to show.",
        "Nothing was left out.",
        "There are no benchmark tables of this run.",
    ):
        assert sentence in html
    assert html.count('<table class="findings">') == 3


def test_findings_beyond_the_limit_are_counted(run: tuple[Path, Paths]) -> None:
    folder, paths = run
    html = _page(paths, folder, findings=0, examples=0, crops_per_grade=0)
    assert "The first 0 of 1 new studies are shown" in html
    assert "Switched off: report.examples is 0." in html
