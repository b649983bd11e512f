"""Painters of the canal, the recesses and the foramina: where disease shows.

Each of the 25 narrowings acts inside its own envelope. At narrowing 0 the envelope is filled
by the healthy content; as it grows, the content shrinks and the bulging disc, thick
ligamentum flavum or bony spur takes its place.
"""

from __future__ import annotations

import numpy as np

from spinegrade.phantom import tissues
from spinegrade.phantom.anatomy import COUNT, SIGNS, Anatomy
from spinegrade.phantom.bones import _paint_side
from spinegrade.phantom.canvas import Canvas, Window
from spinegrade.phantom.curve import FIRST_LUMBAR, LAST_LUMBAR, Floats
from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL, SUBARTICULAR

CANAL_REACH_MM = 9.0
"""Half the length of canal over which a central narrowing acts."""
RECESS_REACH_MM = 6.5
CANAL_SHRINK = (0.25, 0.42)
"""Share of the sac's half width and half depth lost at narrowing 1."""
FORAMEN_SHRINK = (0.66, 0.70)
"""Share of the foramen's fat height and width lost at narrowing 1."""
RECESS_SHRINK = (0.45, 0.72)
"""Share of the recess's width and depth lost at narrowing 1."""
RECESS_HALF_MM = (3.3, 3.6)
"""Half width and half depth of a healthy recess in a spine of average size."""


def _waning(distance: Floats, reach: float) -> Floats:
    """1 at the level, falling smoothly to 0 at ``reach`` mm."""
    place = np.clip(np.abs(distance) / reach, 0, 1)
    return (1 - place**2) ** 2 * (1 + 2 * place**2)


def paint_canal(canvas: Canvas, anatomy: Anatomy) -> None:
    """Epidural fat, ligamentum flavum, the sac with CSF, cord and roots, with central disease."""
    window = canvas.window(0, COUNT - 1, 6, 6, -16, 18)
    field = window.field
    half_depth = field.along(anatomy.canal_half_depth)
    width = field.along(anatomy.canal_half_width)
    place = np.abs(field.behind) / half_depth
    bony = width * np.clip(1 - place**3, 0, None) ** (1 / 3)
    window.paint(tissues.EPIDURAL_FAT, -bony, bony, place < 1)
    front = (field.behind > -half_depth - 1.2) & (field.behind < -half_depth + 0.4)
    window.paint(tissues.LIGAMENT, -0.5 * width, 0.5 * width, front)
    # Behind the sac: a wedge of fat up to the laminae, and the flavum that lines them.
    apex = half_depth + 4.5
    wedge = (apex - field.behind) * width / (apex + 1.0)
    behind = (field.behind > 0.6 * half_depth) & (field.behind < apex)
    window.paint(tissues.EPIDURAL_FAT, -wedge + 0.8, wedge - 0.8, behind)
    for station in range(2, LAST_LUMBAR + 1):
        level = canvas.window(station, station, 10, 10, -1, 16)
        _paint_flavum(level, anatomy, station)
    _paint_sac(window, anatomy)


def _paint_flavum(window: Window, anatomy: Anatomy, station: int) -> None:
    if window.empty:
        return
    field = window.field
    half_depth = anatomy.canal_half_depth[station]
    apex = half_depth + 4.5
    slope = anatomy.canal_half_width[station] / (apex + 1.0)
    outer = (apex - field.behind) * slope + 0.6
    where = (np.abs(field.distance[station]) < 8.5) & (field.behind > 0.8) & (outer > 0)
    for sign in SIGNS:
        _paint_side(window, tissues.LIGAMENT, sign, np.maximum(outer - 2.6, 0), outer, where)


def sac_scale(distance: Floats, anatomy: Anatomy) -> tuple[Floats, Floats]:
    """Factors on the sac's half width and half depth at columns, from the five narrowings.

    ``distance`` (14, ...): mm below each station.
    """
    narrowing = anatomy.grade_input(SPINAL, None)
    wide = np.ones(distance.shape[1:], np.float32)
    deep = np.ones(distance.shape[1:], np.float32)
    for station in range(FIRST_LUMBAR, LAST_LUMBAR + 1):
        if narrowing[station] > 0:
            share = narrowing[station] * _waning(distance[station], CANAL_REACH_MM)
            wide *= 1 - CANAL_SHRINK[0] * share
            deep *= 1 - CANAL_SHRINK[1] * share
    return wide, deep


def _paint_sac(window: Window, anatomy: Anatomy) -> None:
    field = window.field
    place = field.segment + field.fraction
    taper = np.clip((LAST_LUMBAR + 2.4 - place) / 1.6, 0, 1) ** 0.5
    half_width = field.along(anatomy.sac_half_width) * taper
    half_depth = np.maximum(field.along(anatomy.sac_half_depth) * taper, 0.05)
    wide, deep = sac_scale(field.distance, anatomy)
    for scale_wide, scale_deep, grow, label in (
        (1.0, 1.0, 0.6, tissues.LIGAMENT),
        (1.0, 1.0, 0.0, tissues.BULGE),
        (wide, deep, 0.0, tissues.CSF),
    ):
        depth = half_depth * scale_deep + grow
        inside = 1 - (field.behind / depth) ** 2
        half = (half_width * scale_wide + grow) * np.sqrt(np.clip(inside, 0, None))
        window.paint(label, -half, half, (inside > 0) & (taper > 0.05))
    depth, width = half_depth * deep, half_width * wide
    cord = 4.3 * np.clip((anatomy.conus - place) * 1.1 + 0.25, 0, 1) ** 0.6
    behind = 0.12 * half_depth
    inside = 1 - ((field.behind - behind) / np.maximum(0.8 * cord, 0.01)) ** 2
    half = cord * np.sqrt(np.clip(inside, 0, None))
    window.paint(tissues.CORD, -half, half, (inside > 0) & (cord > 0.3))
    inside = 1 - (field.behind / depth) ** 2
    sac = width * np.sqrt(np.clip(inside, 0, None))
    below = (place > anatomy.conus - 0.2) & (place < LAST_LUMBAR + 1.8)
    spread = np.clip((LAST_LUMBAR + 2.2 - place) / 4.0, 0.3, 1.0)
    for number, (across, back) in enumerate(anatomy.roots):
        # Roots leave one pair a level; those that remain keep their size as the sac narrows.
        leaves = FIRST_LUMBAR + 1.5 + 0.45 * (number % 7)
        middle = 0.86 * depth * (back * (0.6 + 0.4 * spread))
        lateral = 0.9 * width * across
        inside = 0.68**2 - (field.behind - middle) ** 2
        half = np.sqrt(np.clip(inside, 0, None))
        low, high = np.maximum(lateral - half, -sac), np.minimum(lateral + half, sac)
        here = (inside > 0) & below & (place < leaves + 2)
        window.paint(tissues.ROOT, low, high, here)


def paint_recesses(canvas: Canvas, anatomy: Anatomy) -> None:
    """Left and right lateral recess at each lumbar disc: fat, the traversing root, disease."""
    for side, sign in enumerate(SIGNS):
        narrowing = anatomy.grade_input(SUBARTICULAR, side)
        for station in range(FIRST_LUMBAR, LAST_LUMBAR + 1):
            window = canvas.window(station, station, RECESS_REACH_MM, RECESS_REACH_MM, -16, 8)
            if window.empty:
                continue
            field = window.field
            behind, lateral = anatomy.recess[side, station, :2]
            near = np.abs(field.distance[station]) < RECESS_REACH_MM
            share = narrowing[station]
            scale = anatomy.size * anatomy.recess[side, station, 2]
            for grow, label in ((0.0, tissues.BULGE), (share, tissues.RECESS_FAT)):
                wide = RECESS_HALF_MM[0] * scale * (1 - RECESS_SHRINK[0] * grow)
                deep = RECESS_HALF_MM[1] * scale * (1 - RECESS_SHRINK[1] * grow)
                inside = 1 - ((field.behind - behind) / deep) ** 2
                half = wide * np.sqrt(np.clip(inside, 0, None))
                _paint_side(
                    window, label, sign, lateral - half, lateral + half, near & (inside > 0)
                )
            radius = 1.1 * scale
            inside = radius**2 - (field.behind - behind) ** 2 * (1 + 2.0 * share)
            half = np.sqrt(np.clip(inside, 0, None))
            _paint_side(
                window, tissues.ROOT, sign, lateral - half, lateral + half, near & (inside > 0)
            )


def paint_foramina(canvas: Canvas, anatomy: Anatomy) -> None:
    """Foramina between the pedicles: fat around the exiting root, disease from all sides."""
    for side, sign in enumerate(SIGNS):
        narrowing = anatomy.grade_input(FORAMINAL, side)
        for station in range(2, LAST_LUMBAR + 1):
            window = canvas.window(station, station, 26, 18, -30, 12)
            if window.empty:
                continue
            field = window.field
            below, behind, lateral = anatomy.foramen[side, station]
            down = field.distance[station] - below
            back = field.behind - behind
            share = narrowing[station]
            inner = anatomy.canal_half_width[station] - 0.2
            outer = max(lateral + 5.5, anatomy.body_half_width[station] - 2)
            half_height = 0.5 * anatomy.foramen_height[side, station]
            half_width = 0.5 * anatomy.foramen_width[side, station]
            # Keyhole: wide above, where the root lies, narrow below, behind the disc.
            narrow = 1 - 0.3 * np.clip(down / half_height, -0.2, 1)
            envelope = (down / half_height) ** 2 + (back / (half_width * narrow)) ** 2 <= 1
            _paint_side(window, tissues.BULGE, sign, inner, outer, envelope & (back < 0))
            _paint_side(window, tissues.LIGAMENT, sign, inner, outer, envelope & (back >= 0))
            tall = half_height * (1 - FORAMEN_SHRINK[0] * share)
            wide = half_width * (1 - FORAMEN_SHRINK[1] * share) * narrow
            rise = -0.28 * half_height * share
            fat = ((down - rise) / tall) ** 2 + (back / wide) ** 2 <= 1
            _paint_side(window, tissues.FORAMINAL_FAT, sign, inner, outer, fat & envelope)
            radius = 2.5 * anatomy.size
            root_down = -0.30 * half_height
            root = ((down - root_down) / radius) ** 2 + (back / (radius * (1 - 0.35 * share))) ** 2
            _paint_side(
                window, tissues.ROOT, sign, inner + 1.0, outer + 4.0, (root <= 1) & envelope
            )


def paint_cysts(canvas: Canvas, anatomy: Anatomy) -> None:
    """Tarlov cysts in the sacral canal."""
    for lesion in anatomy.cyst:
        radius = lesion.radius
        window = canvas.window(
            lesion.station, lesion.station, radius, lesion.below + radius, -radius, radius
        )
        if window.empty:
            continue
        field = window.field
        inside = (
            radius**2
            - (field.behind - lesion.behind) ** 2
            - (field.distance[lesion.station] - lesion.below) ** 2
        )
        half = np.sqrt(np.clip(inside, 0, None))
        window.paint(tissues.CYST, lesion.lateral - half, lesion.lateral + half, inside > 0)
