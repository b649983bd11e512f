"""Graders whose settings do not fit together, refused before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.grade.views.settings import (
    CONDITION_OF,
    CropShape,
    Settings,
    settings_from_config,
)
from spinegrade.runtime.timm_names import check_backbone

# Names that the ensemble room uses itself.
_RESERVED = ("prior", "ensemble")


def check_graders(
    blocks: Mapping[str, Mapping[str, Any]],
    shapes: Mapping[str, CropShape],
    conditions: Mapping[str, Collection[str]],
    sequences: Collection[str] = (),
    taken: Collection[str] = (),
) -> None:
    """Refuse graders whose settings do not fit together, or not to the roi sets.

    ``shapes`` and ``conditions`` give the shape and the conditions of every roi set, ``sequences``
    the names of the sequence sets, ``taken`` those of classifiers and networks. Raises
    SpinegradeError with the key's path, the value and what is allowed: for a name that is
    another's, a backbone that timm does not know, crops or a sequence set that the architecture
    does not read or misses, a roi set that is unknown, serves other conditions or has another
    shape, and settings of training that contradict each other.
    """
    for name, block in blocks.items():
        where = f"two_stage.graders.{name}"
        if name in taken or name in _RESERVED:
            raise SpinegradeError(
                f"{where}: the name is that of a classifier, of a one-stage network or of the "
                "ensemble; give the grader another name"
            )
        settings = settings_from_config(name, block)
        check_backbone(settings.encoder["backbone"], f"{where}.encoder.backbone")
        if settings.axial_encoder:
            check_backbone(settings.axial_encoder["backbone"], f"{where}.axial_encoder.backbone")
        _check_kinds(where, settings)
        _check_sequence(where, settings, sequences)
        for kind, roi_set in settings.crops.items():
            _check_roi_set(f"{where}.crops.{kind}", kind, roi_set, conditions)
        _check_shapes(where, settings, shapes)
        _check_training(where, settings)


def _check_kinds(where: str, settings: Settings) -> None:
    single = settings.family == "single_view"
    if single == (settings.condition is None):
        allowed = "canal, foraminal" if single else "null, since its conditions are fixed"
        raise SpinegradeError(
            f"{where}.condition is {settings.condition!r}; allowed with {settings.architecture}: "
            f"{allowed}"
        )
    if settings.family == "axial_side":
        wanted = {"subarticular", "beside"}
        if settings.columns != "own":
            raise SpinegradeError(
                f"{where}.columns is {settings.columns!r}: axial_side computes nothing beside its "
                "own columns; leave the key out"
            )
        if settings.tta == "left_right":
            raise SpinegradeError(
                f"{where}.tta is 'left_right': axial_side sees both sides as one already; allowed: "
                "none, flips"
            )
    elif settings.family == "all_view":
        wanted = {"canal", "foraminal"}
    else:
        wanted = {"canal", "foraminal"} if settings.columns == "published" else {settings.condition}
    if set(settings.crops) != wanted:
        raise SpinegradeError(
            f"{where}.crops has {sorted(settings.crops)}; {settings.architecture} with condition "
            f"{settings.condition} and columns {settings.columns} reads exactly {sorted(wanted)}"
        )


def _check_sequence(where: str, settings: Settings, sequences: Collection[str]) -> None:
    wanted = settings.family == "all_view"
    if wanted and settings.sequence not in sequences:
        raise SpinegradeError(
            f"{where}.sequence is {settings.sequence!r}: all_view reads the axial slices of a "
            f"sequence set; allowed: {', '.join(sorted(sequences)) or 'none (rois.sequences)'}"
        )
    if not wanted and settings.sequence is not None:
        raise SpinegradeError(
            f"{where}.sequence is {settings.sequence!r}: {settings.architecture} reads none; leave "
            "the key out"
        )


def _check_roi_set(
    where: str, kind: str, roi_set: str, conditions: Mapping[str, Collection[str]]
) -> None:
    if roi_set not in conditions:
        close = difflib.get_close_matches(roi_set, conditions, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SpinegradeError(
            f"{where} is {roi_set!r}: there is no such roi set{hint} Allowed: "
            f"{', '.join(sorted(conditions))}"
        )
    if CONDITION_OF[kind] not in conditions[roi_set]:
        raise SpinegradeError(
            f"{where} is {roi_set!r}, which crops only {list(conditions[roi_set])}; add "
            f"{CONDITION_OF[kind]} to rois.sets.{roi_set}.conditions"
        )


def _check_shapes(where: str, settings: Settings, shapes: Mapping[str, CropShape]) -> None:
    if settings.family == "axial_side":
        return  # a network each
    seen = {kind: shapes[roi_set].seen for kind, roi_set in settings.crops.items()}
    if len(set(seen.values())) > 1:
        raise SpinegradeError(
            f"{where}.crops differ in (slices, rows, cols): {seen}; one network reads them, give "
            "their roi sets one shape"
        )
    margins = {kind: shapes[roi_set].margin_px for kind, roi_set in settings.crops.items()}
    if len(set(margins.values())) > 1:
        raise SpinegradeError(
            f"{where}.crops differ in margin_px: {margins}; they are read as one array, give their "
            "roi sets one margin"
        )


def _check_training(where: str, settings: Settings) -> None:
    training = settings.training
    if training.patience is not None and settings.select == "last":
        raise SpinegradeError(
            f"{where}.training.patience is {training.patience}, but select: last scores no epoch; "
            "set patience to null, or select to inner"
        )
    if training.accumulate > training.batch_size:
        raise SpinegradeError(
            f"{where}.training.accumulate is {training.accumulate}, more than batch_size "
            f"({training.batch_size}); allowed: at most that"
        )
    least = training.schedule_epochs
    if least is not None and least < training.epochs:
        raise SpinegradeError(
            f"{where}.training.schedule_epochs is {least}, fewer than epochs ({training.epochs}); "
            "allowed: null, or at least that"
        )
