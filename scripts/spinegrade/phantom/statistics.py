"""The published figures that phantoms are drawn from, loaded and checked.

``resources/anatomy/lumbar_statistics.json`` is written by
``scripts/tools/fit_lumbar_statistics.py`` from the tables of the RSNA 2024 lumbar spine
competition and holds aggregates alone: a shape model, prevalences, correlations, rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS
from spinegrade.runtime.files import read_json

Floats = NDArray[np.float64]
RESOURCE = Path(__file__).resolve().parents[3] / "resources" / "anatomy" / "lumbar_statistics.json"
CELL_COUNT = len(LUMBAR_CELLS)


@dataclass(frozen=True)
class ShapeModel:
    """Annotated points of sagittal series: mean and principal modes, px at an image of 512.

    Image frame: x to the back, y to the feet. Points: 5 canal, 5 left foraminal, 5 right
    foraminal, L1/L2 first. ``canal_px`` (5, 2) and ``foraminal_px`` (10, 2): means in one
    frame. ``modes_px`` (m, 15, 2): modes of one standard deviation each, largest first.
    ``turn_deg``: standard deviation of a study's turn against the mean. The scale in mm is a
    prior: the mean foraminal level spacing is normal with ``spacing_mm`` and
    ``spacing_sd_mm``, within ``spacing_range_mm``.
    """

    canal_px: Floats
    foraminal_px: Floats
    modes_px: Floats
    turn_deg: float
    spacing_mm: float
    spacing_sd_mm: float
    spacing_range_mm: tuple[float, float]

    @property
    def mean_px(self) -> Floats:
        """(15, 2): canal, left foramina, right foramina."""
        return np.concatenate([self.canal_px, self.foraminal_px])


@dataclass(frozen=True)
class DiseaseModel:
    """Latent severity of the 25 cells, in the order of ``LUMBAR_CELLS``.

    The severity of a study is normal with ``mean`` (25,), ``spread`` (25,) and
    ``correlation`` (25, 25); its logistic function is the narrowing in [0, 1]. Severity is
    thus in logits of narrowing.
    """

    mean: Floats
    spread: Floats
    correlation: Floats


@dataclass(frozen=True)
class RaterModel:
    """How narrowing is graded: an ordered probit, the same for every cell.

    ``thresholds`` (25, 2): the narrowing from which half of the readings are moderate or
    worse, and severe; equal in all rows. ``noise``: standard deviation of a reading, in
    logits of narrowing. ``missing_rate`` (25,): share of studies whose cell has no grade;
    ``missing_together`` (5,): share of left subarticular gaps of a level whose right
    neighbour is missing too.
    """

    thresholds: Floats
    noise: float
    missing_rate: Floats
    missing_together: Floats


@dataclass(frozen=True)
class SeriesModel:
    """What series a study has, by series description as Kaggle writes it.

    ``rows``: image rows to share of series. ``slices``: 21 quantiles (0, 5 .. 100 %) of the
    slice count. ``cols_differ``: share of series whose columns differ from their rows.
    ``axial_counts``: number of axial series to share of studies. ``lacking``: share of
    studies without the description. ``holes``: share of series with holes in their
    instance numbers.
    """

    rows: dict[str, dict[int, float]]
    slices: dict[str, tuple[float, ...]]
    cols_differ: dict[str, float]
    axial_counts: dict[int, float]
    lacking: dict[str, float]
    holes: float


@dataclass(frozen=True)
class LumbarStatistics:
    """Everything that a lumbar phantom cohort is drawn from.

    ``prevalence`` (25, 3): share of grades 0, 1, 2 among the labelled cells.
    ``rank_correlation`` (25, 25): Spearman correlation of the real grades.
    """

    shape: ShapeModel
    disease: DiseaseModel
    rater: RaterModel
    series: SeriesModel
    prevalence: Floats
    rank_correlation: Floats
    provenance: dict[str, Any]


def _array(value: Any, shape: tuple[int | None, ...], what: str) -> Floats:
    array = np.asarray(value, float)
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or not np.isfinite(array).all():
        raise SpinegradeError(
            f"{what} has shape {array.shape}; expected finite numbers of shape {shape}",
            code="PHANTOM_STATISTICS",
        )
    array.setflags(write=False)
    return array


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise SpinegradeError(what, code="PHANTOM_STATISTICS")


def _correlation(value: Any, what: str) -> Floats:
    matrix = _array(value, (CELL_COUNT, CELL_COUNT), what)
    _check(
        np.allclose(matrix, matrix.T, atol=1e-9)
        and np.allclose(np.diag(matrix), 1, atol=1e-6)
        and np.linalg.eigvalsh(matrix)[0] > 0,
        f"{what} is not a correlation matrix (symmetric, ones on its diagonal, definite)",
    )
    return matrix


def parse_statistics(content: dict[str, Any]) -> LumbarStatistics:
    """Statistics from the resource's JSON content.

    Raises SpinegradeError that names what is missing, misshapen or impossible.
    """
    try:
        _check(
            content["cells"] == [cell.column for cell in LUMBAR_CELLS],
            "cells: not the 25 columns of train.csv in their order",
        )
        shape, labels, series = content["shape"], content["labels"], content["series"]
        disease, rater, prior = content["disease"], content["rater"], shape["scale_prior"]
        prevalence = _array(labels["prevalence"], (CELL_COUNT, 3), "labels.prevalence")
        _check(
            bool((prevalence > 0).all()) and np.allclose(prevalence.sum(axis=1), 1, atol=1e-6),
            "labels.prevalence: rows must be positive and sum to one",
        )
        spread = _array(disease["spread"], (CELL_COUNT,), "disease.spread")
        noise = float(rater["noise"])
        _check(bool((spread > 0).all()) and noise > 0, "disease.spread and rater.noise must be > 0")
        thresholds = _array(rater["thresholds"], (CELL_COUNT, 2), "rater.thresholds")
        _check(
            bool((thresholds[:, 0] < thresholds[:, 1]).all())
            and bool(((thresholds > 0) & (thresholds < 1)).all()),
            "rater.thresholds must grow and lie within (0, 1)",
        )
        return LumbarStatistics(
            shape=ShapeModel(
                canal_px=_array(shape["canal"]["mean_px"], (5, 2), "shape.canal.mean_px"),
                foraminal_px=_array(shape["foraminal"]["mean_px"], (10, 2), "shape.foraminal"),
                modes_px=_array(shape["modes_px"], (None, 15, 2), "shape.modes_px"),
                turn_deg=float(shape["turn_deg"]),
                spacing_mm=float(prior["spacing_mm"]),
                spacing_sd_mm=float(prior["spacing_sd_mm"]),
                spacing_range_mm=tuple(map(float, prior["spacing_range_mm"])),
            ),
            disease=DiseaseModel(
                mean=_array(disease["mean"], (CELL_COUNT,), "disease.mean"),
                spread=spread,
                correlation=_correlation(disease["correlation"], "disease.correlation"),
            ),
            rater=RaterModel(
                thresholds=thresholds,
                noise=noise,
                missing_rate=_array(labels["missing_rate"], (CELL_COUNT,), "labels.missing_rate"),
                missing_together=_array(labels["missing_together"], (5,), "missing_together"),
            ),
            series=SeriesModel(
                rows={k: {int(n): s for n, s in v.items()} for k, v in series["rows"].items()},
                slices={k: tuple(v) for k, v in series["slices"].items()},
                cols_differ=dict(series["cols_differ"]),
                axial_counts={int(n): s for n, s in series["axial_counts"].items()},
                lacking=dict(series["lacking"]),
                holes=float(series["holes"]),
            ),
            prevalence=prevalence,
            rank_correlation=_array(
                labels["rank_correlation"], (CELL_COUNT, CELL_COUNT), "labels.rank_correlation"
            ),
            provenance=content["provenance"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SpinegradeError(
            f"missing or misformed entry: {error!r}", code="PHANTOM_STATISTICS"
        ) from error


@cache
def load_statistics(path: Path = RESOURCE) -> LumbarStatistics:
    """The statistics of a JSON file, by default the committed one; refused by name if broken."""
    if not path.is_file():
        raise SpinegradeError(
            f"{path}: no such file; scripts/tools/fit_lumbar_statistics.py writes it",
            code="PHANTOM_STATISTICS",
        )
    try:
        return parse_statistics(read_json(path))
    except SpinegradeError as error:
        raise SpinegradeError(f"{path}: {error}", code="PHANTOM_STATISTICS") from error
