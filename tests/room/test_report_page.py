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
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS, SPINAL
from spinegrade.report.data import Paths, RunData
from spinegrade.report.page import write_report
from spinegrade.report.parts import Note
from spinegrade.report.render import write_sections
from spinegrade.report.sections_run import rejected
from spinegrade.report.sections_score import findings, headline, score_run
from spinegrade.runtime.files import write_json
from spinegrade.tables.files import empty_table, read_table, write_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.probabilities import PROBABILITIES
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.rois import ROIS


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
        (paths.labels, LABELS),
        (paths.landmarks[0], LOCATED_LANDMARKS),
        (paths.crop_tables[0], ROIS),
        (paths.rejected[0], REJECTED),
    ):
        write_table(path, empty_table(kind), kind)
    for path, kind in ((paths.probabilities, PROBABILITIES), (paths.prior, PREDICTIONS)):
        table = read_table(path, kind)
        table["fold"] = pd.array([pd.NA] * len(table), dtype="Int64")
        write_table(path, table, kind)
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


def _origins(paths: Paths, folder: Path) -> str:
    """The sections that tell where numbers come from, as a page of their own."""
    data, target = RunData(paths), folder / "origins.html"
    sections = [headline(data, "No score: here."), findings(data, options()), rejected(data)]
    write_sections(str(target), sections, "made up", "a lead", "write_report")
    return target.read_text(encoding="utf-8")


def test_cells_of_the_prior_alone_are_marked_and_counted(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    page = _origins(paths, tmp_path)
    assert ">no finding<" not in page and "are no findings" not in page
    # One cell of a train study is listed as filled; the made-up run counts none as the prior's.
    assert '<dd class="value">0</dd><dd class="detail">of 175; 0 of them are labelled' in page
    table = read_table(paths.probabilities, PROBABILITIES)
    # The canal of the new study, and one labelled cell of a train study.
    alone = (table["study"] == "4006") & (table["condition"] == SPINAL)
    alone[0] = True
    table.loc[alone, ["source", "members", "prior_weight"]] = ["prior", "", 1.0]
    write_table(paths.probabilities, table, PROBABILITIES)
    page = _origins(paths, tmp_path)
    _parsed(page)
    assert '<dd class="value">6</dd><dd class="detail">of 175; 1 of them are labelled' in page
    words = "5 of 25 cells in 1 of 1 new studies are no findings: no member speaks for them, and "
    assert f"{words}they hold the prior (spinal canal stenosis 5 of 5)" in page
    assert page.count('<span class="grade">no finding</span>') == 5
    assert page.count("prior: not from this patient&#39;s images") == 5
    summary = re.search(r"<h3>Study 4006</h3>\n<p>(.*)</p>\n<p class=\"unseen\">(.*)</p>", page)
    assert "spinal canal" not in summary[1] and summary[2].startswith(
        "5 of 25 cells hold the prior"
    )


def test_what_was_filled_is_listed_by_study_and_by_who_lacks_it(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    head = "study,condition,level,side,source,members,lacking,prior_weight\n"
    lines = [f"4001,{SPINAL},{level},central,prior,,small,1.0" for level in LUMBAR_LEVELS]
    lines += [f'4002,{SPINAL},l1_l2,central,image,small,"mate,other",0.4']
    lines += [f"4003,{SPINAL},l1_l2,central,prior,,,1.0"]
    Path(paths.filled).write_text(head + "\n".join(lines) + "\n")
    page = _origins(paths, tmp_path)
    row = r"<td>400{}</td><td>Spinal canal stenosis</td><td>{}</td><td[^>]*>{}</td><td[^>]*>{}</td>"
    for found in ((1, "small", 5, 5), (2, "mate, other", 1, 0), (3, "–", 1, 1)):
        assert len(re.findall(row.format(*found), page)) == 1
    Path(paths.filled).write_text(head)
    assert "No cell had to be filled with the prior." in _origins(paths, tmp_path)


def test_findings_beyond_the_limit_are_counted(run: tuple[Path, Paths]) -> None:
    folder, paths = run
    html = _page(paths, folder, findings=0, examples=0, crops_per_grade=0)
    assert "The first 0 of 1 new studies are shown" in html
    assert "Switched off: report.examples is 0." in html
