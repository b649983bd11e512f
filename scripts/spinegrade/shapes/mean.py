"""The mean shape of annotated point sets."""

from __future__ import annotations

from numpy.typing import ArrayLike

from spinegrade.geometry.procrustes import Points, generalised_procrustes


def mean_shape(points: ArrayLike) -> Points:
    """Mean of n point sets after generalised Procrustes alignment (similarity, no reflection).

    ``points`` (n, k, 2), px (x, y) of images of any sizes; row i is the same landmark in every
    set. Returns (k, 2) float64, centred on zero, with the mean scale (centroid size) and the
    mean orientation of its inputs. Sets count alike whatever their size, and their order does
    not matter.

    Raises SpinegradeError for another shape, a value that is not finite (leave incomplete sets
    out first) or a set whose points all coincide.
    """
    return generalised_procrustes(points)[0]
