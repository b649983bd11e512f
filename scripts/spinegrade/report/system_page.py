"""The page of a system, whichever it is: sections by what its learners make."""

from __future__ import annotations

from spinegrade.report import figures_quality, sections_grades, sections_points
from spinegrade.report.captions import caption
from spinegrade.report.parts import Figure, Section
from spinegrade.report.render import write_sections
from spinegrade.report.system import SystemRun


def training(run: SystemRun) -> Section:
    """Training curves of all learners of the system."""
    section = Section("training", "Training curves")
    section.blocks.append(
        Figure(
            figures_quality.training(run.histories),
            f"Loss by epoch of {', '.join(run.histories)}.",
            caption("training", "finish"),
        )
    )
    return section


def sections_of(run: SystemRun) -> list[Section]:
    """The sections that the run has something for, in the page's order."""
    found = [sections_grades.grades(run), sections_grades.members(run)]
    if run.validations:
        found.append(sections_grades.each_grader(run))
    if len(run.point_errors):
        found.append(sections_points.detectors(run))
    if run.validations:
        found.append(sections_points.grader_points(run))
    if run.faults:
        found.append(sections_grades.faults(run))
    if run.histories:
        found.append(training(run))
    if run.keypoints:
        found.append(sections_points.overlays(run))
    return found


def write_page(path: str, run: SystemRun, system: str, cohort: str) -> None:
    """Write one self-contained HTML page to ``path``."""
    write_sections(
        path,
        sections_of(run),
        title=f"spinegrade {system.replace('_', ' ')}: {cohort}",
        lead=f"The work of {', '.join(run.members)}, alone and together. Left and right are the "
        "patient's, always. For research, not for diagnosis.",
        rule="write_system_report",
    )
