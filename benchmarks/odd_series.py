"""What this room and other converters make of odd but valid series: writes docs/odd_series.md.

Usage:
    pip install -r benchmarks/requirements.txt    # the peers; torch as in requirements.txt first
    python benchmarks/odd_series.py [--only WORD ...] [--out docs/odd_series.md]

Each series of tests/room/odd_series_*.py is built in a temporary folder, three times: with every
voxel's place along the patient's x, y and z axis as its value. Every tool converts all three, and
the place of each voxel of its volumes is held against where the volume puts it. ``--only`` takes
the series whose name holds one of the words, and prints instead of writing. Some five minutes.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import platform
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from odd_series_tools import TOOLS, Tool, convert

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "room"))

import odd_series_cases as cases  # noqa: E402
from odd_series import OddSeries  # noqa: E402
from odd_series_judge import Verdict, judge  # noqa: E402

Verdicts = dict[str, dict[str, Verdict]]  # by series, then by tool

INTRODUCTION = """\
# What converters make of odd series

Written by `python benchmarks/odd_series.py` (with `benchmarks/requirements.txt` installed); a test
holds this room's column (`tests/room/test_odd_series.py`). Every series is valid, small and made
up; the builders are `tests/room/odd_series_*.py`. Every voxel holds where in the patient it lies
and which scan it belongs to, so that nothing is judged by eye.

- **right**: each scan whole in a volume of its own (cut where a slice is missing), every voxel in
  its place.
- **wrong**, without an error: *mixed*, slices of two scans in one volume; *lost*, slices that no
  volume holds, or that are blank; *cut*, one scan in several volumes; *values*, no voxel holds its
  value; a distance: how far the worst voxel lies from where its header puts it.
- **refused**: no volume, and the tool says so.

A volume is judged by its own affine. Warnings printed beside a volume are not weighed, since a
script does not read them; an exit status is listed. Beside *right* this room's column has the codes
of its notes ([refusals.md](refusals.md)).

Tools: {tools}; Python {python}.

Each is called on the folder as people call it: dcm2niix by its defaults (where it writes a
corrected volume beside the distorted one, the corrected one is judged); dicom2nifti by
`convert_directory`, and again with resampling and without validation, as it says for tilted
gantries; SimpleITK by `ImageSeriesReader`, a volume a series ID; MONAI by `LoadImage`, without the
package itk; TorchIO by `ScalarImage`.

Two of these surprises, and one of reading NIfTI, are told by scripts that anyone can run without
this project: `findings/dcm2niix_gantry_tilt.sh`, `findings/dicom2nifti_resampled_ends.sh`,
`findings/simpleitk_sheared_nifti.sh`.
"""


def run(series: OddSeries, tools: tuple[Tool, ...]) -> dict[str, Verdict]:
    """What each tool makes of one series."""
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / axis for axis in "xyz"]
        for number, folder in enumerate(folders):
            series.write(folder, number)
        return {
            tool.name: judge(series, [convert(tool, folder, series.plane) for folder in folders])
            for tool in tools
        }


def cell(verdict: Verdict, own: bool) -> str:
    """A table's cell; this room's codes stand in it."""
    return f"{verdict.short} ({verdict.words})" if own and verdict.words else verdict.short


def table(group: tuple[OddSeries, ...], verdicts: Verdicts, tools: tuple[Tool, ...]) -> list[str]:
    """The lines of one Markdown table."""
    heads = ["series", "what is odd", *(tool.name for tool in tools)]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for one in group:
        found = [cell(verdicts[one.name][tool.name], not tool.package) for tool in tools]
        lines.append(f"| {' | '.join([one.name, one.says, *found])} |")
    return lines


def details(group: tuple[OddSeries, ...], verdicts: Verdicts, tools: tuple[Tool, ...]) -> list[str]:
    """What was found of each series beside a plain right, tools that say the same together."""
    lines = []
    for one in group:
        told = [(tool.name, verdicts[one.name][tool.name].full) for tool in tools if tool.package]
        told = sorted((pair for pair in told if pair[1]), key=lambda pair: pair[1])
        parts = [
            f"{', '.join(name for name, _ in pairs)}: {text}"
            for text, pairs in groupby(told, key=lambda pair: pair[1])
        ]
        if parts:
            lines.append(f"- *{one.name}*. {'. '.join(sorted(parts))}.")
    return lines


def page(verdicts: Verdicts, tools: tuple[Tool, ...]) -> str:
    """The document."""
    versions = dict.fromkeys(f"{tool.package} {tool.version}" for tool in tools if tool.package)
    parts = [INTRODUCTION.format(tools=", ".join(versions), python=platform.python_version())]
    total = sum(len(group) for group in cases.GROUPS.values())
    counts = ["| | right | wrong | refused |", "|---|---|---|---|"]
    for tool in tools:
        kinds = [found[tool.name].kind for found in verdicts.values()]
        row = [str(kinds.count(kind)) for kind in ("right", "wrong", "refused")]
        counts.append(f"| {tool.name} | {' | '.join(row)} |")
    parts.append(f"## {total} series\n\n" + "\n".join(counts) + "\n")
    for title, group in cases.GROUPS.items():
        parts.append(f"## {title}\n\n" + "\n".join(table(group, verdicts, tools)) + "\n")
        parts.append("\n".join(details(group, verdicts, tools)) + "\n")
    return "\n".join(parts)


def main() -> None:
    """Build, convert, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "odd_series.md")
    given = parser.parse_args()
    verdicts: Verdicts = {}
    for series in cases.ALL:
        if not given.only or any(word in series.name for word in given.only):
            verdicts[series.name] = run(series, TOOLS)
            for name, verdict in verdicts[series.name].items():
                print(f"{series.name} | {name} | {verdict.short} | {verdict.full}", flush=True)
    if not given.only:
        given.out.write_text(page(verdicts, TOOLS))


if __name__ == "__main__":
    main()
