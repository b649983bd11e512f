"""Sections on the run itself: training, what was left out, time, versions."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pandas as pd

from spinegrade.report import figures_quality
from spinegrade.report.captions import caption
from spinegrade.report.data import Options, RunData
from spinegrade.report.parts import Card, Cards, Figure, Note, Section, Table
from spinegrade.report.style import CONDITION_WORDS
from spinegrade.report.times import read_benchmarks
from spinegrade.report.versions import flat_settings
from spinegrade.runtime.files import read_json
from spinegrade.runtime.progress import format_seconds
from spinegrade.runtime.versions import package_versions

FEW = 12  # rows of a list that is shown open
MOST_ROWS = 500


def training(data: RunData) -> Section:
    """Training curves of all learners."""
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
    alone = data.filled["source"] == "prior"
    groups = data.filled.assign(alone=alone).groupby(["study", "condition", "lacking"])["alone"]
    rows = [
        [study, CONDITION_WORDS[condition], lacking.replace(",", ", ") or None, len(part),
         int(part.sum())]
        for (study, condition, lacking), part in groups
    ]  # fmt: skip
    if not rows:
        return [Note("No cell had to be filled with the prior.", "missing")]
    rest = f"; the first {MOST_ROWS} of {len(rows):,} rows" if len(rows) > MOST_ROWS else ""
    return [
        Table(
            ["Study", "Condition", "Members that lack them", "Cells", "Of the prior alone"],
            rows[:MOST_ROWS],
            "Cells in which the prior stands in for members without a prediction (no series, no "
            "point), or for all: where no member serves the condition, or none that does has a "
            f"weight. filled.csv names each{rest}.",
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


def how_it_ran(data: RunData) -> list[Section]:
    """The graphs of rules and jobs and the run's record, where they are given."""
    sections = []
    if data.paths.graphs:
        sections.append(graphs(Path(data.paths.graphs)))
    if data.paths.run_record and Path(data.paths.run_record).exists():
        sections.append(record(Path(data.paths.run_record)))
    return sections


def graphs(folder: Path) -> Section:
    """Which rules hang on which, and which jobs, as the pictures that draw_dag makes."""
    section = Section("graph", "From images to findings")
    texts = {
        "rule_graph": "The rules of this run and what each waits for, from top to bottom; with the "
        "number of jobs where a rule runs several. An arrow that follows from others is left out.",
        "job_graph": "The single jobs, from left to right; of more than 150, each rule once with "
        "its number of jobs. snakemake draw_dag writes both pictures, also as PNG.",
    }
    for name, text in texts.items():
        image = (folder / f"{name}.svg").read_bytes()
        source = "data:image/svg+xml;base64," + b64encode(image).decode("ascii")
        words = name.replace("_", " ")
        section.blocks.append(Figure(source, f"The {words}.", text, wide=name == "job_graph"))
    return section


def record(run_record: Path) -> Section:
    """How this run was called, with what and where, and how to repeat it; from its record."""
    section = Section("record", "How to repeat this run")
    known = read_json(run_record)
    git, machine = known["git"], known["machine"]
    commit = "not under version control"
    if git is not None:
        commit = git["commit"] + (", with files that differ from it" if git["modified"] else "")
    rows = [
        ["Command", known["command"]],
        ["Begun", known["began"]],
        ["Commit", commit],
        ["Seed", str(known["seed"])],
        ["Executor", known["executor"]],
        ["Processor", f"{machine['cpu']}, {machine['cores']} cores"],
        ["Memory", f"{machine['memory_gb']:.0f} GB"],
        ["GPUs", "; ".join(machine["gpus"]) or "none"],
    ]
    planned = [[rule, jobs] for rule, jobs in known["planned"].items()]
    results, run = run_record.parents[1], run_record.stem
    section.blocks += [
        Table(["What", "Value"], rows, "The run that wrote this report, where it was started."),
        Table(["Rule", "Jobs"], planned, "What this run had to do", fold=True),
        Note(
            f"{run_record} holds this and, once the run has ended, digests of data and "
            "results, time and memory by rule, and failures. To repeat the run with that commit "
            f"and the versions below: python scripts/tools/status.py {results} --config {run} > "
            "again.yaml, then snakemake --configfile again.yaml."
        ),
    ]
    return section


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
