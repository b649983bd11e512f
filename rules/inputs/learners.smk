from spinegrade.crop.settings import check_roi_sets, check_sequences
from spinegrade.crop.settings import roi_set_from_config, sequence_from_config
from spinegrade.errors import SpinegradeError
from spinegrade.learners import Crops, check_learners, learners_of
from spinegrade.localise.coordinates.projection import check_projections
from spinegrade.regions.registry import region_named
from spinegrade.training.kinds import ROOMS

LEARNERS = learners_of(config["learners"])
IN_ROOM = {room: [n for n, one in LEARNERS.items() if one.room == room] for room in ROOMS}
PROJECTIONS = config["projections"]
# By all that find points by themselves, the conditions whose points they find.
FOUND_BY = {n: list(one.finds) for n, one in LEARNERS.items() if one.finds}
check_projections(PROJECTIONS, FOUND_BY, LEARNERS)
FOUND_BY |= {name: ["subarticular"] for name in PROJECTIONS}

ROI_SETS, SEQUENCES = config["crop"]["sets"], config["crop"]["sequences"]
check_roi_sets(ROI_SETS, FOUND_BY, region_named(REGION))
check_sequences(SEQUENCES, ROI_SETS, FOUND_BY)
CROPPED = {
    **{
        name: roi_set_from_config(name, block, region_named(REGION))
        for name, block in ROI_SETS.items()
    },
    **{name: sequence_from_config(name, block) for name, block in SEQUENCES.items()},
}
CROPS = Crops(
    {name: block["conditions"] for name, block in ROI_SETS.items()},
    {name for name in ROI_SETS if CROPPED[name].in_plane.is_square},
    list(SEQUENCES),
    {name: one.shape for name, one in CROPPED.items()},
)
check_learners(LEARNERS, CROPS, len(FOLDS), [*PROJECTIONS, *config["combine"]["outside"]])

# The canvases that learners look at: condition_canvas -> (condition, side in px).
CANVASES = {
    f"{wanted[0]}_{wanted[1]}": wanted
    for wanted in dict.fromkeys(one.needs("train").canvas for one in LEARNERS.values())
    if wanted
}
# Graders that find points, too.
POINT_GRADERS = [name for name in IN_ROOM["grade"] if LEARNERS[name].outputs]


def any_of(names):
    """A wildcard's constraint to these names; to none where there are none."""
    return "|".join(names) or "none"


def of_folds(room, name, file):
    """That file of all folds: this run's, or all that a finished run has."""
    path = trained(room, name, "fold_{fold}", file)
    folds = sorted(glob_wildcards(path).fold, key=int) if APPLY else FOLDS
    if not folds:
        raise SpinegradeError(
            f"models.from: no {path}; that run has not trained {name!r}", code="WEIGHTS_MISSING"
        )
    return expand(path, fold=folds)


def weights_of(name):
    """The weights of a learner's folds."""
    return of_folds(LEARNERS[name].room, name, "weights.safetensors")


def crop_files(sets, file):
    """That file of every shard of these sets of crops, set by set."""
    return [path for name in sets for path in shards_of(out("crop", name, "{shard}", file))]


def learner_inputs(name, stage):
    """What a stage of a learner reads of all shards, by the names of its inputs."""
    needs = LEARNERS[name].needs(stage)
    found = {"studies": [out("cohort", "studies.parquet")]}
    if stage == "train" or not APPLY:
        # To models that were trained elsewhere every study is new: no folds.
        found["folds"] = [out("cohort", "folds.parquet")]
    if "labels" in needs.tables:
        found["labels"] = [out("cohort", "labels.parquet")]
    for table in ("stacks", "landmarks"):
        if table in needs.tables:
            found[table] = shards_of(out("convert", "{shard}", f"{table}.parquet"))
    if needs.canvas:
        canvas = "_".join(map(str, needs.canvas))
        found["volumes"] = shards_of(out("grade", "canvases", canvas, "{shard}.npy"))
    if needs.sets:
        found["arrays"] = crop_files(needs.sets, "rois.npy")
        found["tables"] = crop_files(needs.sets, "rois.parquet")
    if needs.sequence:
        found["slices"] = crop_files([needs.sequence], "slices.npy")
        found["sequences"] = crop_files([needs.sequence], "sequences.parquet")
    return found


def points_behind(names):
    """Those who find points among ``names``, and those whose points guide them, sorted."""
    guides = {guide for name in names for guide in guides_of(name)}
    return sorted({*names, *(points_behind(sorted(guides)) if guides else ())})


def guides_of(name):
    """Whose points a localiser or a projection starts from."""
    if name in PROJECTIONS:
        return PROJECTIONS[name]["points_of"]
    return LEARNERS[name].needs("predict").points


def detectors_of(name):
    """Whose points the crops of a learner lie around."""
    needs = LEARNERS[name].needs("train")
    crops = [*needs.sets, *([needs.sequence] if needs.sequence else [])]
    return list(dict.fromkeys(CROPPED[crop].detector for crop in crops))


def points_made_with(name):
    """Code and settings of the rules that find the points of a localiser or a projection."""
    if name in PROJECTIONS:
        return made_with("fit_projection", "project_keypoints", projection=name)
    found = made_with("train_localiser", "infer_localiser", learner=name)
    places = LEARNERS[name].needs("predict").places
    return found | ({"xy": made_with("train_localiser", learner=places)} if places else {})


def learner_made_with(name):
    """Code and settings of all that a learner's training takes as ancient inputs."""
    needs = LEARNERS[name].needs("train")
    found = made_with("index_cohort", "split_folds", "convert_dicom", "locate_landmarks")
    if needs.canvas:
        canvas = "_".join(map(str, needs.canvas))
        found |= made_with("prepare_canvases", canvas=canvas)
    for roi_set in needs.sets:
        found[roi_set] = made_with("crop_rois", roi_set=roi_set)
    if needs.sequence:
        found[needs.sequence] = made_with("crop_sequences", sequence=needs.sequence)
    for detector in points_behind(detectors_of(name)):
        found[detector] = points_made_with(detector)
    return found


def learner_digest(name, fold):
    """Over what a training reads of the delivered data: all train studies, or those outside its

    fold where it reads nothing that other trainings made, nor the fold that it chooses by.
    """
    one = LEARNERS[name]
    kinds = ("files", "series", "landmarks", *(["labels"] if one.room == "grade" else []))
    if detectors_of(name) or one.settings.select == "published":
        return delivered_digest("training_digest", None, *kinds, "folds")
    return delivered_digest("training_digest", int(fold), *kinds)


def learner_code(script, name, stage):
    """Fingerprint of a stage with the modules that a learner names."""
    one = LEARNERS[name]
    places = one.needs(stage).places
    more = LEARNERS[places].modules(stage) if places else ()
    return code_fingerprint(script, *one.modules(stage), *more)


def learner_params(script, stage):
    """The params of a rule of learners that its stage script reads."""

    def of(wanted):
        return lambda w: wanted(LEARNERS[w.learner])

    return {
        "code": lambda w: learner_code(script, w.learner, stage),
        "room": of(lambda one: one.room),
        "kind": of(lambda one: one.kind),
        "block": of(lambda one: one.needs(stage).block),
        "given": of(lambda one: {"shapes": shapes_of(one.needs(stage))}),
        "seed": config["runtime"]["seed"],
        "math_threads": config["runtime"]["math_threads"],
        "device": config["runtime"]["device"],
    }


def shapes_of(needs):
    """Shapes of the crops that are read, as plain values."""
    names = [*needs.sets, *([needs.sequence] if needs.sequence else [])]
    return {name: CROPS.shapes[name]._asdict() for name in names}


def memory_of(stage):
    """Resource function: MB of memory; a GPU's process needs more."""

    def mb(wildcards):
        needs = LEARNERS[wildcards.learner].needs(stage)
        return needs.mem_mb + (needs.cuda_mb if gpus_here() else 0)

    return mb


def minutes_of(stage):
    """Resource function: minutes at most."""
    return lambda w: LEARNERS[w.learner].needs(stage).minutes
