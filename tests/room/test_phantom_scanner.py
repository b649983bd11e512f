"""Slices in patient space, contrast, and how well disease can be measured on the images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from spinegrade.phantom import tissues
from spinegrade.phantom.artefacts import draw_artefacts
from spinegrade.phantom.body import BodyMaps, body_grid, paint, spine_grid
from spinegrade.phantom.scanner import Scanner
from spinegrade.phantom.sequences import SAGITTAL_T1
from spinegrade.phantom.stacks import Series, Stack
from spinegrade.phantom.statistics import load_statistics
from spinegrade.phantom.study import (
    PhantomSettings,
    draw_patient,
    draw_series,
    find_landmark,
)
from spinegrade.phantom.tissues import Sequence, TissueState, signal_table, spin_echo
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_CELLS, SPINAL
from spinegrade.runtime.seeds import generator

LEFT, BACK, HEAD = np.eye(3)


def a_stack(step: np.ndarray = LEFT * 4.0) -> Stack:
    """Sagittal: first pixel at (-8, -50, 60), columns to the back, rows to the feet."""
    return Stack(np.array([-8.0, -50, 60]), BACK, -HEAD, step, 100, 120, 0.5, 3.5, 5)


def test_locate_on_a_straight_stack() -> None:
    assert a_stack().locate(np.array([0.0, -40, 50])) == pytest.approx((20, 20, 2))
    backwards = replace(a_stack(LEFT * -4.0), first_mm=np.array([8.0, -50, 60]))
    assert backwards.locate(np.array([0.0, -40, 50])) == pytest.approx((20, 20, 2))
    assert backwards.position(1) == pytest.approx([4.0, -50, 60])


def test_landmark_takes_the_nearest_slice_and_its_instance_number() -> None:
    sequence = Sequence("t1", 550, 10)
    near = Series(SAGITTAL_T1, sequence, (a_stack(),), (5, 4, 3, 2, 1))
    far = replace(near, stacks=(replace(a_stack(), first_mm=np.array([-9.5, -50, 60])),))
    found = find_landmark([("far", far), ("near", near)], SAGITTAL_T1, np.array([4.4, -40.0, 50]))
    assert found == ("near", 2, pytest.approx(20), pytest.approx(20))
    assert find_landmark([("near", near)], "Axial T2", np.zeros(3)) is None
    assert find_landmark([("near", near)], SAGITTAL_T1, np.array([30.0, -40, 50])) is None


def test_spin_echo_by_hand() -> None:
    one = np.ones(1)
    signal = spin_echo(one, 500 * one, 100 * one, Sequence("t1", 500.0, 100.0))
    assert signal[0] == pytest.approx((1 - np.exp(-1)) * np.exp(-1))
    null = spin_echo(one, 300 * one, 100 * one, Sequence("stir", 1e9, 1.0, 300 * np.log(2)))
    assert null[0] == pytest.approx(0.0, abs=1e-12)


def test_contrast_as_radiologists_know_it() -> None:
    state = TissueState(np.full(14, 0.5), np.linspace(0, 1, 14), 0.3)
    t1 = signal_table(Sequence("t1", 550, 11), state)
    t2 = signal_table(Sequence("t2", 3600, 100), state)
    stir = signal_table(Sequence("stir", 4500, 60, 198), state)
    assert t2[tissues.CSF] > t2[tissues.FAT] > t2[tissues.CORD] > t2[tissues.LIGAMENT]
    assert t1[tissues.FAT] > t1[tissues.MARROW + 2] > t1[tissues.CORD] > t1[tissues.CSF]
    assert stir[tissues.CSF] > 8 * stir[tissues.FAT]
    assert (np.diff(t2[tissues.NUCLEUS : tissues.NUCLEUS + 14]) > 0).all()


def _patch(stack: Stack, point: np.ndarray, size: int = 80) -> Stack:
    """One slice of ``stack``, cut to ``size`` pixels about a point."""
    x, y, index = stack.locate(point)
    nearest = int(np.clip(round(index), 0, stack.count - 1))
    corner = stack.position(nearest)
    corner = corner + (round(x) - size // 2) * stack.spacing_mm * stack.along_row
    corner = corner + (round(y) - size // 2) * stack.spacing_mm * stack.along_column
    return replace(stack, first_mm=corner, rows=size, cols=size, count=1)


def _bright_area(image: np.ndarray, spacing: float, radius: float, share: float) -> float:
    """mm^2 brighter than ``share`` of the brightest around, within ``radius`` of the middle."""
    middle = np.arange(len(image)) - len(image) // 2
    distance = spacing * np.hypot(*np.meshgrid(middle, middle))
    level = share * np.quantile(image[distance < 18], 0.985)
    return float((image[distance <= radius] > level).sum() * spacing**2)


def _auc(severe: list[float], normal: list[float]) -> float:
    low, high = np.array(severe)[:, None], np.array(normal)
    return float((low < high).mean() + 0.5 * (low == high).mean())


def test_hand_measurements_separate_severe_from_normal_as_radiologists_do() -> None:
    settings, statistics = PhantomSettings(), load_statistics()
    conditions = {SPINAL: "Axial T2", FORAMINAL: "Sagittal T1"}
    areas: dict[tuple[str, int], list[float]] = {}
    studies = 0
    for number in range(400):
        patient = draw_patient(settings, "train", number, statistics)
        if studies == 24:
            break
        cells = [cell.condition in conditions for cell in LUMBAR_CELLS]
        if not (patient.grades[cells] == 2).any():
            continue
        studies += 1
        maps = BodyMaps(
            paint(spine_grid(patient.anatomy, 0.85), patient.anatomy),
            paint(body_grid(patient.anatomy, 4.0), patient.anatomy),
        )
        scanner = Scanner(maps, patient.placement, patient.tissue_state)
        series = {
            one.description: one
            for one in draw_series(settings, "train", number, patient, statistics)
        }
        for condition, description in conditions.items():
            if description not in series:
                continue
            whole = series[description]
            cells = [i for i, c in enumerate(LUMBAR_CELLS) if c.condition == condition]
            stacks = []
            for cell in cells:
                point = patient.points_mm[cell]
                gaps = [_gap(stack, point) for stack in whole.stacks]
                stacks.append(_patch(whole.stacks[int(np.argmin(gaps))], point))
            rng = generator(7, number, description)
            slices = scanner.acquire(
                replace(whole, stacks=tuple(stacks)), draw_artefacts(rng, False), rng
            )
            for cell, stack, image in zip(cells, stacks, slices, strict=True):
                share = 0.6 if condition == SPINAL else 0.55
                area = _bright_area(image[0].astype(float), stack.spacing_mm, 9.0, share)
                areas.setdefault((condition, int(patient.grades[cell])), []).append(area)
    for condition in conditions:
        value = _auc(areas[(condition, 2)], areas[(condition, 0)])
        assert 0.80 <= value <= 0.95, (condition, value, len(areas[(condition, 2)]))


def _gap(stack: Stack, point: np.ndarray) -> float:
    """Distance in mm from a point to the nearest slice of a stack."""
    index = stack.locate(point)[2]
    nearest = np.clip(round(index), 0, stack.count - 1)
    return abs(index - nearest) * float(np.linalg.norm(stack.step_mm))
