"""Any timm image network as a feature extractor, with weights from a hub, a file or a package."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.torch_setup import import_timm


def build(
    backbone: str,
    channels: int = 3,
    pretrained: str | None = None,
    image_px: int | None = None,
    drop_path: float = 0.0,
) -> nn.Module:
    """The timm network ``backbone`` without its classifier: (n, channels, h, w) to (n, features).

    ``num_features`` says how many features. ``pretrained`` is None (random weights),
    ``timm`` (timm's own, from its hub), the path of a weight file (.safetensors, or a .pth
    of plain tensors) or the name of an installed package that carries one. The first
    convolution is adapted to ``channels``. ``image_px`` is passed to networks whose shape
    depends on it.

    Raises SpinegradeError for a network that timm does not know, with close names, and for
    weights that are absent or do not fit.
    """
    options = {"num_classes": 0}
    if image_px is not None and backbone.startswith(("vit", "swin", "coat", "maxvit", "deit")):
        options["img_size"] = image_px
    network = create_network(backbone, channels, pretrained, drop_path, **options)
    # Some networks widen their features once more before the classifier.
    network.num_features = getattr(network, "head_hidden_size", None) or network.num_features
    return network


def create_network(
    backbone: str, channels: int, pretrained: str | None, drop_path: float, **options: Any
) -> nn.Module:
    """``timm.create_model`` with ``build``'s refusals and sources of weights.

    ``options`` are further ones of ``timm.create_model``.
    """
    timm = import_timm()
    if not timm.is_model(backbone):
        close = difflib.get_close_matches(backbone, timm.list_models(), 3, 0.5)
        raise SpinegradeError(
            f"backbone {backbone!r} is no network of timm {timm.__version__}; close names: "
            f"{', '.join(close) or 'none'}",
            code="ENCODER_UNKNOWN",
        )
    options["in_chans"] = channels
    if drop_path > 0:
        options["drop_path_rate"] = drop_path
    if pretrained == "timm":
        return _from_hub(timm, backbone, options)
    network = timm.create_model(backbone, **options)
    if pretrained is not None:
        load_weights(network, backbone, weight_file(pretrained), channels)
    return network


def _from_hub(timm: object, name: str, options: dict[str, object]) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:
        raise SpinegradeError(
            f"the weights of {name} could not be fetched ({type(error).__name__}: {error}); where "
            "no hub can be reached set `pretrained` to null, a file or a package",
            code="ENCODER_NOT_FETCHED",
        ) from error


def weight_file(source: str) -> Path:
    """The weight file that ``source`` names: a path, or an installed package that holds one.

    Raises SpinegradeError when there is none, or a package holds several.
    """
    path = Path(source)
    if path.is_file():
        return path
    module = source.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise SpinegradeError(
            f"pretrained is {source!r}: neither a file nor an installed package; give a path, a "
            "package's name, 'timm' or null",
            code="ENCODER_WEIGHTS_MISSING",
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    files = sorted(f for f in folder.rglob("*") if f.suffix in (".pth", ".pt", ".safetensors"))
    if len(files) != 1:
        raise SpinegradeError(
            f"pretrained is {source!r}: the package holds {len(files)} weight files, expected one; "
            "give the path of the one to use",
            code="ENCODER_WEIGHTS_MANY",
        )
    return files[0]


def load_weights(network: nn.Module, name: str, path: Path, channels: int) -> None:
    """Fill ``network`` in place from ``path``.

    Tensors are matched by name, or, where a publication uses names of its own, in order:
    then counters (num_batches_tracked) and the classifier are left out, and every shape must
    agree. The filters of an RGB first convolution become those of ``channels`` channels by
    repetition, scaled so that a grey image gives the same response.
    """
    try:
        stored = _read(path)
    except Exception as error:
        # Each reader has exceptions of its own; all mean that these are no weights.
        raise SpinegradeError(
            f"{path}: no weights that can be read ({type(error).__name__}); give a file of "
            "tensors, as .safetensors or saved by torch",
            code="ENCODER_WEIGHTS_UNREADABLE",
        ) from error
    found = {key: value for key, value in stored.items() if "num_batches_tracked" not in key}
    wanted = {k: v for k, v in network.state_dict().items() if "num_batches_tracked" not in k}
    if not set(wanted) <= set(found):
        found = dict(zip(wanted, found.values(), strict=False))
    if len(found) < len(wanted):
        raise SpinegradeError(
            f"{path}: {len(found)} tensors, but {name} has {len(wanted)}; are these its weights?",
            code="ENCODER_WEIGHTS_OF_ANOTHER",
        )
    first = next(iter(wanted))
    filters = found[first]
    if filters.ndim == 4 and filters.shape[1] != channels:
        times = -(-channels // filters.shape[1])
        scale = filters.shape[1] / channels
        found[first] = filters.repeat(1, times, 1, 1)[:, :channels] * scale
    for key, value in wanted.items():
        if found[key].shape != value.shape:
            raise SpinegradeError(
                f"{path}: tensor {key} has shape {tuple(found[key].shape)}, but {name} needs "
                f"{tuple(value.shape)}; are these its weights?",
                code="ENCODER_WEIGHTS_OF_ANOTHER",
            )
    network.load_state_dict({key: found[key] for key in wanted}, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
