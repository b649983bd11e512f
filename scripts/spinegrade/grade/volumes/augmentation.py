"""How far augmentation goes: the published probabilities and limits, and every one a setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.canvas import FRAME_PX, OFFSETS
from spinegrade.grade.volumes.flip import FLIPS
from spinegrade.grade.volumes.warps import RECENTRES, WarpLimits
from spinegrade.imaging.disturb import KINDS, MOTIONS
from spinegrade.targets import TARGETS


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of one network; the defaults are those of the foraminal one.

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
    Raises SpinegradeError for values that cannot be.
    """

    image_px: int = 320
    mirror: tuple[int, ...] = TARGETS["foraminal"].mirror
    flip: str = "fixed"
    reversal: float = 0.5
    align: float = 0.7
    homography: float = 0.2
    inlier_px: float = 3.0
    scale: tuple[float, float] = (-0.25, 0.35)
    rotation_degrees: float = 20.0
    shift_px: float = 10.0
    border_px: float = 5.0
    recentre: str = "shifted"
    corner: float = 0.25
    corner_border_px: float = 5.0
    tries: int = 20
    cutout: float = 0.5
    cutout_width_px: float = 10.0
    brightness_contrast: float = 0.75
    brightness: float = 0.2
    contrast: float = 0.2
    disturb: float = 0.5
    disturb_by: tuple[str, ...] = KINDS
    blur_px: int = 5
    motion: str = "centred"
    noise_variance: tuple[float, float] = (10.0, 50.0)
    mask_offset: str = "exact"

    def __post_init__(self) -> None:
        for key in ("reversal", "align", "homography", "cutout", "brightness_contrast", "disturb"):
            self._check(key, 0 <= getattr(self, key) <= 1, "a chance from 0 to 1")
        self._check("homography", self.align + self.homography <= 1, "at most 1 - align")
        choices = {"flip": FLIPS, "recentre": RECENTRES, "motion": MOTIONS, "mask_offset": OFFSETS}
        for key, allowed in choices.items():
            self._check(key, getattr(self, key) in allowed, " or ".join(allowed))
        self._check("image_px", self.image_px % 32 == 0 and self.image_px > 0, "a multiple of 32")
        self._check("corner", 0 <= self.corner < 0.5, "at least 0 and below 0.5")
        self._check("blur_px", self.blur_px in range(3, 32, 2), "an odd number from 3 to 31")
        self._check("tries", self.tries >= 1, "at least 1")
        for key in ("scale", "noise_variance"):
            pair = getattr(self, key)
            self._check(key, len(pair) == 2 and pair[0] <= pair[1], "a lower and an upper limit")
        self._check("scale", self.scale[0] > -1, "above -1")
        self._check("noise_variance", self.noise_variance[0] >= 0, "not negative")
        known = bool(self.disturb_by) and set(self.disturb_by) <= set(KINDS)
        self._check("disturb_by", known, f"one or more of {', '.join(KINDS)}")
        for key in ("inlier_px", "shift_px", "border_px", "corner_border_px", "cutout_width_px"):
            self._check(key, getattr(self, key) >= 0, "not negative")

    def _check(self, key: str, good: bool, allowed: str) -> None:
        if not good:
            raise SpinegradeError(
                f"augmentation.{key} is {getattr(self, key)!r}; allowed: {allowed}"
            )

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


PUBLISHED: dict[str, dict[str, Any]] = {
    "foraminal": {},
    "canal": {
        "scale": (-0.2, 0.2),
        "rotation_degrees": 15.0,
        "shift_px": 5.0,
        "border_px": 10.0,
        "corner": 0.2,
        "cutout": 0.0,
    },
}
"""What a target's published augmentation has otherwise than ``Augmentation``'s defaults."""


def augmentation_of(
    target: str, image_px: int, flip: str = "fixed", given: Mapping[str, Any] | None = None
) -> Augmentation:
    """The target's published augmentation, changed by the keys of ``given``.

    Raises SpinegradeError for an unknown target or key, or a value that cannot be.
    """
    given = dict(given or {})
    fixed = {"image_px", "mirror", "flip"}
    allowed = sorted({field.name for field in fields(Augmentation)} - fixed)
    unknown = sorted(set(given) - set(allowed))
    if target not in PUBLISHED or unknown:
        what, names = ("target", list(PUBLISHED)) if target not in PUBLISHED else ("key", allowed)
        raise SpinegradeError(
            f"augmentation: unknown {what} {target if what == 'target' else ', '.join(unknown)}; "
            f"allowed: {', '.join(names)}"
        )
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    own = {"image_px": image_px, "mirror": TARGETS[target].mirror, "flip": flip}
    return Augmentation(**{**PUBLISHED[target], **given, **own})
