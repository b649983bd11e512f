"""How many lines the parts of the project have, in one commit beside another.

    python benchmarks/count_lines.py --since 8e8dc5f --began 65a3074

Counted are all tracked files but those of convert, phantom and report and the documents: the
package's Python, and the rest (rules, stage scripts, schemas, recipes, tests). What came between
the commits ``--since`` and ``--began`` had other reasons and is taken off, as are the files that
``OTHER_REASONS`` names.
"""

from __future__ import annotations

import argparse
import subprocess
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LEFT_OUT = ("convert", "phantom", "report", "docs")
# Files that came for another reason than the house's shape, and that reason.
OTHER_REASONS: dict[str, str] = {}
PARTS = {
    "package": ("scripts/spinegrade/",),
    "rules": ("Snakefile", "rules/"),
    "stage scripts": ("scripts/",),
    "schemas": ("resources/schemas/",),
    "recipes": ("resources/systems/", "workflow_config.yaml"),
    "tests": ("tests/",),
}
TESTS_LEFT_OUT = ("odd_series", "field_series", "planted", "survey", "bombs", "scanner")


def part_of(path: str) -> str | None:
    """The part that a tracked file counts to, None for one that is not counted."""
    if not path.endswith((".py", ".smk", ".yaml", "Snakefile")) or path in OTHER_REASONS:
        return None
    if path.startswith("scripts/tools/"):
        return None
    if path.startswith("scripts/spinegrade/") and path.split("/")[2] in LEFT_OUT:
        return None
    name = path.rsplit("/", 1)[-1]
    if path.startswith("tests/") and any(word in name for word in LEFT_OUT + TESTS_LEFT_OUT):
        return None
    return next((part for part, starts in PARTS.items() if path.startswith(starts)), None)


def lines_of(commit: str | None) -> Counter[str]:
    """Lines by part in a commit, or in the working tree."""
    tree = ["ls-tree", "-r", "--name-only", commit] if commit else ["ls-files"]
    found: Counter[str] = Counter()
    for path in _git(*tree).splitlines():
        part = part_of(path)
        if part:
            text = _git("show", f"{commit}:{path}") if commit else (PROJECT / path).read_text()
            found[part] += len(text.splitlines())
    return found


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout


def main() -> None:
    """Print a table of the parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--since", default="8e8dc5f", help="the commit that is compared with")
    parser.add_argument("--began", default="65a3074", help="where the change of shape began")
    given = parser.parse_args()
    since, began, now = lines_of(given.since), lines_of(given.began), lines_of(None)
    row = "{:15} {:>8} {:>8} {:>8} {:>8}".format
    print(row("part", "since", "began", "now", "change"))
    for part in PARTS:
        print(row(part, since[part], began[part], now[part], now[part] - began[part]))
    rest = [part for part in PARTS if part != "package"]
    for name, parts in (("package", ["package"]), ("the rest", rest)):
        sums = [sum(count[part] for part in parts) for count in (since, began, now)]
        print(row(f"= {name}", *sums, sums[2] - sums[1]))


if __name__ == "__main__":
    main()
