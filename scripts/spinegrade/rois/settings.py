"""A roi set: what to crop around which keypoints, and how large."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spinegrade.errors import SpinegradeError


@dataclass(frozen=True)
class InPlane:
    """Extent of a crop within its slices.

    ``size`` is the extent of the square crop in ``unit`` (``mm``, or ``px`` of the stack),
    ``output_px`` its pixels a side, ``margin_px`` the pixels stored around it beyond that,
    so that training can shift, turn and scale the crop without reading the volume again.
    """

    unit: str
    size: float
    output_px: int
    margin_px: int = 8

    @property
    def stored_px(self) -> int:
        """Pixels a side in rois.npy."""
        return self.output_px + 2 * self.margin_px


@dataclass(frozen=True)
class Slices:
    """Slices of a crop: an odd ``count`` centred on the keypoint's, ``margin`` more each way.

    ``spacing_mm`` None takes the stack's own slices as they are; a number resamples at that
    distance along the normal, in the same single interpolation.
    """

    count: int = 5
    spacing_mm: float | None = None
    margin: int = 1

    @property
    def stored(self) -> int:
        """Slices in rois.npy."""
        return self.count + 2 * self.margin


@dataclass(frozen=True)
class RoiSet:
    """Crops of one geometry around the keypoints of one detector.

    ``conditions`` are the conditions whose cells get a crop. ``around`` ``point`` centres it
    on the keypoint of the cell's level and side (or on the level's central one), ``pair``
    midway between the level's left and right keypoints. ``image`` None crops from the stack
    that the keypoint lies in; (plane, weighting) from the stack of that kind whose slice
    passes nearest to the point, at most ``max_distance_mm`` away.
    """

    name: str
    detector: str
    conditions: tuple[str, ...]
    in_plane: InPlane
    slices: Slices
    around: str = "point"
    image: tuple[str, str] | None = None
    max_distance_mm: float = 10.0

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(slices, height, width) of one crop in rois.npy."""
        return self.slices.stored, self.in_plane.stored_px, self.in_plane.stored_px

    def shape_as_seen(self) -> dict[str, int]:
        """What a network sees of a crop, and the margin stored around it, as plain values."""
        return {
            "slices": self.slices.count,
            "slice_margin": self.slices.margin,
            "pixels": self.in_plane.output_px,
            "margin_px": self.in_plane.margin_px,
        }


def roi_set_from_config(name: str, block: Mapping[str, Any]) -> RoiSet:
    """The roi set of the config's block ``rois.sets.<name>``.

    Raises SpinegradeError for an even number of slices, which has no middle.
    """
    image = block.get("image")
    slices = Slices(**block.get("slices", {}))
    if slices.count % 2 == 0:
        raise SpinegradeError(
            f"rois.sets.{name}.slices.count is {slices.count}: it must be odd, so that the "
            "keypoint's slice is the middle one"
        )
    rest = {key: block[key] for key in ("around", "max_distance_mm") if key in block}
    return RoiSet(
        name=name,
        detector=block["detector"],
        conditions=tuple(block["conditions"]),
        in_plane=InPlane(**block["in_plane"]),
        slices=slices,
        image=(image["plane"], image["weighting"]) if image else None,
        **rest,
    )


def check_roi_sets(sets: Mapping[str, Mapping[str, Any]], detectors: Iterable[str]) -> None:
    """Refuse a roi set that names a detector which the config does not have.

    Raises SpinegradeError with the key's path, the name given and those allowed.
    """
    known = sorted(detectors)
    for name, block in sets.items():
        roi_set_from_config(name, block)
        if block["detector"] not in known:
            close = difflib.get_close_matches(block["detector"], known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SpinegradeError(
                f"rois.sets.{name}.detector is {block['detector']!r}: there is no such detector"
                f"{hint} Allowed: {', '.join(known)}"
            )
