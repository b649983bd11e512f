"""How far augmentation goes: every probability and limit is a setting."""

from __future__ import annotations

from dataclasses import dataclass

from spinegrade.grade.volumes.canvas import FRAME_PX
from spinegrade.grade.volumes.settings import Settings
from spinegrade.grade.volumes.warps import WarpLimits


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of one network.

    Chances: ``reversal`` of the slices; ``align`` and ``homography`` are two of three cases,
    the third leaves slices where they are; ``cutout``, ``brightness_contrast`` and ``disturb``
    (blur or noise). Lengths are in px of a canvas of 512 and scale with the canvas. ``scale`` and
    ``rotation_degrees`` vary the aligned shape, its box lies within ``shift_px`` of the middle;
    ``corner`` is how far a homography moves corners, as a share of the canvas; movements that
    bring a point within ``border_px`` (``corner_border_px``) of the edge are drawn again,
    ``tries`` times. ``brightness`` and ``contrast`` are shares of the grey range; ``disturb_by``
    lists what disturbs, with equal odds, ``blur_px`` the widest kernel, ``noise_variance`` its
    range in grey levels.

    Four faults of the published system are mended here and named otherwise: ``flip`` "bugged" (see
    ``flip.py``), ``recentre`` "published" (see ``WarpLimits``), ``mask_offset`` "published" (see
    ``to_mask``) and ``motion`` "shifted" (a motion blur that moves the image but not its points).
    """

    image_px: int
    mirror: tuple[int, ...]
    flip: str
    reversal: float
    align: float
    homography: float
    inlier_px: float
    scale: tuple[float, float]
    rotation_degrees: float
    shift_px: float
    border_px: float
    recentre: str
    corner: float
    corner_border_px: float
    tries: int
    cutout: float
    cutout_width_px: float
    brightness_contrast: float
    brightness: float
    contrast: float
    disturb: float
    disturb_by: tuple[str, ...]
    blur_px: int
    motion: str
    noise_variance: tuple[float, float]
    mask_offset: str

    def limits(self, canvas: int) -> WarpLimits:
        """The limits of movements in px of a ``canvas``."""
        unit = canvas / FRAME_PX
        return WarpLimits(
            scale=self.scale,
            rotation_degrees=self.rotation_degrees,
            shift_px=self.shift_px * unit,
            border_px=self.border_px * unit,
            corner=self.corner,
            corner_border_px=self.corner_border_px * unit,
            inlier_px=self.inlier_px * unit,
            tries=self.tries,
            recentre=self.recentre,
        )


def augmentation_of(settings: Settings) -> Augmentation:
    """The augmentation of a learner."""
    given = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in settings.block["augment"].items()
    }
    return Augmentation(
        image_px=settings.image_px,
        mirror=settings.points.mirror,
        flip=settings.flip,
        recentre="published" if settings.keeps("recentre") else "shifted",
        motion="shifted" if settings.keeps("motion") else "centred",
        mask_offset=settings.mask_offset,
        **given,
    )
