"""Which studies a report shows: the best, the median and the worst of some measure."""

from __future__ import annotations

import numpy as np
import pandas as pd


def spread(values: pd.Series, count: int) -> list[tuple[str, str]]:
    """``count`` studies from best to worst of ``values`` (by study, low is good), named.

    Three are the best, the median and the worst; more are spread evenly between.
    """
    order = values.sort_values(kind="stable").index.tolist()
    if not order or count < 1:
        return []
    places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    named = []
    for place in places:
        word = f"rank {place + 1} of {len(order)}"
        if len(order) == 1:
            word = "the only one"
        elif place == 0:
            word = "best"
        elif place == len(order) - 1:
            word = "worst"
        elif 2 * place in (len(order) - 1, len(order), len(order) - 2):
            word = "median"
        named.append((word, str(order[place])))
    return named
