"""Points brought onto a shape."""

from __future__ import annotations

from numpy.typing import ArrayLike

from spinegrade.geometry.procrustes import Points, Similarity, similarity_to


def align_to_shape(points: ArrayLike, shape: ArrayLike) -> tuple[Points, Similarity]:
    """Bring one point set onto a shape by translation, turn and scale, least squares.

    ``points`` (k, 2) in any unit and ``shape`` (k, 2), such as ``mean_shape`` returns, the
    same landmark in the same row. Returns the aligned points (k, 2) in the unit of ``shape``
    and the transform: ``transform.apply(points)`` are the aligned points, and
    ``transform.inverse().apply(shape)`` is the shape laid over the points. Never a reflection.

    Raises SpinegradeError for sets of different length, values not finite, or no extent.
    """
    transform = similarity_to(points, shape)
    return transform.apply(points), transform
