"""One phantom study: patient, disease, scan, files. Its bytes depend on seed and number alone."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.phantom.anatomy import Anatomy, draw_anatomy
from spinegrade.phantom.artefacts import draw_artefacts
from spinegrade.phantom.body import paint_body
from spinegrade.phantom.dicom_writer import Identity, write_series
from spinegrade.phantom.disease import draw_narrowing
from spinegrade.phantom.rater import MISSING, draw_grades, grade_probabilities
from spinegrade.phantom.scanner import Scanner
from spinegrade.phantom.sequences import (
    AXIAL_T2,
    SAGITTAL_T1,
    SAGITTAL_T2,
    axial_series,
    sagittal_series,
)
from spinegrade.phantom.shape import draw_shape
from spinegrade.phantom.stacks import Placement, Series, draw_placement
from spinegrade.phantom.statistics import LumbarStatistics, load_statistics
from spinegrade.phantom.tissues import TissueState
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_CELLS, SPINAL, SUBARTICULAR
from spinegrade.runtime.seeds import generator, stream_seed
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS

_CARRIER = {
    SPINAL: SAGITTAL_T2,
    FORAMINAL: SAGITTAL_T1,
    SUBARTICULAR: AXIAL_T2,
}
_PRIME = 4294967291
SPLITS = ("train", "test")


@dataclass(frozen=True)
class PhantomSettings:
    """The configuration block ``phantom``; ``scale`` below 1 shrinks matrices for tests."""

    studies: int = 60
    test_studies: int = 2
    seed: int = 2024
    domain_randomisation: bool = False
    mislabelled_share: float = 0.0
    missing_series_share: float = 0.02
    scale: float = 1.0

    @classmethod
    def from_config(cls, block: dict[str, Any]) -> PhantomSettings:
        """Settings of a configuration block; an unknown key is refused by name."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(block) - known)
        if unknown:
            raise SpinegradeError(
                f"phantom: unknown keys {unknown}; allowed: {', '.join(sorted(known))}",
                code="PHANTOM_KEYS",
                key="phantom",
            )
        return cls(**block)

    def digest(self) -> str:
        """Hex digest of what a study's bytes depend on; counts of studies do not matter."""
        content = asdict(self)
        content.pop("studies")
        content.pop("test_studies")
        text = ":".join(f"{key}={content[key]!r}" for key in sorted(content))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Patient:
    """A drawn patient: anatomy, place in the scanner, labels and their probabilities."""

    anatomy: Anatomy
    placement: Placement
    narrowing: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    grades: NDArray[np.int64]
    mislabelled: NDArray[np.bool_]
    tissue_spread: NDArray[np.float64]

    @property
    def points_mm(self) -> NDArray[np.float64]:
        """True points (25, 3), LPS mm, in the order of ``LUMBAR_CELLS``."""
        return self.placement.to_patient(self.anatomy.points_mm())

    @property
    def tissue_state(self) -> TissueState:
        """Marrow, discs and muscle of this patient."""
        anatomy = self.anatomy
        return TissueState(
            anatomy.marrow_fat, anatomy.disc_water, anatomy.muscle_fat, self.tissue_spread
        )


def study_id(settings: PhantomSettings, split: str, number: int) -> str:
    """Numeric id of a study, unlike any other's of the cohort."""
    place = 2 * number + SPLITS.index(split)
    offset = stream_seed(settings.seed, "phantom", "study ids") % _PRIME
    return str((offset + (place + 1) * 2654435761) % _PRIME)


def draw_patient(
    settings: PhantomSettings, split: str, number: int, statistics: LumbarStatistics
) -> Patient:
    """Draw everything about a patient but the scan."""
    stream = ("phantom", split, number)
    seed = settings.seed
    narrowing = draw_narrowing(generator(seed, *stream, "disease"), statistics)
    probabilities = grade_probabilities(narrowing[None], statistics)
    grades = draw_grades(
        generator(seed, *stream, "rater"), probabilities, statistics, settings.mislabelled_share
    )
    shape = draw_shape(generator(seed, *stream, "shape"), statistics)
    anatomy = draw_anatomy(
        generator(seed, *stream, "anatomy"),
        shape.canal_mm,
        shape.foraminal_left_mm,
        shape.foraminal_right_mm,
        narrowing,
    )
    placement = draw_placement(generator(seed, *stream, "placement"), settings.domain_randomisation)
    sigma = 0.3 if settings.domain_randomisation else 0.05
    spread = np.exp(generator(seed, *stream, "tissues").normal(0, sigma, (256, 3)))
    return Patient(
        anatomy,
        placement,
        narrowing,
        probabilities[0],
        grades.grade[0],
        grades.mislabelled[0],
        spread,
    )


def draw_series(
    settings: PhantomSettings,
    split: str,
    number: int,
    patient: Patient,
    statistics: LumbarStatistics,
) -> list[Series]:
    """Draw the study's series: sagittal T1, sagittal T2 or STIR, axial T2."""
    rng = generator(settings.seed, "phantom", split, number, "protocol")
    missing: tuple[str, ...] = ()
    lacks, which = rng.uniform(), int(rng.integers(3))
    if split == "train" and lacks < settings.missing_series_share:
        missing = ((SAGITTAL_T1, SAGITTAL_T2, AXIAL_T2)[which],)
    rest = (
        patient.anatomy,
        patient.placement,
        statistics.series,
        settings.scale,
        settings.domain_randomisation,
        missing,
    )
    return sagittal_series(rng, *rest) + axial_series(rng, *rest)


def find_landmark(
    series: list[tuple[str, Series]], description: str, point_mm: NDArray[np.float64]
) -> tuple[str, int, float, float] | None:
    """(series id, instance number, x_px, y_px) of a point on the slice nearest to it.

    Among several series or stacks the nearest slice wins; None where no slice passes within
    one slice spacing of the point.
    """
    best: tuple[float, tuple[str, int, float, float]] | None = None
    for name, one in series:
        if one.description != description:
            continue
        before = 0
        for stack in one.stacks:
            x, y, index = stack.locate(point_mm)
            nearest = int(np.clip(round(index), 0, stack.count - 1))
            spacing = float(np.linalg.norm(stack.step_mm))
            gap = abs(index - nearest) * spacing
            inside = 0 <= x <= stack.cols - 1 and 0 <= y <= stack.rows - 1
            if inside and gap <= spacing and (best is None or gap < best[0]):
                instance = one.instance_numbers[before + nearest]
                # In the plane of the slice itself, not of the point.
                flat = point_mm - (index - nearest) * stack.step_mm
                x, y, _ = stack.locate(flat)
                best = (gap, (name, instance, x, y))
            before += stack.count
    return None if best is None else best[1]


def make_study(settings: PhantomSettings, split: str, number: int, images: Path) -> dict[str, Any]:
    """Write the DICOM tree of one study under ``images/<study>`` and return its table rows.

    The result holds ``study``, ``series`` [(series id, description)], ``landmarks`` (rows of
    train_label_coordinates.csv) and ``truth`` (rows of the truth table), all plain values.
    """
    statistics = load_statistics()
    patient = draw_patient(settings, split, number, statistics)
    study = study_id(settings, split, number)
    folder = images / study
    if folder.exists():
        shutil.rmtree(folder)
    stream = ("phantom", split, number)
    series = draw_series(settings, split, number, patient, statistics)
    wide = settings.domain_randomisation
    state = patient.tissue_state
    scanner = Scanner(paint_body(patient.anatomy, settings.scale), patient.placement, state)
    named = []
    for order, one in enumerate(series):
        rng = generator(settings.seed, *stream, "scan", order)
        identity = _identity(settings, study, stream, order)
        stacks = scanner.acquire(one, draw_artefacts(rng, wide), rng)
        write_series(folder / identity.series, identity, one, stacks)
        named.append((identity.series, one))
    return {
        "study": study,
        "series": [[name, one.description] for name, one in named],
        "landmarks": _landmarks(settings, stream, study, named, patient),
        "truth": _truth(study, patient),
    }


def _identity(
    settings: PhantomSettings, study: str, stream: tuple[str, str, int], order: int
) -> Identity:
    seed = stream_seed(settings.seed, *stream, "series id", order)
    clock = seed % 86400
    time = f"{clock // 3600:02d}{clock // 60 % 60:02d}{clock % 60:02d}.{seed // 7 % 1000000:06d}"
    frame = f"1.2.826.0.1.3680043.8.498.{stream_seed(settings.seed, *stream, 'frame', order)}"
    return Identity(study, str(seed % 4294967291), frame, "20240503", time)


def _landmarks(
    settings: PhantomSettings,
    stream: tuple[str, str, int],
    study: str,
    series: list[tuple[str, Series]],
    patient: Patient,
) -> list[dict[str, Any]]:
    jitter = generator(settings.seed, *stream, "landmarks").normal(0, 1.3, (25, 2))
    rows = []
    for cell, point, shift, grade in zip(
        LUMBAR_CELLS, patient.points_mm, jitter, patient.grades, strict=True
    ):
        found = find_landmark(series, _CARRIER[cell.condition], point)
        if found is None or grade == MISSING:
            continue
        name, instance, x, y = found
        side = "" if cell.side == "central" else f"{cell.side.title()} "
        rows.append(
            {
                "study_id": study,
                "series_id": name,
                "instance_number": instance,
                "condition": side + cell.condition.replace("_", " ").title(),
                "level": cell.level.replace("_", "/").upper(),
                "x": round(x + settings.scale * shift[0], 6),
                "y": round(y + settings.scale * shift[1], 6),
            }
        )
    return rows


def _truth(study: str, patient: Patient) -> list[dict[str, Any]]:
    rows = []
    for index, (cell, point) in enumerate(zip(LUMBAR_CELLS, patient.points_mm, strict=True)):
        grade = int(patient.grades[index])
        probabilities = map(float, patient.probabilities[index])
        rows.append(
            {
                "study": study,
                **cell._asdict(),
                "narrowing": float(patient.narrowing[index]),
                **dict(zip(PROBABILITY_COLUMNS, probabilities, strict=True)),
                "grade": None if grade == MISSING else grade,
                "mislabelled": bool(patient.mislabelled[index]),
                **dict(zip(("x_mm", "y_mm", "z_mm"), map(float, point), strict=True)),
                "anatomy": patient.anatomy.kind,
            }
        )
    return rows
