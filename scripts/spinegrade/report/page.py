"""The page: every section in order, rendered to one file that needs nothing else."""

from __future__ import annotations

from spinegrade.report import sections_images, sections_run, sections_score
from spinegrade.report.data import Options, Paths, RunData
from spinegrade.report.parts import Section
from spinegrade.report.render import write_sections


def sections_of(data: RunData, options: Options) -> list[Section]:
    """All sections of the page, in order."""
    scored = sections_score.score_run(data, options)
    return [
        sections_score.headline(data, scored),
        sections_score.findings(data, options),
        sections_score.parts_and_levels(data, scored),
        sections_score.calibration(scored),
        sections_images.keypoints(data),
        sections_images.overlays(data, scored, options),
        sections_images.crops(data, options),
        sections_run.training(data),
        sections_images.mean_shape(data),
        sections_run.rejected(data),
        sections_run.times(data, options),
        *sections_run.how_it_ran(data),
        sections_run.versions(options),
    ]


def write_report(path: str, paths: Paths, options: Options, cohort: str, kind: str) -> None:
    """Write the report of a finished run to ``path``, one self-contained HTML file.

    Raises SpinegradeError for a table that breaks its schema.
    """
    data = RunData(paths)
    what = "an embedded phantom cohort" if kind == "phantom" else "studies in the RSNA 2024 layout"
    write_sections(
        path,
        sections_of(data, options),
        title=f"spinegrade: {cohort}",
        lead=f"Which level, which side, how severe: graded findings of {what}. Left and right are "
        "the patient's, always. For research, not for diagnosis.",
        rule="write_report",
    )
