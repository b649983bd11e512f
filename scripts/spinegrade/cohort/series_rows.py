"""The described series of one study held against its folder: rows, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spinegrade.cohort import layout, left_out
from spinegrade.cohort.folders import StudyFolder, plain_text, what_lies_at
from spinegrade.cohort.given import IMAGES, SERIES
from spinegrade.cohort.left_out import LeftOut

_MOST_NAMED = 3


def unknown_study(part: str, in_csv: dict[str, tuple[str, str]], there: StudyFolder) -> str:
    """What was found of a study that no table makes part of the cohort."""
    table = layout.LABELS if part == "train" else layout.TEST_SERIES
    found = f"{len(there.series)} series folders in {IMAGES[part]}" if there.series else "no images"
    if in_csv:
        found += f", {len(in_csv)} rows in {SERIES[part]}"
    return f"{found}, no row in {table}"


def why_unusable(there: StudyFolder) -> str:
    """The code of a study none of whose described series has a file."""
    return left_out.STUDY_WITHOUT_SERIES if there.has_files else left_out.STUDY_WITHOUT_IMAGES


def series_rows(
    root: str,
    part: str,
    study: str,
    in_csv: dict[str, tuple[str, str]],
    there: StudyFolder,
    rejected: LeftOut,
) -> list[dict[str, Any]]:
    """Rows of one study's described series; what cannot be used is noted in ``rejected``."""
    images, table = IMAGES[part], SERIES[part]
    counts = {name: count.files for name, count in there.series.items()}
    usable = any(counts.get(name, 0) for name in in_csv)
    rows = []
    for name, (plane, weighting) in sorted(in_csv.items()):
        folder = f"{images}/{study}/{name}"
        problem = found = None
        if name not in counts:
            problem, found = left_out.SERIES_WITHOUT_FOLDER, f"a row in {table}, no folder"
            if name in there.loose:
                found = f"a row in {table}, but {folder} {what_lies_at(Path(root, folder))}"
        elif not counts[name]:
            problem = left_out.EMPTY_SERIES
            found = f"{folder} {what_lies_at(Path(root, folder))}"
        # One row says that a study is left out; its series would only repeat it.
        if problem and found and usable:
            rejected.add(problem, study, found, name)
        rows.append(
            {
                "study": study,
                "series": name,
                "split": part,
                "plane": plane,
                "weighting": weighting,
                "folder": folder,
                "file_count": counts.get(name, 0),
                "problem": problem,
            }
        )
    for name in sorted(counts.keys() - in_csv.keys()):
        if usable:
            found = f"{counts[name]} files in {images}, no row in {table}"
            rejected.add(left_out.SERIES_NOT_IN_CSV, study, found, name)
    if not usable:
        found = _why(root, part, study, len(in_csv), there)
        rejected.add(why_unusable(there), study, found)
    # A series whose folder is a file or a link to nothing has a row of its own.
    loose = [name for name in there.loose if name not in in_csv]
    if loose:
        named = ", ".join(map(plain_text, loose[:_MOST_NAMED]))
        more = " .." if len(loose) > _MOST_NAMED else ""
        files = "1 file" if len(loose) == 1 else f"{len(loose)} files"
        found = f"{files} beside the series folders of {images}/{study}: {named}{more}"
        rejected.add(left_out.FILES_WITHOUT_SERIES, study, found)
    return rows


def _why(root: str, part: str, study: str, described: int, there: StudyFolder) -> str:
    """What was found of a study without a file in any described series."""
    images, table = IMAGES[part], SERIES[part]
    if there.has_files:
        return (
            f"images in {len(there.series)} series of {images}/{study}, none described in {table}"
        )
    if not there.series:
        found = f"{described} rows in {table}, no series folder in {images}/{study}"
        here = what_lies_at(Path(root, images, study))
        return found if here == "is not there" else f"{found}: it {here}"
    reasons = {what_lies_at(Path(root, images, study, name)) for name in there.series}
    text = f"{images}/{study} holds {len(there.series)} series folders"
    if reasons == {"holds no file"}:
        return f"{text}, all empty"
    return f"{text}, none with a file: one {sorted(reasons)[0]}"
