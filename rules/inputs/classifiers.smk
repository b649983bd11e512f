from spinegrade.grade.cells.settings import CropShape, check_classifiers, settings_from_config
from spinegrade.errors import SpinegradeError
from spinegrade.models.registry import module_of
from spinegrade.crop.settings import roi_set_from_config

CLASSIFIERS = {n: settings_from_config(n, block) for n, block in config["classifiers"].items()}
# Of square crops only, which are what classifiers take.
CROP_SHAPES = {
    roi_set.name: roi_set.shape_as_seen()
    for roi_set in (roi_set_from_config(name, block) for name, block in ROI_SETS.items())
    if roi_set.in_plane.is_square
}
check_classifiers(
    config["classifiers"],
    {name: CropShape(**shape) for name, shape in CROP_SHAPES.items()},
    {name: block["conditions"] for name, block in ROI_SETS.items()},
)


def crops_of(classifier, file):
    """That file of every roi set and shard which a classifier reads, set by set."""
    return expand(
        out("rois", "{roi_set}", "{shard}", file),
        roi_set=CLASSIFIERS[classifier].roi_sets,
        shard=SHARDS,
    )


def classifier_code(stage, classifier):
    """Fingerprint of a stage with the models that a classifier names, and its loss."""
    settings = CLASSIFIERS[classifier]
    modules = [module_of("cell_grader"), module_of(settings.architecture)]
    modules.append(kind_part(stage, "grade", "cells"))
    if stage == "train_classifier":
        modules.append(losses.module_of(settings.loss))
    return code_fingerprint(stage, *modules)


def roi_sets_made_with(roi_sets):
    """Code and settings of all that the crops of these roi sets come from."""
    found = made_with("index_cohort", "split_folds", "convert_dicom", "locate_landmarks")
    for roi_set in roi_sets:
        found[roi_set] = made_with("crop_rois", roi_set=roi_set)
    for detector in detectors_behind([ROI_SETS[roi_set]["detector"] for roi_set in roi_sets]):
        found[detector] = points_made_with(detector)
    return found


def detectors_behind(detectors):
    """These detectors and those whose points guide them, sorted."""
    guides = {guide for name in detectors for guide in guides_of(name)}
    return sorted({*detectors, *(detectors_behind(sorted(guides)) if guides else ())})


def crop_shapes_of(classifier):
    """Shapes of the roi sets that a classifier reads."""
    return {name: CROP_SHAPES[name] for name in CLASSIFIERS[classifier].roi_sets}


def weights_of(classifier):
    """The weights of a classifier's folds: this run's, or all that a finished run has."""
    path = trained("classifiers", classifier, "fold_{fold}", "weights.safetensors")
    folds = sorted(glob_wildcards(path).fold, key=int) if APPLY else FOLDS
    if not folds:
        raise SpinegradeError(
            f"models.from: no weights {path}; that run has not trained classifier {classifier!r}"
        )
    return expand(path, fold=folds)
