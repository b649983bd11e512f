"""The graphs of the workflow: read, brought to rules, laid out without a clash, drawn."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from refusals import refused
from spinegrade.runtime import dag
from spinegrade.runtime.dag import Graph, draw_graphs, mermaid, read_dot, rules_of
from spinegrade.runtime.dag_layout import lay_out, without_shortcuts
from spinegrade.runtime.dag_picture import draw_graph

DOT = """digraph snakemake_dag {
    node[shape=box, style=rounded];
\t0[label = "all", color = "0.1 0.6 0.85", style="rounded"];
\t1[label = "report", color = "0.1 0.6 0.85", style="rounded"];
\t2[label = "train\\nfold: 0", color = "0.1 0.6 0.85", style="rounded"];
\t3[label = "train\\nfold: 1", color = "0.1 0.6 0.85", style="rounded"];
\t4[label = "convert", color = "0.1 0.6 0.85", style="rounded,dashed"];
\t1 -> 0
\t2 -> 1
\t3 -> 1
\t4 -> 2
\t4 -> 3
\t4 -> 1
}
"""


def test_jobs_become_rules_with_their_numbers() -> None:
    jobs = read_dot(DOT)
    assert jobs.labels[2] == "train\nfold: 0" and 0 not in jobs.labels
    assert len(jobs.edges) == 5
    rules = rules_of(jobs)
    names = {label.split("\n")[0]: number for number, label in rules.labels.items()}
    assert rules.labels[names["train"]] == "train\n× 2 jobs"
    assert rules.edges == {
        (names["convert"], names["train"]),
        (names["train"], names["report"]),
        (names["convert"], names["report"]),
    }
    assert 'id2["train<br>fold: 0"]' in mermaid(jobs) and "id4 --> id2" in mermaid(jobs)


def test_words_that_are_no_graph_are_refused() -> None:
    with refused("GRAPH_MISSING", "Building"):
        read_dot("Building DAG of jobs...")


def test_only_edges_that_follow_from_others_go() -> None:
    assert without_shortcuts({(1, 2), (2, 3), (3, 4), (1, 3), (1, 4), (1, 5)}) == {
        (1, 2),
        (2, 3),
        (3, 4),
        (1, 5),
    }


def crossings(ways: list[list[tuple[float, int]]]) -> int:
    """Pairs of links between the same two layers whose ends change sides."""
    links = [pair for way in ways for pair in pairwise(way)]
    return sum(
        a[0][1] == b[0][1] and (a[0][0] - b[0][0]) * (a[1][0] - b[1][0]) < 0
        for n, a in enumerate(links)
        for b in links[:n]
    )


def test_edges_lead_down_and_nothing_overlaps_or_crosses_needlessly() -> None:
    # Two chains side by side, numbered so that an order by number would cross them, and an
    # edge over four layers that has to pass beside the nodes between.
    edges = {(1, 4), (2, 3), (4, 5), (3, 6), (5, 7), (6, 8), (7, 9), (8, 9), (1, 9), (10, 8)}
    layout = lay_out(range(1, 11), edges)
    for a, b in edges:
        assert layout.place[a][1] < layout.place[b][1]
    taken = set(layout.place.values()) | {p for way in layout.ways.values() for p in way[1:-1]}
    for x, layer in taken:
        assert all(abs(x - other) > 1 - 1e-9 for other, at in taken if at == layer and other != x)
    assert len(taken) == 10 + 3  # the long edge stands aside in three layers
    assert crossings(list(layout.ways.values())) == 0
    assert layout.place[10][1] == layout.place[8][1] - 1  # a source stands where it is needed


def test_a_chain_hangs_straight() -> None:
    layout = lay_out(range(1, 8), {(1, 2), (1, 3), (2, 4), (4, 5), (5, 6), (6, 7), (3, 7)})
    assert len({layout.place[node][0] for node in (2, 4, 5, 6)}) == 1


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    rules = rules_of(read_dot(DOT))
    for name in ("a.svg", "b.svg", "a.png"):
        draw_graph(rules.labels, rules.edges, tmp_path / name, sideways=name == "a.png")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_many_jobs_are_shown_by_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f'\t{n}[label = "train\\nfold: {n}", color = "0"];' for n in range(1, 201)]
    text = "\n".join(['\t0[label = "report", color = "0"];', *lines])
    text += "\n" + "\n".join(f"\t{n} -> 0" for n in range(1, 201))
    monkeypatch.setattr(dag, "_ask", lambda snakefile, config: text)
    draw_graphs(tmp_path / "Snakefile", {}, tmp_path)
    assert "× 200 jobs" in (tmp_path / "job_graph.mermaid").read_text()
    names = {f"{graph}.{kind}" for graph in ("rule_graph", "job_graph") for kind in
             ("mermaid", "svg", "png")}  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_graph_of_one_node_is_drawn(tmp_path: Path) -> None:
    graph = Graph({5: "make_phantom"}, frozenset())
    draw_graph(graph.labels, graph.edges, tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 500
