from spinegrade.localise.heatmap.settings import check_detectors
from spinegrade.losses import registry as losses
from spinegrade.models.registry import module_of
from spinegrade.training.kinds import module_of as module_of_kind

DETECTORS = config["keypoints"]["detectors"]
check_detectors(DETECTORS)


def detector_weights(detector):
    """The weights of a detector's folds: this run's, or all that a finished run has."""
    path = trained("keypoints", detector, "fold_{fold}", "weights.safetensors")
    folds = sorted(glob_wildcards(path).fold, key=int) if APPLY else FOLDS
    if not folds:
        raise SpinegradeError(
            f"models.from: no weights {path}; that run has not trained detector {detector!r}"
        )
    return expand(path, fold=folds)


def kind_part(stage, room, kind):
    """The module of a kind of learner that a stage runs."""
    return module_of_kind(room, kind, "learn" if stage.startswith("train_") else "apply")


def detector_code(stage, detector):
    """Fingerprint of a stage with the architecture that a detector names, and its loss."""
    block = DETECTORS[detector]
    modules = [module_of(block["architecture"]["name"]), kind_part(stage, "localise", "heatmap")]
    if stage == "train_keypoints":
        modules.append(losses.module_of(block["training"]["loss"]))
    return code_fingerprint(stage, *modules)


def level_keypoints(wildcards):
    """Keypoints of the shard that tell an axial detector where the levels lie."""
    sources = DETECTORS[wildcards.detector]["levels_from"]
    return [out("keypoints", source, f"{wildcards.shard}.parquet") for source in sources]
