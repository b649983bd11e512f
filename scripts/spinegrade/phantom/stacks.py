"""Slices in patient space: stacks, series, and where a patient lies in the scanner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinegrade.phantom.tissues import Sequence

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Parallel, evenly spaced slices in patient space (LPS mm), in order of acquisition.

    ``first_mm``: centre of the first slice's first pixel; ``along_row``: unit vector in which
    columns grow; ``along_column``: rows; ``step_mm``: from slice to slice.
    """

    first_mm: Vector
    along_row: Vector
    along_column: Vector
    step_mm: Vector
    rows: int
    cols: int
    spacing_mm: float
    thickness_mm: float
    count: int

    @property
    def normal(self) -> Vector:
        """Unit vector across the slices, in the direction of ``step_mm``."""
        return self.step_mm / np.linalg.norm(self.step_mm)

    def position(self, index: int) -> Vector:
        """ImagePositionPatient of one slice."""
        return self.first_mm + index * self.step_mm

    def locate(self, point_mm: Vector) -> tuple[float, float, float]:
        """(x_px, y_px, fractional index) of a patient point."""
        offset = np.asarray(point_mm) - self.first_mm
        normal = np.cross(self.along_row, self.along_column)
        index = float(offset @ normal / (self.step_mm @ normal))
        offset = offset - index * self.step_mm
        return (
            float(offset @ self.along_row / self.spacing_mm),
            float(offset @ self.along_column / self.spacing_mm),
            index,
        )


@dataclass(frozen=True)
class Series:
    """One series: its stacks in order, its sequence, and its instance numbers."""

    description: str
    sequence: Sequence
    stacks: tuple[Stack, ...]
    instance_numbers: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of slices over all stacks."""
        return sum(stack.count for stack in self.stacks)


@dataclass(frozen=True)
class Placement:
    """Rigid place of the body frame in the scanner: patient = rotation @ body + shift."""

    rotation: NDArray[np.float64]
    shift: Vector

    def to_patient(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Body-frame points (n, 3) to LPS mm."""
        return np.asarray(points) @ self.rotation.T + self.shift


def rotation_matrix(x: float, y: float, z: float) -> NDArray[np.float64]:
    """Rotation by small angles in degrees about x, then y, then z."""
    angles = np.radians([x, y, z])
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def draw_placement(rng: np.random.Generator, wide: bool) -> Placement:
    """A patient lies slightly turned and never at the scanner's origin."""
    spread = 2.2 if wide else 1.0
    rotation = rotation_matrix(*(spread * rng.normal(0, [2.0, 1.8, 2.2])))
    shift = np.array([rng.normal(0, 9), rng.normal(15, 30), rng.uniform(-620, 420)])
    return Placement(rotation, shift)
