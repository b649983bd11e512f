"""Sections on the run itself: training, what was left out, time, versions."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spinegrade.report import figures_quality
from spinegrade.report.captions import caption
from spinegrade.report.data import Options, RunData
from spinegrade.report.parts import Card, Cards, Figure, Note, Section, Table
from spinegrade.report.style import CONDITION_WORDS
from spinegrade.report.times import read_benchmarks
from spinegrade.report.versions import flat_settings, package_versions
from spinegrade.runtime.progress import format_seconds

FEW = 12  # rows of a list that is shown open


def training(data: RunData) -> Section:
    """Training curves of detectors and classifiers."""
    section = Section("training", "Training curves")
    histories = data.histories
    if not histories:
        text = "Nothing was trained: the models come from a finished run."
        section.blocks.append(Note(text, "missing"))
        return section
    last = [
        f"{name} {sum(len(table) for table in folds.values()) // len(folds)} epochs"
        for name, folds in histories.items()
    ]
    section.blocks.append(
        Figure(
            figures_quality.training(histories),
            f"Loss by epoch of {', '.join(last)}, {len(next(iter(histories.values())))} folds.",
            caption("training"),
        )
    )
    return section


def rejected(data: RunData) -> Section:
    """Inputs that were left out, and cells that the prior fills."""
    section = Section("rejected", "Inputs left out")
    table = data.rejected
    if table.empty:
        section.blocks.append(Note("Nothing was left out.", "missing"))
    else:
        counts = table.groupby("code")["study"].agg(["size", "nunique"])
        section.blocks.append(
            Table(
                ["Code", "Inputs", "Studies"],
                [[code, int(row["size"]), int(row["nunique"])] for code, row in counts.iterrows()],
                "What was left out, by reason.",
            )
        )
        rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
        heads = ["Study", "Series", "File", "Code", "What was found", "What to do"]
        text = f"Each input left out ({len(rows)}), what was found and what to do"
        section.blocks.append(Table(heads, rows, text, fold=len(rows) > FEW))
    problems = data.studies.loc[data.studies["problem"].notna(), ["study", "problem"]]
    if len(problems):
        rows = problems.to_numpy().tolist()
        section.blocks.append(Table(["Study", "Problem"], rows, "Studies that are not used."))
    section.blocks += _filled(data)
    return section


def _filled(data: RunData) -> list[Note | Table]:
    counts = data.filled.groupby(["classifier", "study", "condition"]).size()
    rows = [
        [classifier, study, CONDITION_WORDS[condition], int(count)]
        for (classifier, study, condition), count in counts.items()
    ]
    if not rows:
        return [Note("No cell had to be filled with the prior.", "missing")]
    return [
        Table(
            ["Classifier", "Study", "Condition", "Cells filled"],
            rows,
            "Cells without a prediction of their own (no series, no point): the prior fills them.",
            fold=len(rows) > FEW,
        )
    ]


def times(data: RunData, options: Options) -> Section:
    """Seconds and memory by rule, from whatever benchmark tables there are."""
    section = Section("times", "Run time")
    table = read_benchmarks(Path(data.paths.benchmarks), list(options.fingerprints))
    if table.empty:
        section.blocks.append(Note("There are no benchmark tables of this run.", "missing"))
        return section
    total = float(table["seconds"].sum())
    peak = table["memory_mb"].max()
    section.blocks += [
        Cards(
            [
                Card("All jobs together", format_seconds(total), f"{table['jobs'].sum()} jobs"),
                Card("Longest job", format_seconds(table["longest_s"].max()), _longest(table)),
                Card("Largest job", "–" if pd.isna(peak) else f"{peak:,.0f} MB", "resident memory"),
            ]
        ),
        Figure(
            figures_quality.run_time(table),
            f"Seconds by rule; {table['rule'].iloc[0]} takes most.",
            caption("times"),
        ),
        Table(
            ["Rule", "Jobs", "Seconds", "Longest job, s", "Peak memory, MB"],
            [
                [
                    row.rule,
                    int(row.jobs),
                    f"{row.seconds:.1f}",
                    f"{row.longest_s:.1f}",
                    None if pd.isna(row.memory_mb) else f"{row.memory_mb:,.0f}",
                ]
                for row in table.itertuples()
            ],
            "The numbers of the picture.",
            fold=True,
        ),
    ]
    return section


def _longest(table: pd.DataFrame) -> str:
    return str(table.loc[table["longest_s"].idxmax(), "rule"])


def versions(options: Options) -> Section:
    """Packages, fingerprints of the stages' code, and the configuration."""
    section = Section("versions", "Versions and configuration")
    packages = [[name, value] for name, value in package_versions()]
    codes = [[stage, code] for stage, code in options.fingerprints.items()]
    settings = [[key, value] for key, value in flat_settings(options.config)]
    section.blocks += [
        Table(["Package", "Version"], packages, "What ran, as this rule's environment has it."),
        Table(["Key", "Value"], settings, "The configuration of this run", fold=True),
        Table(["Stage", "Fingerprint"], codes, "Fingerprints of each stage's code", fold=True),
    ]
    return section
