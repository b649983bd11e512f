from spinegrade.classifiers.settings import CropShape, check_classifiers, settings_from_config
from spinegrade.errors import SpinegradeError
from spinegrade.models.registry import module_of
from spinegrade.rois.settings import roi_set_from_config

CLASSIFIERS = {n: settings_from_config(n, block) for n, block in config["classifiers"].items()}
CROP_SHAPES = {n: roi_set_from_config(n, block).shape_as_seen() for n, block in ROI_SETS.items()}
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
    """Fingerprint of a stage with the models that a classifier names."""
    architecture = module_of(CLASSIFIERS[classifier].architecture)
    return code_fingerprint(stage, module_of("cell_grader"), architecture)


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


rule train_classifier:
    input:
        arrays=lambda w: crops_of(w.classifier, "rois.npy"),
        tables=lambda w: crops_of(w.classifier, "rois.parquet"),
    output:
        weights=out("classifiers", "{classifier}", "fold_{fold}", "weights.safetensors"),
        history=out("classifiers", "{classifier}", "fold_{fold}", "history.csv"),
    log:
        log_of("train_classifier_{classifier}_{fold}"),
    benchmark:
        benchmark_of("train_classifier_{classifier}_{fold}")
    wildcard_constraints:
        classifier="|".join(CLASSIFIERS),
        fold=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=3000,
        runtime=720,
        gpu=1,
    params:
        code=lambda w: classifier_code("train_classifier", w.classifier),
        classifier=lambda w: config["classifiers"][w.classifier],
        shapes=lambda w: crop_shapes_of(w.classifier),
        checkpoint=out("classifiers", ".checkpoints", "{classifier}_fold_{fold}.pt"),
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Training fold {wildcards.fold} of classifier {wildcards.classifier}"
    script:
        "../scripts/train_classifier.py"


rule predict_classifier:
    input:
        weights=lambda w: weights_of(w.classifier),
        arrays=lambda w: crops_of(w.classifier, "rois.npy"),
        tables=lambda w: crops_of(w.classifier, "rois.parquet"),
    output:
        out_of_fold=out("classifiers", "{classifier}", "oof.parquet"),
        new=out("classifiers", "{classifier}", "new.parquet"),
    log:
        log_of("predict_classifier_{classifier}"),
    benchmark:
        benchmark_of("predict_classifier_{classifier}")
    wildcard_constraints:
        classifier="|".join(CLASSIFIERS),
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=1,
    params:
        code=lambda w: classifier_code("predict_classifier", w.classifier),
        classifier=lambda w: config["classifiers"][w.classifier],
        shapes=lambda w: crop_shapes_of(w.classifier),
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Predicting with classifier {wildcards.classifier}, each study by a model that never saw it"
    script:
        "../scripts/predict_classifier.py"
