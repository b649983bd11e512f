"""Which rules hang on which, and which jobs a full run has: asked of Snakemake, drawn, written."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.dag_picture import draw_graph
from spinegrade.runtime.files import atomic_path, write_text

_LOGGER = logging.getLogger("spinegrade")
_NODE = re.compile(r'^\s*(\d+)\s*\[label = "(.*?)"')
_EDGE = re.compile(r"^\s*(\d+) -> (\d+)")
# A picture of more jobs is unreadable; it then shows their number by rule.
MOST_JOBS = 150


@dataclass(frozen=True)
class Graph:
    """Nodes by number with their labels (the first line is the rule), and edges (from, to)."""

    labels: dict[int, str]
    edges: frozenset[tuple[int, int]]


def draw_graphs(snakefile: Path, config: dict[str, Any], folder: Path) -> None:
    """Write rule_graph and job_graph to ``folder``, each as .mermaid, .svg and .png.

    Snakemake is asked for the jobs of everything with the same configuration, whatever is
    already done. Raises SpinegradeError with its words when it refuses.
    """
    jobs = read_dot(_ask(snakefile, config))
    rules = rules_of(jobs)
    shown = jobs if len(jobs.labels) <= MOST_JOBS else rules
    if shown is rules:
        _LOGGER.info("%d jobs: their graph shows them by rule", len(jobs.labels))
    for name, graph, sideways in (("rule_graph", rules, False), ("job_graph", shown, True)):
        write_text(folder / f"{name}.mermaid", mermaid(graph))
        for kind in ("svg", "png"):
            with atomic_path(folder / f"{name}.{kind}") as picture:
                draw_graph(graph.labels, graph.edges, picture, sideways=sideways)
        _LOGGER.info("%s drawn to %s", name, folder)


def read_dot(text: str) -> Graph:
    """The jobs and edges of what ``snakemake --dag dot`` prints; the target ``all`` is left out."""
    labels, edges = {}, set()
    for line in text.splitlines():
        if node := _NODE.match(line):
            labels[int(node[1])] = node[2].replace("\\n", "\n")
        elif edge := _EDGE.match(line):
            edges.add((int(edge[1]), int(edge[2])))
    if not labels:
        raise SpinegradeError(
            f"snakemake --dag printed no graph: {text.strip()[:500]}", code="GRAPH_MISSING"
        )
    kept = {number: label for number, label in labels.items() if label != "all"}
    return Graph(kept, frozenset(edge for edge in edges if kept.keys() >= set(edge)))


def rules_of(jobs: Graph) -> Graph:
    """A node a rule, with the number of its jobs where it has several."""
    rule = {number: label.split("\n")[0] for number, label in jobs.labels.items()}
    counts = Counter(rule.values())
    numbers = {name: number for number, name in enumerate(dict.fromkeys(rule.values()))}
    labels = {
        number: name if counts[name] == 1 else f"{name}\n× {counts[name]} jobs"
        for name, number in numbers.items()
    }
    pairs = {(numbers[rule[a]], numbers[rule[b]]) for a, b in jobs.edges}
    return Graph(labels, frozenset((a, b) for a, b in pairs if a != b))


def mermaid(graph: Graph) -> str:
    """The graph as mermaid text, which many editors and forges show as a picture."""
    lines = ["flowchart TB"]
    for number, label in sorted(graph.labels.items()):
        lines.append(f'    id{number}["{label}"]'.replace("\n", "<br>"))
    lines += [f"    id{a} --> id{b}" for a, b in sorted(graph.edges)]
    return "\n".join(lines) + "\n"


def _ask(snakefile: Path, config: dict[str, Any]) -> str:
    """What ``snakemake --dag dot`` prints for the whole workflow under ``config``."""
    # The outer run's settings must not steer the inner one.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE_")}
    with tempfile.TemporaryDirectory() as temporary:
        config_file = Path(temporary) / "config.yaml"
        config_file.write_text(yaml.safe_dump(json.loads(json.dumps(config))), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile)]
        command += ["--configfile", str(config_file), "--forceall", "--nolock", "--dag", "dot"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        words = done.stderr.strip()[-2000:]
        raise SpinegradeError(
            f"snakemake could not give the graph of the workflow: {words}", code="GRAPH_MISSING"
        )
    return done.stdout
