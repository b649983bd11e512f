"""Similarity alignment of labelled point sets: ordinary and generalised Procrustes.

Method: J. C. Gower, "Generalized Procrustes analysis", Psychometrika 40 (1975), with the
closed form of the planar similarity (a complex number: scale times turn), which can never
be a reflection.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinegrade.errors import SpinegradeError

Points = NDArray[np.float64]


class Similarity(NamedTuple):
    """A planar similarity ``p -> scale * rotation @ p + shift``, without reflection.

    ``scale`` is a positive number, ``rotation`` (2, 2) with determinant +1, ``shift`` (2,) in
    the unit of the points that it leads to.
    """

    scale: float
    rotation: Points
    shift: Points

    def apply(self, points: ArrayLike) -> Points:
        """Map (..., 2) points."""
        return self.scale * np.asarray(points, float) @ self.rotation.T + self.shift

    def inverse(self) -> Similarity:
        """The similarity that undoes this one."""
        back = self.rotation.T / self.scale
        return Similarity(1 / self.scale, self.rotation.T, -back @ self.shift)

    @property
    def angle_deg(self) -> float:
        """Turn from the first axis towards the second, in (-180, 180]."""
        return float(np.degrees(np.arctan2(self.rotation[1, 0], self.rotation[0, 0])))


def check_points(points: ArrayLike, axes: int) -> Points:
    """``points`` as a finite float array of ``axes`` axes, the last two being (k, 2).

    Raises SpinegradeError for another shape, fewer than two points, a value that is not
    finite, or a set whose points all coincide (it has neither scale nor direction).
    """
    array = np.asarray(points, float)
    if array.ndim != axes or array.shape[-1] != 2 or array.shape[-2] < 2 or not array.size:
        expected = "(n, k, 2)" if axes == 3 else "(k, 2)"
        raise SpinegradeError(
            f"points have shape {array.shape}; expected {expected} with n >= 1 and k >= 2",
            code="SHAPE_DIMENSIONS",
        )
    finite = np.isfinite(array).all(axis=(-2, -1))
    size = np.ptp(array, axis=-2).max(axis=-1)
    for what, bad in (("a value that is not finite", ~finite), ("no extent", size == 0)):
        if np.any(bad):
            which = f"set {int(np.argmax(bad))} of points" if axes == 3 else "the set of points"
            raise SpinegradeError(
                f"{which} has {what}; leave incomplete sets out", code="SHAPE_POINTS"
            )
    return array


def _centred_complex(points: Points) -> NDArray[np.complex128]:
    """(n, k, 2) points as (n, k) complex numbers about each set's centroid."""
    flat = points[..., 0] + 1j * points[..., 1]
    return flat - flat.mean(axis=-1, keepdims=True)


def _as_points(flat: NDArray[np.complex128]) -> Points:
    return np.stack([flat.real, flat.imag], axis=-1)


def centroid_size(points: ArrayLike) -> NDArray[np.float64]:
    """Root of the summed squared distances from the centroid: (..., k, 2) -> (...,)."""
    points = np.asarray(points, float)
    centred = points - points.mean(axis=-2, keepdims=True)
    return np.sqrt((centred**2).sum(axis=(-2, -1)))


def similarity_to(points: ArrayLike, shape: ArrayLike) -> Similarity:
    """The similarity that brings ``points`` (k, 2) nearest to ``shape`` (k, 2), least squares.

    Translation, scale and rotation; never a reflection. Both in any unit; the result leads to
    the unit of ``shape``. Raises SpinegradeError for sets that differ in size, are not finite
    or have no extent.
    """
    source, target = check_points(points, 2), check_points(shape, 2)
    if source.shape != target.shape:
        raise SpinegradeError(
            f"cannot align {source.shape[0]} points to a shape of {target.shape[0]} points",
            code="SHAPE_DIMENSIONS",
        )
    moving, fixed = _centred_complex(source), _centred_complex(target)
    factor = np.vdot(moving, fixed) / np.vdot(moving, moving).real
    scale = abs(factor)
    if scale < 1e-12:
        raise SpinegradeError(
            "the points have nothing in common with the shape; no best turn", code="SHAPE_UNRELATED"
        )
    cosine, sine = factor.real / scale, factor.imag / scale
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    shift = target.mean(axis=0) - scale * rotation @ source.mean(axis=0)
    return Similarity(float(scale), rotation, shift)


def generalised_procrustes(
    points: ArrayLike, tolerance: float = 1e-10, rounds: int = 200
) -> tuple[Points, Points]:
    """Mean shape of n point sets after similarity alignment, and the aligned sets.

    ``points`` (n, k, 2) in any unit, row i being the same landmark in every set. Returns
    ``mean`` (k, 2), centred on zero, with the mean centroid size of the inputs and the mean
    of their orientations, and ``aligned`` (n, k, 2), each set brought onto that mean. Sets
    count alike whatever their size. The result does not depend on the order of the sets.
    Raises SpinegradeError for a wrong shape, values not finite, or a set without extent.
    """
    array = check_points(points, 3)
    flat = _centred_complex(array)
    sizes = np.sqrt((np.abs(flat) ** 2).sum(axis=1))
    unit = flat / sizes[:, None]
    mean = unit.mean(axis=0)
    norm = np.linalg.norm(mean)
    if norm < 1e-6:  # inputs in opposite directions cancel; any one of them will start
        mean, norm = unit[0], 1.0
    mean = mean / norm
    for _ in range(rounds):
        turns = unit.conj() @ mean
        turned = unit * (turns / np.maximum(np.abs(turns), 1e-300))[:, None]
        new = turned.mean(axis=0)
        new /= np.linalg.norm(new)
        moved = np.abs(new - mean).max()
        mean = new
        if moved < tolerance:
            break
    # The iteration leaves the turn open: take the inputs' mean orientation.
    turns = unit.conj() @ mean
    total = (turns / np.maximum(np.abs(turns), 1e-300)).sum()
    if abs(total) > 1e-6:
        mean = mean * total.conjugate() / abs(total)
    mean = mean * sizes.mean()
    factors = (flat.conj() @ mean) / sizes**2  # least squares, a set at a time
    aligned = flat * factors[:, None]
    return _as_points(mean), _as_points(aligned)
