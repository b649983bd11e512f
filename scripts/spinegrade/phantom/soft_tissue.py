"""Painters of everything around the spine: muscles, vessels, fat, kidneys, bowel, skin."""

from __future__ import annotations

import numpy as np

from spinegrade.phantom import tissues
from spinegrade.phantom.anatomy import COUNT, SIGNS, Anatomy
from spinegrade.phantom.bones import _paint_side
from spinegrade.phantom.canvas import Canvas, Window
from spinegrade.phantom.curve import FIRST_LUMBAR, LAST_LUMBAR, Floats

_MUSCLE = ("muscle", tissues.MUSCLE_TEXTURES)


def _ellipse(window: Window, behind: Floats | float, depth: Floats | float) -> Floats:
    """Height of a unit half ellipse across ``behind``; 0 outside."""
    place = (window.field.behind - behind) / np.maximum(depth, 0.01)
    return np.sqrt(np.clip(1 - place**2, 0, None))


def muscle_back(window: Window, anatomy: Anatomy) -> Floats:
    """Where the back muscles end (``behind``, mm): the fascia."""
    place = window.field.segment + window.field.fraction
    sacral = np.clip(place - LAST_LUMBAR, 0, 4)
    return (46.0 - 6.0 * sacral) * anatomy.size * (0.5 + 0.5 * anatomy.muscle_size)


def paint_background(canvas: Canvas, anatomy: Anatomy) -> None:
    """Torso: visceral fat in front, back muscles, subcutaneous fat and skin behind."""
    window = canvas.whole()
    field = window.field
    back = muscle_back(window, anatomy)
    size = anatomy.size
    everywhere = np.full(field.behind.shape, 150.0 * size, np.float32)
    skin = back + anatomy.skin_depth
    front = field.behind > -150 * size
    window.paint(
        tissues.VISCERAL_FAT,
        -everywhere,
        everywhere,
        front & (field.behind < 8),
        ("fat", tissues.VISCERAL_TEXTURES),
    )
    window.paint(
        tissues.SKIN, -everywhere, everywhere, (field.behind >= 8) & (field.behind < skin + 2)
    )
    # The skin comes nearer to the spine at the flanks: an ellipse across x.
    reach = (
        160 * size * np.sqrt(np.clip(1 - (np.clip(field.behind, 0, None) / (skin + 10)) ** 2, 0, 1))
    )
    window.paint(tissues.FAT, -reach, reach, (field.behind >= 4) & (field.behind < skin))
    span = np.clip(1 - (np.clip(field.behind - 8, 0, None) / (back - 8 + 4)) ** 3, 0, 1)
    half = (72 - 3 * np.clip(field.segment - LAST_LUMBAR, 0, 4)) * size * np.sqrt(span)
    half = half * np.clip(0.5 + (field.behind - 3) / 30, 0, 1)
    window.paint(
        tissues.FASCIA, -half - 1, half + 1, (field.behind > 3) & (field.behind < back + 1)
    )
    window.paint(tissues.MUSCLE, -half, half, (field.behind > 4) & (field.behind < back), _MUSCLE)
    # Fat clefts: the midline behind the spinous processes, between the muscle columns.
    groove = (field.behind > back - 9) & (field.behind < back + 2)
    depth = np.clip((field.behind - (back - 9)) / 9, 0, 1)
    window.paint(tissues.FAT, -7 * depth, 7 * depth, groove)
    cleft = np.abs(field.behind - 30 * size) < 13
    line = (25 + 0.45 * (field.behind - 20) + 2.5 * np.sin(field.behind / 4.5)) * size
    for sign in SIGNS:
        _paint_side(window, tissues.FAT, sign, line - 0.7, line + 0.7, cleft)


def paint_front(canvas: Canvas, anatomy: Anatomy) -> None:
    """Psoas, quadratus, vessels, kidneys and loops of bowel."""
    window = canvas.window(0, COUNT - 1, 30, 40, -150, 30)
    field = window.field
    place = field.segment + field.fraction
    size = anatomy.size
    middle = field.along(anatomy.wall) - 0.5 * field.along(anatomy.body_depth)
    width = field.along(anatomy.body_half_width)
    rise = np.clip((place - FIRST_LUMBAR + 0.6) / 4.0, 0, 1)
    build = anatomy.muscle_size * size
    for sign in SIGNS:
        across = (5 + 15 * rise) * build
        depth = (8 + 14 * rise) * build
        centre = width + 0.8 * across + 14 * np.clip(place - LAST_LUMBAR + 0.4, 0, 3)
        behind = middle + 5 - 12 * np.clip(place - LAST_LUMBAR + 0.6, 0, 3)
        half = across * _ellipse(window, behind, depth)
        where = (half > 0.5) & (rise > 0)
        _paint_side(window, tissues.MUSCLE, sign, centre - half, centre + half, where, _MUSCLE)
        across, behind = 17 * build, 2.0
        half = across * _ellipse(window, behind, 9 * build)
        where = (half > 0.5) & (place < LAST_LUMBAR - 0.2)
        _paint_side(
            window, tissues.MUSCLE, sign, 58 * size - half, 58 * size + half, where, _MUSCLE
        )
        height = (place - FIRST_LUMBAR - 0.1) / 1.7
        across = ((field.behind - middle - 4) / (24 * size)) ** 2
        half = 21 * size * np.sqrt(np.clip(1 - across - height**2, 0, None))
        centre = 70 * size
        _paint_side(window, tissues.KIDNEY, sign, centre - half, centre + half, half > 0.5)
        # Iliac wings beside L5 and the sacrum.
        wing = np.clip((place - LAST_LUMBAR + 0.7) / 1.5, 0, 1)
        inner = (66 - 13 * wing) * size
        low, high = -32 * size, 12 * size
        plate = (field.behind > low) & (field.behind < high) & (wing > 0) & (place < COUNT - 1.2)
        lean = 0.45 * (field.behind - low) * -1.0 + 14
        _paint_side(window, tissues.CORTEX, sign, inner + lean - 1, inner + lean + 14, plate)
        _paint_side(
            window,
            tissues.ARCH_MARROW,
            sign,
            inner + lean + 1,
            inner + lean + 12,
            plate,
            ("marrow", 4),
        )
    front = field.along(anatomy.wall) - field.along(anatomy.body_depth)
    split = np.clip((place - (FIRST_LUMBAR + 3)) / 2.0, 0, 1)
    shift = anatomy.vessel_shift
    for code, x_start, x_end, radius in (
        (tissues.ARTERY, 8.0, 26.0, 9.0),
        (tissues.ARTERY, 8.0, -14.0, 8.0),
        (tissues.VEIN, -15.0, -30.0, 11.0),
        (tissues.VEIN, -15.0, 18.0, 9.0),
    ):
        across = radius * (1 - 0.35 * split) * size
        centre = shift * (x_start + (x_end - x_start) * split) * size
        half = across * _ellipse(window, front - across - 2, across)
        window.paint(code, centre - half, centre + half, (half > 0.3) & (place < COUNT - 2))
    for number in range(9):
        # Loops of bowel, spread by the texture's offsets so that patients differ.
        turn = (anatomy.texture_shift[number % 3] * (number + 3)) % 97 / 97.0
        other = (anatomy.texture_shift[(number + 1) % 3] * (number + 5)) % 89 / 89.0
        level = 1.5 + 9.0 * turn
        radius = (12 + 14 * other) * size
        behind = -85 - 50 * ((turn * 7) % 1)
        across = ((field.behind - behind) / radius) ** 2
        inside = 1 - across - ((place - level) / (0.4 + 0.8 * turn)) ** 2
        half = radius * np.sqrt(np.clip(inside, 0, None))
        centre = (other - 0.5) * 170
        window.paint(tissues.BOWEL, centre - half, centre + half, half > 0.5)
