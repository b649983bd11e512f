import json

from spinegrade.crop.settings import sequence_from_config
from spinegrade.grade.views.checks import check_graders
from spinegrade.grade.views.settings import crop_shape
from spinegrade.grade.views.settings import settings_from_config as grader_from_config

GRADERS = config["two_stage"]["graders"]


def plain_shape(slices, stored_slices, in_plane):
    """What a grader's stage is told of stored crops or slices, as plain values."""
    return {
        "slices": slices,
        "slice_margin": (stored_slices - slices) // 2,
        "pixels": list(in_plane.seen_px),
        "margin_px": in_plane.margin_px,
    }


GRADED_SETS = [roi_set_from_config(name, block) for name, block in ROI_SETS.items()]
GRADED_SEQUENCES = [sequence_from_config(name, block) for name, block in SEQUENCES.items()]
GRADED_SHAPES = {
    **{s.name: plain_shape(s.slices.seen, s.slices.stored, s.in_plane) for s in GRADED_SETS},
    # An axial image is a slice between its neighbours.
    **{s.name: plain_shape(3, 3, s.in_plane) for s in GRADED_SEQUENCES},
}
check_graders(
    GRADERS,
    {name: crop_shape(**shape) for name, shape in GRADED_SHAPES.items()},
    {name: block["conditions"] for name, block in ROI_SETS.items()},
    SEQUENCES,
    [*CLASSIFIERS, *NETWORKS],
)


def grader_roi_sets(grader):
    """The roi sets that a grader reads, each once, in the order of its ``crops``."""
    return list(dict.fromkeys(GRADERS[grader]["crops"].values()))


def grader_crops(grader, file):
    """That file of every roi set and shard which a grader reads, set by set."""
    return expand(
        out("rois", "{roi_set}", "{shard}", file),
        roi_set=grader_roi_sets(grader),
        shard=SHARDS,
    )


def grader_sequences(grader, file):
    """That file of every shard of the sequence set which a grader reads, if it does."""
    name = GRADERS[grader]["sequence"]
    return [] if name is None else shards_of(out("rois", name, "{shard}", file))


def grader_shapes(grader):
    """Shapes of the roi sets and of the sequence set that a grader reads."""
    sequence = GRADERS[grader]["sequence"]
    names = [*grader_roi_sets(grader), *([sequence] if sequence else [])]
    return {name: GRADED_SHAPES[name] for name in names}


def grader_made_with(grader):
    """Code and settings of all that a grader's crops and sequences come from."""
    found = roi_sets_made_with(grader_roi_sets(grader))
    sequence = GRADERS[grader]["sequence"]
    if sequence:
        found[sequence] = made_with("crop_sequences", sequence=sequence)
        for detector in detectors_behind([SEQUENCES[sequence]["detector"]]):
            found[detector] = points_made_with(detector)
    return found


def grader_code(stage, grader):
    """Fingerprint of a stage with the architecture of a grader, and its loss."""
    settings = grader_from_config(grader, GRADERS[grader])
    modules = [module_of(settings.architecture), kind_part(stage, "grade", "views")]
    if stage == "train_two_stage":
        modules.append(losses.module_of(settings.training.loss))
    return code_fingerprint(stage, *modules)


def grader_settings(grader, stage):
    """A grader's block; what the stage does not use has one value, so that it reruns nothing.

    In one order, since Snakemake takes another order of the same keys for a change.
    """
    unused = {"ensemble": True}
    if stage == "train_two_stage":
        unused["tta"] = "none"
    # The order of the crops is that of the files.
    crops = GRADERS[grader]["crops"]
    block = json.loads(json.dumps({**GRADERS[grader], **unused}, sort_keys=True))
    return {**block, "crops": crops}


def grader_weights(grader):
    """The weights of a grader's folds: this run's, or all that a finished run has."""
    path = trained("two_stage", grader, "fold_{fold}", "weights.safetensors")
    folds = sorted(glob_wildcards(path).fold, key=int) if APPLY else FOLDS
    if not folds:
        raise SpinegradeError(
            f"models.from: no weights {path}; that run has not trained grader {grader!r}"
        )
    return expand(path, fold=folds)
