"""Places for the nodes of a directed graph without cycles: layers, order in them, coordinates.

The layered method (Sugiyama, Tagawa and Toda 1981): a node's layer is its longest way from a
source, long edges pass through invisible nodes, each layer is ordered by the middle of its
neighbours until crossings no longer fall, and nodes are then pulled towards their neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

Edge = tuple[int, int]
SWEEPS = 24


@dataclass(frozen=True)
class Layout:
    """``place``: (position in the layer, layer) of every node; ``ways``: those along each edge.

    Positions count node widths, layers from 0 at the sources.
    """

    place: dict[int, tuple[float, int]]
    ways: dict[Edge, list[tuple[float, int]]]


def without_shortcuts(edges: Iterable[Edge]) -> set[Edge]:
    """The edges without those that follow from others: a -> c where a -> b -> c."""
    after: dict[int, set[int]] = defaultdict(set)
    for a, b in edges:
        after[a].add(b)
    reached: dict[int, set[int]] = {}

    def reach(node: int) -> set[int]:
        if node not in reached:
            reached[node] = set().union(*(reach(n) | {n} for n in after.get(node, ())))
        return reached[node]

    kept = set()
    for a in list(after):
        indirect: set[int] = set().union(*(reach(b) for b in after[a]))
        kept |= {(a, b) for b in after[a] - indirect}
    return kept


def lay_out(nodes: Iterable[int], edges: Iterable[Edge]) -> Layout:
    """Places for ``nodes`` such that every edge leads to a later layer."""
    nodes, edges = sorted(nodes), sorted(edges)
    layer = _layers(nodes, edges)
    chains: dict[Edge, list[int]] = {}
    next_free = max(nodes, default=0) + 1
    for a, b in edges:
        between = list(range(next_free, next_free + layer[b] - layer[a] - 1))
        next_free += len(between)
        layer |= {node: layer[a] + 1 + step for step, node in enumerate(between)}
        chains[a, b] = [a, *between, b]
    links = [link for chain in chains.values() for link in pairwise(chain)]
    rows = _ordered(layer, links)
    position = _positions(rows, links)
    place = {node: (position[node], layer[node]) for node in layer}
    return Layout(
        {node: place[node] for node in nodes},
        {edge: [place[node] for node in chain] for edge, chain in chains.items()},
    )


def _layers(nodes: list[int], edges: list[Edge]) -> dict[int, int]:
    before: dict[int, list[int]] = defaultdict(list)
    after: dict[int, list[int]] = defaultdict(list)
    for a, b in edges:
        before[b].append(a)
        after[a].append(b)
    layer: dict[int, int] = {}

    def depth(node: int) -> int:
        if node not in layer:
            layer[node] = max((depth(n) + 1 for n in before[node]), default=0)
        return layer[node]

    for node in nodes:
        depth(node)
    # A source stands just before the first that needs it, not far from all others at the top.
    for node in nodes:
        if not before[node] and after[node]:
            layer[node] = min(layer[n] for n in after[node]) - 1
    return layer


def _neighbours(links: list[Edge]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    before: dict[int, list[int]] = defaultdict(list)
    after: dict[int, list[int]] = defaultdict(list)
    for a, b in links:
        before[b].append(a)
        after[a].append(b)
    return before, after


def _ordered(layer: dict[int, int], links: list[Edge]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for node in sorted(layer):
        rows[layer[node]].append(node)
    before, after = _neighbours(links)
    best, fewest = [list(row) for row in rows], _crossings(rows, after)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        side = before if down else after
        for row in rows[1:] if down else rows[-2::-1]:
            index = {n: i for other in rows for i, n in enumerate(other)}
            middle = {
                node: sum(index[n] for n in side[node]) / len(side[node])
                if side[node]
                else index[node]
                for node in row
            }
            row.sort(key=lambda node: middle[node])
        crossings = _crossings(rows, after)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _crossings(rows: list[list[int]], after: dict[int, list[int]]) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        index = {node: i for i, node in enumerate(lower)}
        ends = [sorted(index[n] for n in after[node]) for node in upper]
        flat: list[int] = []
        for part in ends:
            total += sum(1 for end in part for seen in flat if seen > end)
            flat += part
    return total


def _positions(rows: list[list[int]], links: list[Edge]) -> dict[int, float]:
    before, after = _neighbours(links)
    widest = max((len(row) for row in rows), default=0)
    position = {node: i + (widest - len(row)) / 2 for row in rows for i, node in enumerate(row)}
    # The last sweep goes down, so that a chain hangs straight below its first node.
    for sweep in range(SWEEPS + 1):
        down = sweep % 2 == 0
        side = before if down else after
        for row in rows if down else rows[::-1]:
            wanted = [
                median(position[n] for n in side[node]) if side[node] else position[node]
                for node in row
            ]
            for node, at in zip(row, _apart(wanted), strict=True):
                position[node] = at
    lowest = min(position.values(), default=0.0)
    return {node: at - lowest for node, at in position.items()}


def _apart(wanted: list[float]) -> list[float]:
    """The places nearest to ``wanted`` (least squares) that keep its order and lie 1 apart."""
    # Taking the index off each turns "1 apart" into "not falling": pool what falls.
    blocks: list[list[float]] = []
    for index, value in enumerate(wanted):
        blocks.append([value - index, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean_a, size_a), (mean_b, size_b) = blocks[-2:]
            size = size_a + size_b
            blocks[-2:] = [[(mean_a * size_a + mean_b * size_b) / size, size]]
    flat = [mean for mean, size in blocks for _ in range(int(size))]
    return [value + index for index, value in enumerate(flat)]
