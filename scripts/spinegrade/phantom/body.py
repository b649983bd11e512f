"""From one patient's numbers to label maps: fine around the spine, coarse for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from spinegrade.phantom import bones, canal, soft_tissue
from spinegrade.phantom.anatomy import Anatomy
from spinegrade.phantom.canvas import Canvas, Grid


@dataclass(frozen=True)
class BodyMaps:
    """Label maps of one patient; the fine grid lies inside the coarse one."""

    fine: Canvas
    coarse: Canvas


def spine_grid(anatomy: Anatomy, spacing_mm: float) -> Grid:
    """The fine grid: canal, bodies, foramina and facets from the top station to S3."""
    centres = anatomy.curve.centres[:-2]
    low = (centres[:, 1].min() - 12, centres[:, 0].min() - 48, -33.0)
    high = (centres[:, 1].max() + 10, centres[:, 0].max() + 42, 33.0)
    return Grid.around(low, high, (spacing_mm,) * 3)


def body_grid(anatomy: Anatomy, factor: float) -> Grid:
    """The coarse grid: the torso as far as any slice shows it."""
    centres = anatomy.curve.centres
    low = (centres[:, 1].min() - 40, centres[:, 0].min() - 130, -115.0)
    high = (centres[:, 1].max() + 20, centres[:, 0].max() + 100, 115.0)
    return Grid.around(low, high, (3.0 * factor, 1.3 * factor, 1.3 * factor))


def paint(grid: Grid, anatomy: Anatomy) -> Canvas:
    """The label map of ``anatomy`` on ``grid``."""
    canvas = Canvas(grid, anatomy.curve, anatomy.texture_shift)
    soft_tissue.paint_background(canvas, anatomy)
    soft_tissue.paint_front(canvas, anatomy)
    bones.paint_sacral_wings(canvas, anatomy)
    bones.paint_bodies(canvas, anatomy)
    bones.paint_lesions(canvas, anatomy)
    bones.paint_pedicles(canvas, anatomy)
    bones.paint_facets(canvas, anatomy)
    bones.paint_arches(canvas, anatomy)
    bones.paint_discs(canvas, anatomy)
    canal.paint_foramina(canvas, anatomy)
    canal.paint_canal(canvas, anatomy)
    canal.paint_recesses(canvas, anatomy)
    canal.paint_cysts(canvas, anatomy)
    return canvas


def paint_body(anatomy: Anatomy, scale: float = 1.0) -> BodyMaps:
    """Both label maps; ``scale`` below 1 makes them coarser (tests)."""
    fine = paint(spine_grid(anatomy, 0.6 / scale), anatomy)
    coarse = paint(body_grid(anatomy, 1.0 / scale), anatomy)
    return BodyMaps(fine, coarse)
