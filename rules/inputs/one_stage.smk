import json
from collections import namedtuple

from spinegrade.grade.volumes.settings import check_networks, settings_from_config

NETWORKS = config["one_stage"]["networks"]
check_networks(NETWORKS, config["cohort"]["folds"], config["classifiers"])
# Networks of one target and canvas look at the same canvases: target_canvas -> (target, canvas).
CANVASES = {
    f"{block['target']}_{block['canvas_px']}": (block["target"], block["canvas_px"])
    for block in NETWORKS.values()
}

FlipPair = namedtuple("FlipPair", ("bugged", "fixed"))


def canvases_of(network):
    """The prepared canvases of every shard that a network looks at."""
    block = NETWORKS[network]
    return shards_of(
        out("one_stage", "canvases", f"{block['target']}_{block['canvas_px']}", "{shard}.npy")
    )


def network_code(stage, network):
    """Fingerprint of a stage with the architecture of a network, and its loss."""
    settings = settings_from_config(network, NETWORKS[network])
    modules = [module_of(settings.architecture), kind_part(stage, "grade", "volumes")]
    if stage == "train_one_stage":
        modules.append(losses.module_of(settings.loss))
    return code_fingerprint(stage, *modules)


def network_settings(network, stage):
    """A network's block; what the stage does not use has one value, so that it reruns nothing.

    In one order, since Snakemake takes another order of the same keys for a change.
    """
    unused = {"ensemble": True}
    if stage == "train_one_stage":
        unused["tta"] = "none"
    return json.loads(json.dumps({**NETWORKS[network], **unused}, sort_keys=True))


def network_digest(network, fold):
    """Over what a network learns from: the train studies outside the fold, or all of them."""
    kinds = ("files", "series", "landmarks", "labels")
    if NETWORKS[network]["select"] == "published":
        return delivered_digest("training_digest", None, *kinds, "folds")
    return delivered_digest("training_digest", int(fold), *kinds)


def canvases_made_with(network):
    """Code and settings of all that a network's training takes as ancient inputs."""
    block = NETWORKS[network]
    canvas = f"{block['target']}_{block['canvas_px']}"
    return {
        **made_with("index_cohort", "split_folds", "convert_dicom", "locate_landmarks"),
        **made_with("prepare_one_stage", canvas=canvas),
    }


def network_weights(network):
    """The weights of a network's folds: this run's, or all that a finished run has."""
    path = trained("one_stage", network, "fold_{fold}", "weights.safetensors")
    folds = sorted(glob_wildcards(path).fold, key=int) if APPLY else FOLDS
    if not folds:
        raise SpinegradeError(
            f"models.from: no weights {path}; that run has not trained network {network!r}"
        )
    return expand(path, fold=folds)


def flip_pairs():
    """The pairs of networks whose blocks differ in ``flip`` and in nothing else."""

    def rest(name):
        return {k: v for k, v in NETWORKS[name].items() if k not in ("flip", "ensemble")}

    bugged = [name for name, block in NETWORKS.items() if block["flip"] == "bugged"]
    fixed = [name for name, block in NETWORKS.items() if block["flip"] == "fixed"]
    return [FlipPair(a, b) for a in bugged for b in fixed if rest(a) == rest(b)]


FLIP_PAIRS = flip_pairs()
