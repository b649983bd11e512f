"""One ensemble against others on the same cells: is the whole better than each of its parts?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spinegrade.metrics.bootstrap import compare
from spinegrade.metrics.cells import match
from spinegrade.metrics.rsna2024 import score_cells
from spinegrade.names import CONDITIONS
from spinegrade.runtime.files import write_json
from spinegrade.tables.files import read_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.probabilities import PROBABILITIES


def compare_blends(
    *,
    whole_path: str,
    part_paths: Mapping[str, str],
    labels_path: str,
    comparison_path: str,
    resamples: int,
    seed: int,
) -> None:
    """Write how the ensemble of ``whole_path`` does against each of ``part_paths``.

    The files are ensembles' probabilities.parquet, out of fold and cross-fitted. The comparison
    holds "whole", the score and its parts, and by part "score" and "whole_minus_part", "value"
    with the 95 % interval "low" to "high" of the paired bootstrap over studies: below zero the
    whole is better. Where the labels do not cover all conditions "scored" is false and
    "reason" says why.

    Raises SpinegradeError for a labelled cell that one of them does not predict.
    """
    labels = read_table(labels_path, LABELS)
    graded = set(labels.loc[labels["grade"].notna(), "condition"])
    absent = [condition for condition in CONDITIONS if condition not in graded]
    if absent:
        reason = f"no labelled cell of {', '.join(absent)}"
        write_json(comparison_path, {"scored": False, "reason": reason})
        return
    names = list(part_paths)
    paths = [whole_path, *part_paths.values()]
    cells, (whole, *parts) = match(labels, *(read_table(path, PROBABILITIES) for path in paths))
    found: dict[str, Any] = {
        "scored": True,
        "studies": len(cells.studies),
        "bootstrap_resamples": resamples,
        "whole": score_cells(cells, whole).as_dict(),
        "parts": {},
    }
    for name, part in zip(names, parts, strict=True):
        difference = compare(cells, whole, part, resamples, seed).difference
        found["parts"][name] = {
            "score": score_cells(cells, part).as_dict(),
            "whole_minus_part": difference.as_dict(),
        }
    write_json(comparison_path, found)
