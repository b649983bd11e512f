"""Sections with pictures of the studies: keypoint errors, overlays, crops, the mean shape."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spinegrade.metrics.points import WITHIN_MM, point_figures
from spinegrade.metrics.reliability import study_losses
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS
from spinegrade.report import figures_quality
from spinegrade.report.captions import caption
from spinegrade.report.crops import contact_sheets, read_crops
from spinegrade.report.data import Options, RunData
from spinegrade.report.overlays import study_slices
from spinegrade.report.parts import Figure, Note, Section, Table
from spinegrade.report.points import spread
from spinegrade.report.sections_score import Scored
from spinegrade.report.style import file_uri, level_word

ANATOMY_WORDS = {
    "typical": "five lumbar vertebrae",
    "four_lumbar": "four lumbar vertebrae",
    "six_lumbar": "six lumbar vertebrae",
    "unknown": "all studies",
}


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _error_row(
    name: list[str], errors: pd.DataFrame, reference: pd.DataFrame, by_study: bool
) -> list[str | int | None]:
    found = point_figures(errors)
    wanted = reference["condition"].isin(errors["condition"].unique())
    wanted &= reference["anatomy"].isin(errors["anatomy"].unique())
    cells = [
        *name,
        f"{len(errors)} of {int(wanted.sum())}",
        f"{found['median_mm']:.1f}",
        f"{found['p90_mm']:.1f}",
        _percent(found["within_6_mm"]),
        _percent(found["side_right"]),
        _percent(found["slice_within_1"]),
    ]
    return [*cells, _percent(found["level_shift_studies"])] if by_study else cells


def keypoints(data: RunData) -> Section:
    """Distances of keypoints from the true (else the annotated) points."""
    section = Section("keypoints", "Keypoint error")
    errors = data.point_errors
    if errors.empty:
        text = "No keypoint can be measured: there is neither truth nor an annotated point for any."
        section.blocks.append(Note(text, "missing"))
        return section
    phantom = data.truth is not None
    reference = "the phantom's true point" if phantom else "the annotated point"
    typical = errors[errors["anatomy"].isin(("typical", "unknown"))]
    heads = ["Points found", "Median mm", "90 % mm", f"Within {WITHIN_MM:.0f} mm", "Side right"]
    heads += ["Slice within one"]
    rows = [
        _error_row([str(detector), ANATOMY_WORDS[str(anatomy)]], part, data.reference, True)
        for (detector, anatomy), part in errors.groupby(["detector", "anatomy"], sort=True)
    ]
    levels = [
        _error_row(
            [str(detector), level_word(level)],
            part,
            data.reference[data.reference["level"] == level],
            False,
        )
        for detector, of_detector in typical.groupby("detector", sort=True)
        for level in LUMBAR_LEVELS
        if len(part := of_detector[of_detector["level"] == level])
    ]
    if len(typical):
        section.blocks.append(
            Figure(
                figures_quality.keypoint_error(typical),
                f"Median distance {typical['error_mm'].median():.1f} mm; "
                f"{point_figures(typical)['within_6_mm']:.0%} within {WITHIN_MM:.0f} mm.",
                caption("keypoints", reference=reference),
            )
        )
    section.blocks += [
        Table(
            ["Detector", "Anatomy", *heads, "Studies shifted"],
            rows,
            f"Distance in patient space from {reference}. Side right: not nearer to the other "
            "side's point. Studies shifted: a point lies nearest to another level's point. "
            "Slice within one: at most one slice from the one nearest to that point.",
        ),
        Table(["Detector", "Level", *heads], levels, "The same by level.", fold=True),
    ]
    if phantom:
        text = "Transitional anatomies, where the level's name is open to dispute, stand apart: "
        section.blocks.append(Note(text + "the picture and the levels leave them out."))
    return section


def overlays(data: RunData, scored: Scored | str, options: Options) -> Section:
    """Points over slices of the best, median and worst studies, and of the new ones."""
    section = Section("overlays", "Keypoints on the slices")
    if options.examples < 1:
        section.blocks.append(Note("Switched off: report.examples is 0.", "missing"))
        return section
    section.blocks.append(Note(caption("overlays")))
    told: dict[str, list[str]] = {}
    errors = data.point_errors[~data.point_errors["study"].isin(data.new_studies)]
    by_error = errors.groupby("study")["error_mm"].median()
    for word, study in spread(by_error, options.examples):
        told.setdefault(study, []).append(f"{word} by keypoints ({by_error[study]:.1f} mm median)")
    if not isinstance(scored, str):
        losses = study_losses(scored.cells, scored.run_values)
        for word, study in spread(losses, options.examples):
            told.setdefault(study, []).append(f"{word} by score ({losses[study]:.2f})")
    for study in data.new_studies[: options.examples]:
        told.setdefault(study, []).append("new study")
    for study, reasons in told.items():
        heading = f"Study {study}: {', '.join(reasons)}"
        block = study_slices(heading, study, data.stacks, data.landmarks, data.keypoints)
        if block.sagittal or block.axial:
            section.blocks.append(block)
        else:
            section.blocks.append(Note(f"{heading}. It has no point to show.", "missing"))
    if not told:
        section.blocks.append(Note("No study has a point to show.", "missing"))
    return section


def crops(data: RunData, options: Options) -> Section:
    """Contact sheets of each roi set by condition and grade."""
    section = Section("crops", "Crops by grade")
    section.blocks.append(Note(caption("sheets")))
    for name, (tables, arrays) in data.crops().items():
        sheets = contact_sheets(read_crops(tables, arrays), options.crops_per_grade, options.seed)
        section.blocks.append(Note(f"Crop set {name}", "heading"))
        section.blocks += sheets or [Note("It has no labelled crop to show.", "missing")]
    return section


def mean_shape(data: RunData) -> Section:
    """The picture of the mean shape, as its rule drew it."""
    section = Section("shape", "The mean shape")
    path = data.paths.mean_shape
    if path is None:
        section.blocks.append(Note("No mean shape was fitted for this cohort.", "missing"))
        return section
    source = file_uri(Path(path).read_bytes())
    alternative = "Mean shape of the foraminal and canal points over the annotated points."
    section.blocks.append(Figure(source, alternative, caption("shape")))
    return section
