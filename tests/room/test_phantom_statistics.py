"""The lumbar statistics: what is drawn from them has the published margins and correlations."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from scipy.special import expit
from scipy.stats import norm
from spinegrade.phantom.disease import draw_narrowing
from spinegrade.phantom.rater import MISSING, draw_grades, grade_probabilities
from spinegrade.phantom.shape import draw_shape, level_spacing
from spinegrade.phantom.statistics import RESOURCE, load_statistics, parse_statistics
from spinegrade.regions.lumbar_mri import CONDITIONS, FORAMINAL, LUMBAR_CELLS, LUMBAR_LEVELS, SPINAL
from spinegrade.runtime.files import read_json
from spinegrade.shapes import align_to_shape, mean_shape

PROJECT = Path(__file__).resolve().parents[2]
STUDIES = 20_000
CONDITION = np.array([cell.condition for cell in LUMBAR_CELLS])


@pytest.fixture(scope="module")
def statistics():
    return load_statistics()


@pytest.fixture(scope="module")
def grades(statistics) -> np.ndarray:
    rng = np.random.default_rng(7)
    narrowing = draw_narrowing(rng, statistics, STUDIES)
    return draw_grades(rng, grade_probabilities(narrowing, statistics), statistics).grade


def test_known_facts_of_the_real_table_are_in_the_resource(statistics):
    severe = {
        cell.column: share
        for cell, share in zip(LUMBAR_CELLS, statistics.prevalence[:, 2], strict=True)
    }
    assert severe["spinal_canal_stenosis_l5_s1"] == pytest.approx(0.0096, abs=5e-4)
    assert severe["left_subarticular_stenosis_l4_l5"] == pytest.approx(0.234, abs=1e-3)
    # L4/L5: left with right foramen, left with right recess, canal with left recess.
    for pair, value in (((8, 13), 0.36), ((18, 23), 0.56), ((3, 18), 0.58)):
        assert statistics.rank_correlation[pair] == pytest.approx(value, abs=0.006)
    rates = [statistics.rater.missing_rate[name == CONDITION].mean() for name in CONDITIONS]
    np.testing.assert_allclose(rates, [0.0005, 0.003, 0.026], rtol=0.2)


def test_probabilities_by_hand(statistics):
    low, high = statistics.rater.thresholds[0]
    noise = statistics.rater.noise
    narrowing = np.full((3, 25), low)
    narrowing[1] = high
    narrowing[2] = [0.0, 1.0] + [0.5] * 23
    found = grade_probabilities(narrowing, statistics)
    apart = (np.log(high / (1 - high)) - np.log(low / (1 - low))) / noise
    np.testing.assert_allclose(
        found[0, 0], [0.5, norm.cdf(apart) - 0.5, norm.sf(apart)], atol=1e-12
    )
    np.testing.assert_allclose(found[1, 0, 2], 0.5)
    np.testing.assert_allclose(found[2, :2], [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(found.sum(axis=-1), 1)


def test_probabilities_shift_upwards_with_narrowing(statistics):
    narrowing = np.repeat(np.linspace(0.01, 0.99, 50)[:, None], 25, axis=1)
    found = grade_probabilities(narrowing, statistics)
    assert (np.diff(found[..., 0], axis=0) <= 0).all()
    assert (np.diff(found[..., 2], axis=0) >= 0).all()
    # The scale means the same everywhere.
    assert np.ptp(found, axis=1).max() == 0


def test_prevalences_are_the_real_ones(statistics, grades):
    for cell in range(25):
        given = grades[:, cell][grades[:, cell] != MISSING]
        shares = np.bincount(given, minlength=3) / len(given)
        error = np.sqrt(statistics.prevalence[cell] / len(given))
        assert (np.abs(shares - statistics.prevalence[cell]) < 4.5 * error).all(), cell


def test_missing_rates_are_the_real_ones(statistics, grades):
    gaps = grades == MISSING
    for name, rate in zip(CONDITIONS, (0.0005, 0.003, 0.026), strict=True):
        assert gaps[:, name == CONDITION].mean() == pytest.approx(rate, rel=0.25)
    error = np.sqrt(statistics.rater.missing_rate / STUDIES)
    assert (np.abs(gaps.mean(axis=0) - statistics.rater.missing_rate) < 4.5 * error).all()
    # Gaps of the two recesses of a level come together, as an axial series ends above or below.
    both = gaps[:, 15] & gaps[:, 20]
    assert both.sum() > 0.9 * gaps[:, 15].sum()


def test_rank_correlations_are_the_real_ones(statistics, grades):
    table = pd.DataFrame(np.where(grades == MISSING, np.nan, grades))
    drawn = table.corr(method="spearman").to_numpy()
    # A rank correlation of 1,975 rows has a standard error of about 0.022.
    for pair, value in (((8, 13), 0.36), ((18, 23), 0.56), ((3, 18), 0.58)):
        assert drawn[pair] == pytest.approx(value, abs=0.035)
    error = (drawn - statistics.rank_correlation)[np.triu_indices(25, 1)]
    assert np.sqrt((error**2).mean()) < 0.03
    assert np.abs(error).max() < 0.2


def test_mislabels_are_known_and_are_other_grades(statistics):
    probabilities = np.zeros((STUDIES, 25, 3))
    probabilities[..., 1] = 1
    drawn = draw_grades(np.random.default_rng(0), probabilities, statistics, 0.04)
    assert drawn.mislabelled.mean() == pytest.approx(0.04, abs=0.002)
    assert (drawn.grade[drawn.mislabelled] != 1).all()
    untouched = ~drawn.mislabelled & (drawn.grade != MISSING)
    assert (drawn.grade[untouched] == 1).all()
    assert (drawn.grade[drawn.mislabelled] == 0).mean() == pytest.approx(0.5, abs=0.02)
    with refused("PHANTOM_NUMBERS", 1.5):
        draw_grades(np.random.default_rng(0), probabilities, statistics, 1.5)


def test_draws_are_their_seeds(statistics):
    def draw(seed):
        rng = np.random.default_rng(seed)
        narrowing = draw_narrowing(rng, statistics)
        assert narrowing.shape == (25,)
        assert ((narrowing > 0) & (narrowing < 1)).all()
        truth = grade_probabilities(narrowing[None], statistics)
        grade = draw_grades(rng, truth, statistics).grade
        return b"".join(
            np.ascontiguousarray(a).tobytes() for a in (*draw_shape(rng, statistics), grade)
        )

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_median_narrowing_is_the_logistic_of_its_mean(statistics):
    narrowing = draw_narrowing(np.random.default_rng(5), statistics, STUDIES)
    np.testing.assert_allclose(
        np.median(narrowing, axis=0), expit(statistics.disease.mean), atol=0.02
    )


def test_shapes_are_spines_in_mm(statistics):
    rng = np.random.default_rng(9)
    shapes = [draw_shape(rng, statistics) for _ in range(400)]
    canal = np.stack([shape.canal_mm for shape in shapes])
    left = np.stack([shape.foraminal_left_mm for shape in shapes])
    right = np.stack([shape.foraminal_right_mm for shape in shapes])
    assert (canal[:, 2] == 0).all()
    for points in (canal, left, right):
        assert (np.diff(points[..., 1], axis=1) < 0).all(), "L1 above S1"
    gaps = np.linalg.norm(np.diff(canal, axis=1), axis=-1).mean(axis=0)
    assert gaps.argmin() == 3, "the canal's least spacing is at L5/S1"
    assert ((gaps > 21) & (gaps < 33)).all()
    spacing = [level_spacing(np.concatenate(pair)) for pair in zip(left, right, strict=True)]
    assert min(spacing) >= 27 - 1e-9
    assert max(spacing) <= 34.5 + 1e-9
    assert np.mean(spacing) == pytest.approx(30.5, abs=0.4)
    # Foramina lie in front of the canal at its level and slightly above the disc.
    assert (left[:, 2:, 0] < canal[:, 2:, 0]).mean() > 0.7


def test_a_broken_resource_is_refused_with_what_is_wrong():
    content = read_json(RESOURCE)

    def broken(change):
        copied = copy.deepcopy(content)
        change(copied)
        return copied

    changes = [
        (lambda c: c["labels"].pop("prevalence"), "prevalence"),
        (lambda c: c["labels"]["prevalence"][0].__setitem__(0, 0.1), "prevalence"),
        (lambda c: c["disease"]["correlation"][0].__setitem__(1, 5.0), "correlation"),
        (lambda c: c["rater"].__setitem__("noise", 0.0), "noise"),
        (lambda c: c["shape"]["canal"]["mean_px"].pop(), "canal"),
        (lambda c: c["cells"].reverse(), "cells"),
    ]
    for change, entry in changes:
        with refused("PHANTOM_STATISTICS", entry):
            parse_statistics(broken(change))


def test_a_missing_resource_is_named(tmp_path):
    with refused("PHANTOM_STATISTICS", "nowhere"):
        load_statistics(tmp_path / "nowhere.json")


@pytest.fixture(scope="module")
def script():
    place = PROJECT / "scripts" / "tools" / "fit_lumbar_statistics.py"
    spec = importlib.util.spec_from_file_location("fit_lumbar_statistics", place)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.mark.real_data
def test_the_committed_figures_come_from_the_tables(real_data, script):
    folder = real_data / "rsna2024"
    content = read_json(RESOURCE)
    labels = script.label_statistics(pd.read_csv(folder / "train.csv.gz"))
    assert labels == content["labels"]
    coordinates = script.read_coordinates(folder / "train_label_coordinates_with_size.csv.gz", None)
    fitted = script.shape_statistics(coordinates)
    for part in ("canal", "foraminal"):
        np.testing.assert_allclose(
            fitted[part]["mean_px"], content["shape"][part]["mean_px"], atol=2e-3
        )


@pytest.mark.real_data
def test_drawn_shapes_have_the_real_mean(real_data, script, statistics):
    coordinates = script.read_coordinates(
        real_data / "rsna2024" / "train_label_coordinates_with_size.csv.gz", None
    )
    rng = np.random.default_rng(1)
    shapes = [draw_shape(rng, statistics) for _ in range(3000)]
    for condition, sides, drawn in (
        (SPINAL, ("central",), [shape.canal_mm for shape in shapes]),
        (FORAMINAL, ("left", "right"), [np.concatenate(shape[1:]) for shape in shapes]),
    ):
        rows = coordinates[coordinates["condition"] == condition]
        columns = [(level, side) for side in sides for level in LUMBAR_LEVELS]
        sets = script.point_sets(rows, columns).to_numpy().reshape(-1, len(columns), 2)
        real = mean_shape(sets)
        aligned, _ = align_to_shape(mean_shape(np.stack(drawn) * [1, -1]), real)
        assert np.linalg.norm(aligned - real, axis=1).max() < 1.0
