"""Checks of the regressors' config blocks that a schema cannot say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.localise.coordinates.settings import KINDS, LEVELS, PLACES, settings_from_config
from spinegrade.runtime.timm_names import check_backbone


def check_regressors(blocks: Mapping[str, Mapping[str, Any]], taken: Collection[str] = ()) -> None:
    """Refuse regressors whose settings do not fit together.

    ``taken``: names of other detectors. Raises SpinegradeError with the key's path, the value and
    what is allowed: for a name that is another detector's, a key of another kind, a backbone that
    timm does not know, an image larger than its frame, and a batch that cannot be parted.
    """
    for name, block in blocks.items():
        where = f"keypoints.regressors.{name}"
        if name in taken:
            raise SpinegradeError(
                f"{where}: the name is taken by another detector; give it another, since points "
                "lie in folders of these names"
            )
        _check_kind(where, block, blocks)
        settings = settings_from_config(name, block)
        check_backbone(settings.backbone, f"{where}.backbone")
        if settings.image_px > settings.frame_px:
            raise SpinegradeError(
                f"{where}.image_px is {settings.image_px}, larger than frame_px "
                f"({settings.frame_px}); allowed: at most that"
            )
        training = settings.training
        if training.batch_size % training.accumulation:
            raise SpinegradeError(
                f"{where}.training.accumulation is {training.accumulation}, which does not divide "
                f"batch_size ({training.batch_size}); allowed: a divisor of it"
            )


def _check_kind(
    where: str, block: Mapping[str, Any], blocks: Mapping[str, Mapping[str, Any]]
) -> None:
    places = [name for name, other in blocks.items() if other["kind"] == PLACES]
    kind = block["kind"]
    for key, of_kind, allowed in (
        ("inputs", "sagittal_3d", "[t1], [t2] or [t1, t2]"),
        ("target", "sagittal_2d", "foraminal or canal"),
        ("xy_from", LEVELS, f"a regressor of the kind {PLACES}"),
    ):
        if kind == of_kind and block[key] is None:
            raise SpinegradeError(f"{where}.{key} is missing; allowed: {allowed}")
        if kind != of_kind and block[key] is not None:
            raise SpinegradeError(
                f"{where}.{key} is {block[key]!r}, which is for the kind {of_kind} alone, not for "
                f"{kind}; leave the key out"
            )
    if kind == LEVELS and block["xy_from"] not in places:
        raise SpinegradeError(
            f"{where}.xy_from is {block['xy_from']!r}; allowed: regressors of the kind {PLACES}: "
            f"{', '.join(places) or 'none is configured'}"
        )
    if kind == LEVELS and block["crop_px"] > block["frame_px"]:
        raise SpinegradeError(
            f"{where}.crop_px is {block['crop_px']}, larger than frame_px ({block['frame_px']}); "
            "allowed: at most that"
        )
    if KINDS[kind].depth == 1 and block["depth"] is not None:
        raise SpinegradeError(
            f"{where}.depth is {block['depth']}, but {kind} sees single slices; leave the key out"
        )
