"""A roi set: what to crop around which keypoints, and how large."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spinegrade.crop.sampling import Sampled
from spinegrade.crop_shape import CropShape
from spinegrade.errors import SpinegradeError
from spinegrade.regions.region import Region


@dataclass(frozen=True)
class InPlane:
    """Extent of a crop within its slices.

    ``size`` is the crop's extent in ``unit``, ``output_px`` its pixels, each one number or
    (rows, cols); ``margin_px`` the pixels stored around it beyond that, so that training can
    shift, turn and scale the crop without reading the volume again. Units: ``mm``; ``px`` of
    the stack; ``frame``, pixels of the stack scaled so that its longer side has ``frame_px`` of
    them, square in the patient; ``frame_stretched``, where each of its sides has so many.
    """

    unit: str
    size: float | tuple[float, float]
    output_px: int | tuple[int, int]
    margin_px: int = 8
    frame_px: int = 512

    @property
    def extent(self) -> tuple[float, float]:
        """(rows, cols) of the crop in ``unit``."""
        return _pair(self.size)

    @property
    def seen_px(self) -> tuple[int, int]:
        """(rows, cols) of the crop in its own pixels, without the margin."""
        return _pair(self.output_px)

    @property
    def stored_px(self) -> tuple[int, int]:
        """(rows, cols) in rois.npy."""
        rows, cols = self.seen_px
        return rows + 2 * self.margin_px, cols + 2 * self.margin_px

    @property
    def is_square(self) -> bool:
        """Whether extent and pixels are the same both ways."""
        return len(set(self.extent)) == 1 and len(set(self.seen_px)) == 1


def _pair(value: Any) -> tuple[Any, Any]:
    rows, cols = value if isinstance(value, Sequence) else (value, value)
    return rows, cols


@dataclass(frozen=True)
class Slices:
    """Slices of a crop: an odd ``count`` centred on the keypoint's, ``margin`` more each way.

    ``spacing_mm`` None takes the stack's own slices as they are; a number resamples at that
    distance along the normal, in the same single interpolation. With ``sampled`` they are drawn
    evenly from the stack instead, without a margin, and the other three have no meaning.
    """

    count: int = 5
    spacing_mm: float | None = None
    margin: int = 1
    sampled: Sampled | None = None

    @property
    def seen(self) -> int:
        """Slices of a crop without the margin."""
        return self.sampled.count if self.sampled else self.count

    @property
    def stored(self) -> int:
        """Slices in rois.npy."""
        return self.sampled.count if self.sampled else self.count + 2 * self.margin


@dataclass(frozen=True)
class RoiSet:
    """Crops of one geometry around the keypoints of one detector.

    ``conditions`` are the conditions whose cells get a crop, ``points`` the condition whose
    keypoints they are centred on: None for the cell's own, or all of a detector that does not
    find that one. ``around`` ``point`` is the keypoint of the cell's level and side (or the
    level's central one), ``pair`` midway between the level's left and right keypoints.
    ``image`` None crops from the stack that the keypoint lies in; (plane, weighting) from the
    stack of that kind whose slice passes nearest to the point, at most ``max_distance_mm`` away.
    ``keep_inside`` moves a crop, margin apart, as far as the image has it whole, if it can;
    without it what lies outside is 0.
    """

    name: str
    detector: str
    conditions: tuple[str, ...]
    in_plane: InPlane
    slices: Slices
    points: str | None = None
    around: str = "point"
    image: tuple[str, str] | None = None
    max_distance_mm: float = 10.0
    keep_inside: bool = False

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(slices, height, width) of one crop in rois.npy."""
        return self.slices.stored, *self.in_plane.stored_px

    @property
    def shape(self) -> CropShape:
        """What a network sees of a crop, and the margin stored around it."""
        margin = (self.slices.stored - self.slices.seen) // 2
        plane = self.in_plane
        return CropShape(self.slices.seen, margin, *plane.seen_px, plane.margin_px)


def roi_set_from_config(name: str, block: Mapping[str, Any], region: Region) -> RoiSet:
    """The roi set of the config's block ``crop.sets.<name>``, its conditions those of ``region``.

    Raises SpinegradeError for an even number of slices, which has no middle, and for sampled
    slices that cannot be had.
    """
    image = block.get("image")
    plane = {key: _hashable(value) for key, value in block["in_plane"].items()}
    plain = ("around", "max_distance_mm", "keep_inside")
    rest = {key: block[key] for key in plain if key in block}
    roi_set = RoiSet(
        name=name,
        detector=block["detector"],
        conditions=tuple(region.targets[name].condition for name in block["conditions"]),
        points=region.targets[block["points"]].condition if block.get("points") else None,
        in_plane=InPlane(**plane),
        slices=_slices_from_config(f"crop.sets.{name}.slices", block.get("slices", {})),
        image=(image["plane"], image["weighting"]) if image else None,
        **rest,
    )
    _check_sampled(roi_set, region)
    return roi_set


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _slices_from_config(where: str, block: Mapping[str, Any]) -> Slices:
    given = block.get("sampled")
    slices = Slices(**{**block, "sampled": _sampled(given) if given else None})
    usual = Slices()
    if given and (
        slices.count != usual.count
        or slices.spacing_mm != usual.spacing_mm
        or slices.margin not in (0, usual.margin)
    ):
        raise SpinegradeError(
            f"{where}: count {slices.count}, spacing_mm {slices.spacing_mm} and margin "
            f"{slices.margin} mean nothing beside sampled, which says itself how many slices "
            "there are; leave them out",
            code="CROPS_SAMPLED_AND_COUNTED",
            key=where,
        )
    if slices.count % 2 == 0:
        raise SpinegradeError(
            f"{where}.count is {slices.count}: it must be odd, so that the keypoint's slice is "
            "the middle one",
            code="CROPS_EVEN_COUNT",
            key=f"{where}.count",
        )
    return slices


def _sampled(block: Mapping[str, Any]) -> Sampled:
    rest = {key: value for key, value in block.items() if key != "as_published"}
    kept = "entries" in block.get("as_published", ())
    return Sampled(**rest, entries="published" if kept else "fixed")


def _check_sampled(roi_set: RoiSet, region: Region) -> None:
    sampled = roi_set.slices.sampled
    where = f"crop.sets.{roi_set.name}.slices.sampled"
    if sampled and roi_set.image and roi_set.image[0] != "sagittal":
        raise SpinegradeError(
            f"{where}: image.plane is {roi_set.image[0]!r}; only sagittal stacks run from the "
            "patient's right to left",
            code="CROPS_SAMPLED_PLANE",
            key=where,
        )
    sideless = [
        name
        for name, target in region.targets.items()
        if target.condition in roi_set.conditions and region.sides[target.condition] == ("central",)
    ]
    if sampled and sampled.part == "side" and sideless:
        raise SpinegradeError(
            f"{where}.part is 'side', which the {sideless[0]} has not; allowed there: centre, "
            "left, right",
            code="CROPS_SIDE_OF_CANAL",
            key=f"{where}.part",
        )


@dataclass(frozen=True)
class SequenceSet:
    """Axial slices cut around their middle, given to levels by the points of ``detector``."""

    name: str
    detector: str
    in_plane: InPlane

    @property
    def shape(self) -> CropShape:
        """What a network sees: a slice between its neighbours."""
        return CropShape(3, 0, *self.in_plane.seen_px, self.in_plane.margin_px)


def sequence_from_config(name: str, block: Mapping[str, Any]) -> SequenceSet:
    """The sequence set of the config's block ``crop.sequences.<name>``, its defaults filled in."""
    plane = {key: _hashable(block[key]) for key in ("unit", "size", "output_px", "frame_px")}
    return SequenceSet(name, block["detector"], InPlane(margin_px=0, **plane))


def check_sequences(
    sequences: Mapping[str, Mapping[str, Any]], sets: Iterable[str], detectors: Iterable[str]
) -> None:
    """Refuse a sequence set of an unknown detector, or of the name of one of the roi ``sets``.

    Raises SpinegradeError with the key's path, the name given and those allowed.
    """
    for name, block in sequences.items():
        if name in set(sets):
            raise SpinegradeError(
                f"crop.sequences.{name}: a roi set has that name, and its folder; give it another",
                code="CROPS_NAME_TAKEN",
                key=f"crop.sequences.{name}",
            )
        _check_detector(f"crop.sequences.{name}", block["detector"], detectors)


def check_roi_sets(
    sets: Mapping[str, Mapping[str, Any]], detectors: Iterable[str], region: Region
) -> None:
    """Refuse a roi set that names a detector which the config does not have.

    Raises SpinegradeError with the key's path, the name given and those allowed.
    """
    for name, block in sets.items():
        roi_set_from_config(name, block, region)
        _check_detector(f"crop.sets.{name}", block["detector"], detectors)


def _check_detector(where: str, detector: str, detectors: Iterable[str]) -> None:
    known = sorted(detectors)
    if detector not in known:
        close = difflib.get_close_matches(detector, known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SpinegradeError(
            f"{where}.detector is {detector!r}: there is no such detector{hint} "
            f"Allowed: {', '.join(known)}",
            code="CROPS_DETECTOR_UNKNOWN",
            key=f"{where}.detector",
        )
