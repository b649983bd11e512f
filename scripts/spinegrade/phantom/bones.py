"""Painters of vertebrae, sacrum, arches, facets and discs.

Solids are shells of cortex around textured marrow: painted first at full size as cortex,
then again, inset by the cortex's thickness, as marrow.
"""

from __future__ import annotations

import numpy as np

from spinegrade.phantom import tissues
from spinegrade.phantom.anatomy import COUNT, SIGNS, Anatomy
from spinegrade.phantom.canvas import Canvas, Window
from spinegrade.phantom.curve import LAST_LUMBAR, Floats

_ARCH = ("marrow", tissues.MARROW_TEXTURES)


def body_half_width(window: Window, anatomy: Anatomy, inset: float, waist: float = 0.0) -> Floats:
    """Half width of the body's (or disc's) outline at each column, mm, negative outside.

    A super-ellipse with its back cut by a parabola from the wall at the midline to the
    lateral wall at the foramina.
    """
    field = window.field
    depth = field.along(anatomy.body_depth) * (1 - waist) - 2 * inset
    half = field.along(anatomy.body_half_width) * (1 - waist) - inset
    wall = field.along(anatomy.wall) - inset - waist * 8.0
    lateral_wall = field.along(anatomy.lateral_wall) - inset - waist * 8.0
    centre = wall - 0.5 * depth
    place = np.clip(np.abs((field.behind - centre) / (0.5 * depth)), 0, None)
    ellipse = half * np.clip(1 - place**2.6, 0, None) ** (1 / 2.6)
    reach = field.along(anatomy.foramen[:, :, 2].mean(axis=0))
    inside = np.clip((wall - field.behind) / (wall - lateral_wall), 0, None)
    result = np.minimum(ellipse, reach * np.sqrt(inside))
    return np.where((place < 1) & (field.behind < wall), result, -1.0)


def _disc_gap(window: Window, anatomy: Anatomy, station: int) -> Floats:
    """Half the disc's height at each column: higher in front, endplates concave."""
    field = window.field
    depth = anatomy.body_depth[station]
    place = (field.behind - (anatomy.wall[station] - 0.5 * depth)) / (0.5 * depth)
    half = 0.5 * anatomy.disc_height[station]
    return half * (1.0 - 0.16 * place) + 0.12 * half * (1 - np.clip(place**2, 0, 1))


def paint_bodies(canvas: Canvas, anatomy: Anatomy) -> None:
    """Vertebral bodies T9 to S4 with cortex, endplates, waist and marrow texture."""
    for upper in range(COUNT - 1):
        lower = upper + 1
        window = canvas.window(upper, lower, 0, 0, -50 * anatomy.size, 2)
        if window.empty:
            continue
        field = window.field
        fraction = np.clip(field.fraction, 0, 1)
        waist = 0.07 * np.sin(np.pi * fraction)
        for inset, label in ((0.0, tissues.CORTEX), (0.9, None)):
            half = body_half_width(window, anatomy, inset, waist)
            top = _disc_gap(window, anatomy, upper)
            bottom = _disc_gap(window, anatomy, lower)
            where = (
                (half > 0)
                & (field.distance[upper] > top + 1.2 * inset)
                & (field.distance[lower] < -bottom - 1.2 * inset)
            )
            if label is not None:
                window.paint(label, -half, half, where)
            else:
                code = tissues.MARROW + tissues.MARROW_TEXTURES * upper
                window.paint(code, -half, half, where, _ARCH)


def paint_discs(canvas: Canvas, anatomy: Anatomy) -> None:
    """Discs: annulus out to the bodies' rim, nucleus in the middle."""
    for station in range(COUNT):
        window = canvas.window(station, station, 9, 9, -50 * anatomy.size, 2)
        if window.empty:
            continue
        field = window.field
        gap = _disc_gap(window, anatomy, station)
        half = body_half_width(window, anatomy, -0.5)
        where = (half > 0) & (np.abs(field.distance[station]) <= gap)
        window.paint(tissues.ANNULUS + station, -half, half, where)
        depth, width = anatomy.body_depth[station], anatomy.body_half_width[station]
        centre = anatomy.wall[station] - 0.54 * depth
        place = (field.behind - centre) / (0.33 * depth)
        height = field.distance[station] / np.maximum(gap - 0.8, 0.2)
        inside = 1 - place**2 - 0.9 * height**2
        nucleus = 0.66 * width * np.sqrt(np.clip(inside, 0, None))
        window.paint(tissues.NUCLEUS + station, -nucleus, nucleus, inside > 0)
        # The dark cleft across an aging nucleus.
        if 0.25 < anatomy.disc_water[station] < 0.9:
            cleft = np.abs(field.distance[station]) < 0.7
            window.paint(
                tissues.ANNULUS + station, -0.7 * nucleus, 0.7 * nucleus, cleft & (inside > 0.3)
            )


def paint_pedicles(canvas: Canvas, anatomy: Anatomy) -> None:
    """Pedicles and transverse processes between the foramina above and below."""
    for lower in range(2, LAST_LUMBAR + 1):
        upper = lower - 1
        for side, sign in enumerate(SIGNS):
            bottom = anatomy.foramen[side, lower, 0] - 0.5 * anatomy.foramen_height[side, lower]
            top = anatomy.foramen[side, upper, 0] + 0.5 * anatomy.foramen_height[side, upper]
            window = canvas.window(upper, lower, 0, 4, -25, 16)
            if window.empty:
                continue
            field = window.field
            inner = field.along(anatomy.canal_half_width)
            outer = np.maximum(inner + 6.5, field.along(anatomy.foramen[side, :, 2]) + 4.0)
            front = field.along(anatomy.lateral_wall) - 4
            for inset, label in ((0.0, tissues.CORTEX), (0.9, tissues.ARCH_MARROW)):
                where = (
                    (field.distance[upper] > top + inset)
                    & (field.distance[lower] < bottom - inset)
                    & (field.behind > front)
                    & (field.behind < 7 - inset)
                )
                tile = None if inset == 0 else _ARCH
                _paint_side(window, label, sign, inner + inset, outer - inset, where, tile)
                middle = 0.5 * (field.distance[upper] - top + field.distance[lower] - bottom)
                across = (field.behind - 4.0) / (3.8 - inset)
                thin = (middle / (5.0 - inset)) ** 2 + across**2 < 1
                _paint_side(window, label, sign, inner + 5, 40 * anatomy.size - inset, thin, tile)


def paint_arches(canvas: Canvas, anatomy: Anatomy) -> None:
    """Laminae, spinous processes, facets with their joints, from T10 to the sacrum's crest."""
    for lower in range(2, COUNT - 1):
        upper = lower - 1
        sacral = lower > LAST_LUMBAR
        window = canvas.window(upper, lower, 4, 10, -2, 44)
        if window.empty:
            continue
        field = window.field
        half_depth = field.along(anatomy.canal_half_depth)
        width = field.along(anatomy.canal_half_width)
        apex = half_depth + 4.5
        slope = width / (apex + 1.0)
        down = field.distance[lower]
        for inset, label in ((0.0, tissues.CORTEX), (0.9, tissues.ARCH_MARROW)):
            tile = None if inset == 0 else _ARCH
            inner = (apex + inset - field.behind) * slope
            outer = inner + (5.5 - 2.2 * inset)
            span = (down > -19 + inset) & (down < 0.5 - inset)
            if sacral:
                span = (field.distance[upper] > 0) & (down <= 0)
            where = span & (field.behind > 2) & (outer > 0)
            for sign in SIGNS:
                low = np.maximum(inner, 0)
                _paint_side(window, label, sign, low, outer, where, tile)
            reach = 31.0 if not sacral else 19.0
            drop = down + 7 - 0.30 * (field.behind - apex)
            spine = (
                (np.abs(drop) < 7.5 - inset)
                & (field.behind > apex + 1)
                & (field.behind < apex + (reach - 4) * anatomy.size - inset)
            )
            if sacral:
                spine &= (field.behind < apex + 8) & (down <= 0)
            half = 3.0 + 1.2 * np.clip((field.behind - apex - 14) / 12, 0, 1) - inset
            window.paint(label, -half, half, spine, tile)


def paint_facets(canvas: Canvas, anatomy: Anatomy) -> None:
    """Facets at each disc level: a mass of two articular processes and the joint between."""
    for station in range(2, LAST_LUMBAR + 1):
        window = canvas.window(station, station, 12, 12, -4, 24)
        if window.empty:
            continue
        field = window.field
        down = field.distance[station]
        shape = 1 - ((down + 1.0) / 12.5) ** 4
        for side, sign in enumerate(SIGNS):
            middle = anatomy.canal_half_width[station] + 4.2
            back = (
                anatomy.foramen[side, station, 1] + 0.5 * anatomy.foramen_width[side, station] + 8.2
            )
            back = max(back, 6.5)
            slant = middle + 0.30 * (field.behind - back)
            for inset, label in ((0.0, tissues.CORTEX), (0.9, tissues.ARCH_MARROW)):
                place = np.abs(field.behind - back) / (8.4 - inset)
                inside = np.clip(shape, 0, None) - place**3
                reach = (6.6 - inset) * np.sqrt(np.clip(inside, 0, None))
                tile = None if inset == 0 else _ARCH
                low = np.maximum(slant - reach, 0)
                _paint_side(window, label, sign, low, slant + reach, inside > 0, tile)
            lean = field.behind - back
            joint = middle - 0.8 + 0.55 * lean + 0.045 * lean**2
            near = (np.abs(field.behind - back) < 5.4) & (np.abs(down + 1) < 8.5)
            _paint_side(window, tissues.CORTEX, sign, joint - 1.2, joint + 1.2, near)
            _paint_side(window, tissues.JOINT, sign, joint - 0.5, joint + 0.4, near)


def paint_sacral_wings(canvas: Canvas, anatomy: Anatomy) -> None:
    """The sacrum's lateral masses, with the foramina left as fat."""
    window = canvas.window(LAST_LUMBAR, COUNT - 1, 0, 0, -40, 14)
    if window.empty:
        return
    field = window.field
    place = np.clip(field.segment + field.fraction - LAST_LUMBAR, 0, 4)
    for inset, label in ((0.0, tissues.CORTEX), (1.0, tissues.ARCH_MARROW)):
        tile = None if inset == 0 else _ARCH
        outer = (50 - 9.5 * place) * anatomy.size - inset
        wall = field.along(anatomy.wall)
        where = (
            (field.behind > wall - (20 - 3 * place) + inset)
            & (field.behind < field.along(anatomy.canal_half_depth) + 2 - inset)
            & (field.distance[LAST_LUMBAR] > 6 + inset)
        )
        inner = field.along(anatomy.canal_half_width)
        for sign in SIGNS:
            _paint_side(window, label, sign, inner + inset, outer, where, tile)
    for station in range(LAST_LUMBAR + 1, COUNT - 1):
        for sign in SIGNS:
            radius = 6.5 - 1.2 * (station - LAST_LUMBAR)
            behind = (field.behind + 7) / (1.3 * radius)
            inside = 1 - behind**2 - (field.distance[station] / radius) ** 2
            half = radius * np.sqrt(np.clip(inside, 0, None))
            middle = anatomy.canal_half_width[station] + 5
            _paint_side(
                window, tissues.FORAMINAL_FAT, sign, middle - half - 3, middle + half, inside > 0
            )


def paint_lesions(canvas: Canvas, anatomy: Anatomy) -> None:
    """Schmorl's nodes at endplates and haemangiomas in the bodies."""
    for lesion in anatomy.schmorl:
        below = lesion.below * 0.55 * anatomy.disc_height[lesion.station]
        code = tissues.ANNULUS + lesion.station
        _paint_ball(
            canvas,
            anatomy,
            lesion.station,
            below,
            lesion.behind,
            lesion.lateral,
            lesion.radius,
            code,
        )
    for lesion in anatomy.haemangioma:
        below = 15.0
        code = tissues.HAEMANGIOMA
        _paint_ball(
            canvas,
            anatomy,
            lesion.station,
            below,
            lesion.behind,
            lesion.lateral,
            lesion.radius,
            code,
        )


def _paint_ball(
    canvas: Canvas,
    anatomy: Anatomy,
    station: int,
    below: float,
    share: float,
    lateral: float,
    radius: float,
    code: int,
) -> None:
    behind = anatomy.wall[station] + share * anatomy.body_depth[station]
    window = canvas.window(
        station, station, -below + radius, below + radius, behind - radius, behind + radius
    )
    if window.empty:
        return
    field = window.field
    inside = radius**2 - (field.behind - behind) ** 2 - (field.distance[station] - below) ** 2
    half = np.sqrt(np.clip(inside, 0, None))
    outline = body_half_width(window, anatomy, 1.5)
    low, high = np.maximum(lateral - half, -outline), np.minimum(lateral + half, outline)
    window.paint(code, low, high, inside > 0)


def _paint_side(
    window: Window,
    label: int,
    sign: float,
    inner: Floats,
    outer: Floats,
    where: np.ndarray,
    tile: tuple[str, int] | None = None,
) -> None:
    """Paint inner <= distance from the midline <= outer on the side of ``sign``."""
    inner, outer = np.broadcast_arrays(inner, outer)
    low, high = (inner, outer) if sign > 0 else (-outer, -inner)
    window.paint(label, low, high, where, tile)
