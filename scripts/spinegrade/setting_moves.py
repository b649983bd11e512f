"""Keys of earlier configurations, and the keys that took their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_TRAINING = {"warmup": "warm_up", "ema_decay": "average_decay", "accumulate": "accumulation"}
_CROPPED = {"slices.sampled.entries": "slices.sampled.as_published: [entries]"}
_ENCODER = {"backbone": "model.encoder.backbone", "pretrained": "model.encoder.pretrained"}

# By entry of an old block: where it went, and by key of the entry the one in its place.
MOVED: dict[str, tuple[str, dict[str, str]]] = {
    "keypoints.detectors": (
        "learners.* (kind: heatmap)",
        {
            "target": "finds",
            "architecture": "model",
            "grid": "input",
            "training.clip_norm": "training.gradient_norm",
            "training.loss": "training.loss.name",
            "training.sigma_mm": "training.loss.sigma_mm",
            "training.sigma_slices": "training.loss.sigma_slices",
            "augmentation": "augment",
            "augmentation.curve": "augment.gamma",
        },
    ),
    "keypoints.regressors": (
        "learners.* (kind: coordinates, or axial_levels)",
        {
            "kind": "kind, finds and sees",
            "inputs": "finds",
            "target": "finds",
            **_ENCODER,
            **{key: f"input.{key}" for key in ("frame_px", "image_px", "depth")},
            **{key: f"input.{key}" for key in ("crop_px", "slice_mm")},
            "target_scale.in_plane": "input.in_plane",
            "target_scale.slices": "input.along",
            "loss_weight": "training.loss.weight",
            "entries": "as_published: [entries]",
            "attention": "as_published: [attention]",
            "flips": "as_published: [flip]",
            "training.further_epochs": "training.schedule_epochs",
            "augmentation": "augment",
        },
    ),
    "keypoints.projections": ("projections.*", {}),
    "rois.sets": ("crop.sets.*", _CROPPED),
    "rois.sequences": ("crop.sequences.*", {}),
    "classifiers": (
        "learners.* (kind: cells)",
        {
            "views": "reads",
            **_ENCODER,
            "pooling": "model.name: slice_channels, slice_attention or slice_gru",
            "share_encoder": "model.share_encoder",
            "dropout": "model.dropout",
            "drop_path": "model.encoder.drop_path",
            "head": "model",
            "loss": "training.loss.name",
            **{
                key: f"training.{_TRAINING.get(key, key)}"
                for key in (
                    *("epochs", "batch_size", "learning_rate", "weight_decay", "warmup"),
                    *("ema_decay", "validate_every", "precision_cpu", "precision_cuda"),
                )
            },
            "test_draws": "looks: [plain, mirrored, jittered]",
            "augmentation": "augment",
            "augmentation.rotate_degrees": "augment.rotation_degrees",
        },
    ),
    "one_stage.networks": (
        "learners.* (kind: volumes)",
        {
            "target": "grades, model.name and training.loss.name",
            "encoder": "model.encoder",
            "decoder.widths": "model.widths",
            "decoder.head_channels": "model.feature_channels (foraminal), model.z_channels (canal)",
            "canvas_px": "input.canvas_px",
            "image_px": "input.image_px",
            "flip": "as_published: [flip]",
            "matching": "as_published: [matching]",
            "training.finish": "training.stages",
            "augmentation": "augment",
            **{
                f"augmentation.{key}": f"as_published: [{key}]"
                for key in ("recentre", "motion", "mask_offset")
            },
            "tta": "looks: [plain, mirrored]",
            "ensemble": "systems.one_stage.members",
        },
    ),
    "two_stage.graders": (
        "learners.* (kind: views, or levels)",
        {
            "architecture": "model.name",
            "condition": "grades",
            "crops": "reads",
            "positions": "input.positions",
            "columns": "as_published: [columns]",
            "encoder": "model.encoder",
            "axial_encoder": "model.axial_encoder",
            "axial_channels": "input.axial_channels",
            "dropout": "model.dropout",
            "augmentation": "augment",
            "training.accumulate": "training.accumulation",
            "training.warmup": "training.warm_up",
            "training.loss": "training.loss.name",
            "training.grade_weights": "training.loss.grade_weights",
            "tta": "looks: [plain, flipped] or [plain, mirrored]",
            "ensemble": "systems.two_stage.members",
        },
    ),
}
_WHOLE = {"ensemble": "combine"}
_BLOCKS = {*_WHOLE, *(entry.split(".")[0] for entry in MOVED)}

# They mean other things elsewhere.
_LEFT_OUT = {"kind", "loss", "head", "in_plane", "slices"}
_RENAMED = {
    path.rpartition(".")[2]: new for _, keys in MOVED.values() for path, new in keys.items()
} | {"target": "finds (localisers) or grades (graders)", "entries": "as_published: [entries]"}


class SettingProblem(NamedTuple):
    """What is wrong with a setting: the path of its ``key``, and ``text``, a sentence on it."""

    key: str
    text: str


def renamed(where: str, key: str) -> str | None:
    """What the old ``key`` of a learner or a set of crops is called now, seen from its block."""
    if key in _LEFT_OUT or not where.startswith(("learners.", "crop.")):
        return None
    new = _RENAMED.get(key)
    return new and new.removeprefix(f"{where.rpartition('.')[2]}.")


def moved_keys(config: Mapping[str, Any]) -> list[SettingProblem]:
    """On each entry and each renamed key of an old block: where it is now."""
    problems = []
    for block in sorted(_BLOCKS & {*map(str, config)}):
        found = [(old, new) for old, new in _moved(block, config[block])]
        found = found or [(block, _WHOLE.get(block) or _targets_of(block))]
        problems += [SettingProblem(old, f"{old} is now {new}") for old, new in found]
    return problems


def _targets_of(block: str) -> str:
    places = (to for entry, (to, _) in MOVED.items() if entry.split(".")[0] == block)
    return " or ".join(place.split(".*")[0] for place in dict.fromkeys(places))


def _moved(block: str, content: Any) -> Iterator[tuple[str, str]]:
    for entry, (to, keys) in MOVED.items():
        inner = entry.split(".")
        if inner[0] != block or not isinstance(content, Mapping):
            continue
        named = content if len(inner) == 1 else content.get(inner[1])
        for name, given in named.items() if isinstance(named, Mapping) else ():
            yield f"{entry}.{name}", to.replace("*", name, 1)
            place = to.split(" ")[0].replace("*", name, 1)
            for old, new in keys.items():
                if _has(given, old.split(".")):
                    whole = new if new.startswith("systems.") else f"{place}.{new}"
                    yield f"{entry}.{name}.{old}", whole


def _has(given: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(given, Mapping) or key not in given:
            return False
        given = given[key]
    return True
