"""Overlays, keypoint errors, contact sheets, findings and run times, worked out by hand."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from refusals import refused
from report_run import AXIAL, SAGITTAL, make_run, point_of
from spinegrade.geometry.affine import affine_from_dicom
from spinegrade.metrics.points import affines_of, point_errors, point_figures
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_CELLS, SPINAL, SUBARTICULAR
from spinegrade.report.captions import CAPTIONS
from spinegrade.report.crops import contact_sheets, read_crops
from spinegrade.report.data import RunData
from spinegrade.report.findings import plain_probabilities, study_findings
from spinegrade.report.overlays import AXIAL_VIEWS, SAGITTAL_VIEWS, edge_letters, slice_with_points
from spinegrade.report.parts import Slice
from spinegrade.report.points import spread
from spinegrade.report.style import svg_uri
from spinegrade.report.times import read_benchmarks, rule_of
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return RunData(make_run(tmp_path_factory.mktemp("run")))


def _pixels(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.split(",", 1)[1])
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)


def _under(shown: Slice, x: float, y: float) -> int:
    """Gray value of the shown picture at (x, y) mm of its view box."""
    image = _pixels(shown.source)
    column = (x - shown.left) / shown.width * image.shape[1]
    row = (y - shown.top) / shown.height * image.shape[0]
    return int(image[int(row), int(column)])


@pytest.mark.parametrize("view", SAGITTAL_VIEWS + AXIAL_VIEWS, ids=lambda view: view.title)
def test_annotated_marks_lie_on_the_bright_dots(run: RunData, view) -> None:
    shown = slice_with_points(view, "4005", run.stacks, run.landmarks, run.keypoints)
    annotated = [mark for mark in shown.marks if mark.shape == "annotated"]
    predicted = [mark for mark in shown.marks if mark.shape == "predicted"]
    assert len(annotated) == len(predicted) == len(view.levels) * len(view.sides)
    for mark in annotated:
        assert _under(shown, mark.x, mark.y) > 200
    # Study 4005 is predicted 10 px of 0.5 mm further along the rows, where no dot is.
    for before, after in zip(annotated, predicted, strict=True):
        assert after.x - before.x == pytest.approx(5.0)
        assert _under(shown, after.x, after.y) < 80


def test_slices_keep_the_patients_proportions(run: RunData) -> None:
    shown = slice_with_points(SAGITTAL_VIEWS[1], "4000", run.stacks, run.landmarks, run.keypoints)
    rows, columns = _pixels(shown.source).shape
    # Rows are 0.8 mm apart, columns 0.5 mm.
    assert shown.height / rows == pytest.approx(0.8)
    assert shown.width / columns == pytest.approx(0.5)


def test_points_of_another_slice_are_told_apart(run: RunData) -> None:
    keypoints = run.keypoints[run.keypoints["study"] == "4000"].copy()
    moved = (keypoints["condition"] == SPINAL) & (keypoints["level"] == "l3_l4")
    keypoints.loc[moved, "index"] += 1
    shown = slice_with_points(SAGITTAL_VIEWS[1], "4000", run.stacks, run.landmarks, keypoints)
    far = [mark for mark in shown.marks if not mark.near]
    # It lies on its annotated point, which carries the level's name.
    assert [mark.label for mark in far] == ["(+1)"]
    assert far[0].title.startswith("L3/L4, predicted, +1 slices")


def test_marks_far_from_their_point_are_named(run: RunData) -> None:
    keypoints = run.keypoints[run.keypoints["study"] == "4000"].copy()
    keypoints.loc[keypoints["condition"] == SPINAL, "y_px"] += 20
    shown = slice_with_points(SAGITTAL_VIEWS[1], "4000", run.stacks, run.landmarks, keypoints)
    assert [mark.label for mark in shown.marks[5:]] == [
        level.upper().replace("_", "/") for level in SAGITTAL_VIEWS[1].levels
    ]
    # 20 rows of 0.8 mm.
    assert shown.links[0][3] - shown.links[0][1] == pytest.approx(16.0)


def test_points_of_another_stack_come_over_through_patient_space(run: RunData) -> None:
    keypoints = run.keypoints[run.keypoints["study"] == "4000"].copy()
    wrong = keypoints["condition"] == SPINAL
    keypoints.loc[wrong, ["series", "x_px", "y_px"]] = ["1001", 3.0, 3.0]
    shown = slice_with_points(SAGITTAL_VIEWS[1], "4000", run.stacks, run.landmarks, keypoints)
    annotated, predicted = shown.marks[:5], shown.marks[5:]
    assert [mark.x for mark in annotated] == pytest.approx([mark.x for mark in predicted])


def test_a_point_in_an_unknown_stack_is_refused(run: RunData) -> None:
    landmarks = run.landmarks.assign(series="77")
    with refused("POINTS_STACK_UNKNOWN", "study 4000", "series 77"):
        slice_with_points(SAGITTAL_VIEWS[0], "4000", run.stacks, landmarks, run.keypoints)


def test_edge_letters_are_the_patients() -> None:
    assert edge_letters(SAGITTAL) == ("A", "P", "H", "F")
    assert edge_letters(AXIAL) == ("R", "L", "A", "P")
    mirrored = affine_from_dicom([-1, 0, 0, 0, 1, 0], [1, 1], [0, 0, 0], [0, 0, 1])
    assert edge_letters(mirrored) == ("L", "R", "A", "P")


def test_keypoint_errors_by_hand(run: RunData) -> None:
    errors = run.point_errors
    # 2n px of 0.5 mm along the rows: n mm, on the same slice of a sagittal stack.
    assert errors[errors["study"] == "4003"]["error_mm"].to_numpy() == pytest.approx(3.0)
    assert errors["error_slices"].to_numpy() == pytest.approx(0.0, abs=1e-9)
    assert (errors["level_shift"] == 0).all()
    assert errors.loc[errors["condition"] == SPINAL, "side_right"].isna().all()
    assert errors.loc[errors["condition"] != SPINAL, "side_right"].all()
    assert set(errors.loc[errors["study"] == "4000", "anatomy"]) == {"six_lumbar"}


def test_shifts_sides_and_slices_are_noticed(run: RunData) -> None:
    affines = affines_of(run.stacks.values())
    study = run.landmarks[run.landmarks["study"] == "4001"]
    found = study[study["condition"] == SUBARTICULAR].assign(confidence=1.0)
    swapped = found.assign(side=found["side"].map({"left": "right", "right": "left"}))
    assert not point_errors(swapped, study, affines)["side_right"].any()
    levels = ["l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1"]
    lower = found[found["level"] != "l1_l2"]
    shifted = lower.assign(level=lower["level"].map(dict(zip(levels[1:], levels, strict=False))))
    errors = point_errors(shifted, study, affines)
    # Levels are four slices apart, and the keypoints lie on the level below.
    assert errors["error_slices"].to_numpy() == pytest.approx(-4.0)
    figures = point_figures(errors)
    assert figures["level_shift_studies"] == 1.0
    assert figures["within_6_mm"] == figures["slice_within_1"] == 0.0
    assert figures["side_right"] == 1.0


def test_spread_names_best_median_worst() -> None:
    values = pd.Series({"a": 5.0, "b": 1.0, "c": 3.0})
    assert spread(values, 3) == [("best", "b"), ("median", "c"), ("worst", "a")]
    assert spread(values.iloc[:1], 3) == [("the only one", "a")]
    assert spread(values, 0) == []
    assert [word for word, _ in spread(pd.Series(range(6)), 3)] == ["best", "median", "worst"]


def test_contact_sheets_show_crops_of_their_grade(run: RunData) -> None:
    ((tables, arrays),) = run.crops().values()
    crops = read_crops(tables, arrays)
    sheets = contact_sheets(crops, per_grade=4, seed=1)
    assert len(sheets) == 9
    sheet = sheets[0]
    assert sheet.heading == "Spinal canal stenosis, normal or mild (4 of 12)"
    # Crops of 24 px are enlarged to 80, so that their labels have room; 4 px lie between them.
    assert (sheet.width, sheet.height) == (4 * 84 - 4, 80 + 16)
    study, label = sheet.tiles[1].title.removeprefix("study ").split(", ")
    row = crops[(crops["study"] == study) & (crops["condition"] == SPINAL)]
    row = row[row["level"] == label.lower().replace("/", "_")].iloc[0]
    assert row["grade"] == 0
    shown = cv2.resize(_pixels(sheet.source)[:80, 84:164], (24, 24)).astype(int)
    # WebP keeps values within a few grays where it is asked for quality, noise within tens.
    expected = np.load(arrays[0])[row["row"], 1].astype(int)
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.9


def test_a_short_array_of_crops_is_refused(run: RunData, tmp_path: Path) -> None:
    ((tables, arrays),) = run.crops().values()
    np.save(tmp_path / "rois.npy", np.load(arrays[0])[:10])
    with refused("CROPS_ROWS", "rois.npy", 10):
        contact_sheets(read_crops(tables, [str(tmp_path / "rois.npy")]), 4, 1)


def test_findings_divide_the_scores_weights_out() -> None:
    # 0.5 / 1, 0.25 / 2, 0.25 / 4 = 8 : 2 : 1 of 11.
    plain = plain_probabilities(np.array([[0.5, 0.25, 0.25]]))
    assert plain[0] == pytest.approx([8 / 11, 2 / 11, 1 / 11])
    table = pd.DataFrame([{"study": "7", **cell._asdict()} for cell in LUMBAR_CELLS])
    table[list(PROBABILITY_COLUMNS)] = [0.5, 0.25, 0.25]
    severe = (table["condition"] == FORAMINAL) & (table["level"] == "l4_l5")
    severe &= table["side"] == "left"
    table.loc[severe, list(PROBABILITY_COLUMNS)] = [0.0, 0.0, 1.0]
    table = table.assign(source="image", members="small", prior_weight=0.1)
    found = study_findings("7", table, {})
    assert found.unseen == ""
    assert found.summary == "Likely severe: neural foraminal narrowing L4/L5 left (100%)."
    levels = dict(found.rows)
    assert found.columns[2] == "Neural foraminal narrowing, left"
    assert levels["L4/L5"][2].grade == 2
    assert levels["L4/L5"][1].percent == (73, 18, 9)


def findings_table(moderate: bool = True) -> pd.DataFrame:
    """A study whose every cell is moderate, or normal; all of it seen."""
    table = pd.DataFrame([{"study": "7", **cell._asdict()} for cell in LUMBAR_CELLS])
    table[list(PROBABILITY_COLUMNS)] = [0.2, 0.8, 0.0] if moderate else [1.0, 0.0, 0.0]
    return table.assign(source="image", members="small", prior_weight=0.1)


def test_a_cell_of_the_prior_alone_is_no_finding() -> None:
    table = findings_table()
    prior = (table["condition"] != FORAMINAL) | (table["level"] != "l4_l5")
    table.loc[prior, ["source", "members", "prior_weight"]] = ["prior", "", 1.0]
    lacking = {(SPINAL, "l1_l2", "central"): "small"}
    found = study_findings("7", table, lacking)
    # 0.2 / 1 and 0.8 / 2: a third and two thirds.
    assert found.summary == (
        "Likely moderate: neural foraminal narrowing L4/L5 right (67%), "
        "neural foraminal narrowing L4/L5 left (67%)."
    )
    assert found.unseen == (
        "23 of 25 cells hold the prior alone, nothing of this patient's images: spinal canal "
        "stenosis 5 of 5, neural foraminal narrowing 8 of 10, subarticular stenosis 10 of 10."
    )
    levels = dict(found.rows)
    canal, right = levels["L1/L2"][0], levels["L4/L5"][1]
    assert (canal.seen, canal.note) == (False, "prior: not from this patient's images")
    assert canal.title == "From no member; the prior's weight 1.000"
    assert (right.seen, right.note) == (True, "")
    assert right.title == "From small; the prior's weight 0.100"


def test_what_the_sentence_says_where_nothing_stands_out() -> None:
    table = findings_table(moderate=False)
    words = "Every cell is most likely normal or mild."
    assert study_findings("7", table, {}).summary == words
    table.loc[table["condition"] == SPINAL, "source"] = "prior"
    words = "The 20 cells that members speak for are most likely normal or mild."
    assert study_findings("7", table, {}).summary == words
    table["source"] = "prior"
    words = "No finding: no member speaks for any cell of this study."
    assert study_findings("7", table, {}).summary == words


def test_a_finding_says_who_lacks_it_and_when_it_is_mostly_the_prior() -> None:
    table = findings_table()
    table.loc[table["condition"] != SPINAL, "source"] = "prior"
    canal = table.index[table["condition"] == SPINAL]
    table.loc[canal, "prior_weight"] = [0.49, 0.5, 0.9982, 0.3, 0.2]
    table.loc[canal[3], "members"] = "small,mate"
    table.loc[canal[4], ["source", "members"]] = ["outside", "mate"]
    found = study_findings("7", table, {(SPINAL, "l4_l5", "central"): "other,third"})
    notes = [cells[0].note for _, cells in found.rows]
    assert notes == [
        "",
        "the prior weighs 50 %",
        "the prior weighs 99 %",
        "without other, third, the prior weighs 30 %",
        "outside table",
    ]
    assert "L3/L4 (67%, the prior weighs 99 %)" in found.summary
    assert found.rows[3][1][0].title == "From small, mate; the prior's weight 0.300"


def test_rules_are_found_by_their_longest_name() -> None:
    rules = ["train", "train_keypoints", "infer_keypoints"]
    assert rule_of("train_keypoints_sagittal_t1_0", rules) == "train_keypoints"
    assert rule_of("something", rules) == "something"


def test_benchmarks_are_summed(tmp_path: Path) -> None:
    head = "s\th:m:s\tmax_rss\n"
    (tmp_path / "infer_a_0.tsv").write_text(head + "1.5\t0:00:01\t100.5\n")
    (tmp_path / "infer_a_1.tsv").write_text(head + "2.5\t0:00:02\t50\n")
    (tmp_path / "fit.tsv").write_text(head + "0.1\t0:00:00\tNA\n")
    table = read_benchmarks(tmp_path, ["infer", "fit"])
    assert table["rule"].tolist() == ["infer", "fit"]
    assert table.loc[0, ["jobs", "seconds", "longest_s", "memory_mb"]].tolist() == [
        2,
        4,
        2.5,
        100.5,
    ]
    assert np.isnan(table.loc[1, "memory_mb"])


def test_every_caption_is_used() -> None:
    folder = Path(svg_uri.__code__.co_filename).parent
    code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    for name in yaml.safe_load(CAPTIONS.read_text(encoding="utf-8")):
        assert f'"{name}"' in code, name


def test_point_of_is_inside_its_volume() -> None:
    assert point_of(LUMBAR_CELLS[0]) == (70, 30, 4)
