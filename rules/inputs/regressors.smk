import json

from spinegrade.errors import SpinegradeError
from spinegrade.localise.coordinates.checks import check_regressors
from spinegrade.localise.coordinates.projection import check_projections
from spinegrade.localise.coordinates.settings import LEVELS, PLACES, kind_of
from spinegrade.localise.coordinates.settings import settings_from_config as regressor_from_config

check_regressors(config["keypoints"]["regressors"], DETECTORS)
REGRESSORS = {
    name: regressor_from_config(name, block)
    for name, block in config["keypoints"]["regressors"].items()
}
# By regressor the one that tells x and y in the slices that it tells, for those that need one.
XY_FROM = {
    name: config["keypoints"]["regressors"][name]["xy_from"]
    for name, one in REGRESSORS.items()
    if one.kind == LEVELS
}
# Those that find points by themselves; one of single axial slices needs to be told the slice.
POINT_REGRESSORS = [name for name, one in REGRESSORS.items() if one.kind != PLACES]
# What each detector of any family looks for.
FOUND_BY = {
    **{name: [block["target"]] for name, block in DETECTORS.items()},
    **{name: [t.name for t in REGRESSORS[name].targets] for name in POINT_REGRESSORS},
}
PROJECTIONS = config["keypoints"]["projections"]
check_projections(PROJECTIONS, FOUND_BY, {*DETECTORS, *REGRESSORS})
FOUND_BY |= {name: ["subarticular"] for name in PROJECTIONS}


def regressor_weights(regressor):
    """The weights of a regressor's folds: this run's, or all that a finished run has."""
    path = trained("keypoints", regressor, "fold_{fold}", "weights.safetensors")
    folds = sorted(glob_wildcards(path).fold, key=int) if APPLY else FOLDS
    if not folds:
        raise SpinegradeError(
            f"models.from: no weights {path}; that run has not trained regressor {regressor!r}"
        )
    return expand(path, fold=folds)


def projection_offsets(projection):
    """The steps of a projection's folds: this run's, or all that a finished run has."""
    path = trained("keypoints", projection, "fold_{fold}", "offsets.json")
    folds = sorted(glob_wildcards(path).fold, key=int) if APPLY else FOLDS
    if not folds:
        raise SpinegradeError(
            f"models.from: no steps {path}; that run has no projection {projection!r}"
        )
    return expand(path, fold=folds)


def regressor_code(stage, regressor):
    """Fingerprint of a stage with the architecture of a regressor, and its loss."""
    settings = REGRESSORS[regressor]
    kind = kind_of(config["keypoints"]["regressors"][regressor])
    modules = [module_of(settings.architecture), kind_part(stage, "localise", kind)]
    if stage == "train_regressor":
        modules.append(losses.module_of(settings.loss))
    elif regressor in XY_FROM:
        modules.append(module_of(REGRESSORS[XY_FROM[regressor]].architecture))
    return code_fingerprint(stage, *modules)


def regressor_block(regressor):
    """A regressor's block as its training uses it, whatever tells x and y or the slice later.

    In one order, since Snakemake takes another order of the same keys for a change.
    """
    block = {**config["keypoints"]["regressors"][regressor], "xy_from": None}
    del block["entries"]
    return json.loads(json.dumps(block, sort_keys=True))


def regressor_digest(regressor, fold):
    """Over what a regressor learns from: the train studies outside the fold, or all of them."""
    kinds = ("files", "series", "landmarks")
    if REGRESSORS[regressor].select == "published":
        return delivered_digest("training_digest", None, *kinds, "folds")
    return delivered_digest("training_digest", int(fold), *kinds)


def guides_of(detector):
    """The detectors whose points a detector of any family starts from."""
    if detector in PROJECTIONS:
        return PROJECTIONS[detector]["points_of"]
    return DETECTORS[detector]["levels_from"] if detector in DETECTORS else []


def points_made_with(detector):
    """Code and settings of the rules that a detector of any family is trained and applied by."""
    if detector in PROJECTIONS:
        return made_with("fit_projection", "project_keypoints", detector=detector)
    family = "keypoints" if detector in DETECTORS else "regressor"
    found = made_with(f"train_{family}", f"infer_{family}", detector=detector)
    if detector in XY_FROM:
        found["xy"] = made_with("train_regressor", detector=XY_FROM[detector])
    return found
