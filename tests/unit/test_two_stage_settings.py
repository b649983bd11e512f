"""The two-stage block of the configuration: defaults, and what is refused by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config
from spinegrade.crop.settings import roi_set_from_config
from spinegrade.errors import SpinegradeError
from spinegrade.grade.views.checks import check_graders
from spinegrade.grade.views.settings import (
    PUBLISHED,
    augmentation_keys,
    crop_shape,
    settings_from_config,
)
from spinegrade.grader_layout import SIDED_CONDITIONS, VIEWS, cell_of
from spinegrade.names import LUMBAR_CELLS
from spinegrade.settings import check_settings

PROJECT = Path(__file__).resolve().parents[2]
MINIMAL = {
    "architecture": "view_gru",
    "condition": "foraminal",
    "crops": {"foraminal": "t1"},
    "encoder": {"backbone": "test_resnet"},
}
CONDITIONS = {
    "t1": ["neural_foraminal_narrowing"],
    "t2": ["spinal_canal_stenosis"],
    "wide": ["spinal_canal_stenosis"],
    "edged": ["spinal_canal_stenosis"],
    "axial": ["subarticular_stenosis"],
    "beside": ["subarticular_stenosis"],
}
SHAPES = {
    "t1": crop_shape(3, 1, 64, 8),
    "t2": crop_shape(3, 0, 64, 8),
    "wide": crop_shape(3, 1, [48, 64], 8),
    "edged": crop_shape(3, 1, 64, 4),
    "axial": crop_shape(5, 0, 48, 8),
    "beside": crop_shape(7, 0, 64, 0),
}
RECESS = {
    "architecture": "axial_side",
    "condition": None,
    "crops": {"subarticular": "axial", "beside": "beside"},
}


def grader(**changed: Any) -> dict[str, Any]:
    config = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    config["two_stage"] = {"graders": {"net": copy.deepcopy({**MINIMAL, **changed})}}
    return check_settings(config)["two_stage"]["graders"]["net"]


def test_the_layout_is_that_of_train_csv() -> None:
    assert [cell_of(k, level) for k in range(5) for level in range(5)] == list(LUMBAR_CELLS)
    assert SIDED_CONDITIONS[1] == VIEWS[1] == ("neural_foraminal_narrowing", "left")


def test_defaults_are_the_published_ones() -> None:
    settings = settings_from_config("net", grader())
    training = settings.training
    assert (training.epochs, training.batch_size, training.accumulate) == (25, 32, 2)
    assert (training.learning_rate, training.warmup, training.cycles) == (2e-4, 0.1, 0.475)
    assert (training.weight_decay, training.average_decay) == (1e-5, 0.99)
    assert training.gradient_norm is None and training.grade_weights == [1, 2, 4]
    augmentation = settings.augment
    assert (augmentation.base, augmentation.rotation_degrees) == (0.75, 15)
    assert (augmentation.jitter, augmentation.jitter_px, augmentation.mixup) == (0.5, 5, 0)
    assert (settings.select, settings.tta, settings.columns) == ("last", "none", "own")
    assert settings.network_options(SHAPES) == {
        "backbone": "test_resnet",
        "pretrained": None,
        "drop_path": 0.0,
        "slices": 3,
        "image_px": 64,
        "conditions": (1, 2),
    }


def test_a_canal_grader_has_one_column_a_level_and_three_as_published() -> None:
    own = settings_from_config("net", grader(condition="canal", crops={"canal": "t2"}))
    assert own.sided_conditions == own.graded == (0,)
    both = {"canal": "t2", "foraminal": "t1"}
    published = grader(condition="canal", crops=both, columns="published")
    check_graders({"net": published}, SHAPES, CONDITIONS)
    settings = settings_from_config("net", published)
    assert settings.sided_conditions == (0, 1, 2) and settings.graded == (0,)


def test_augmentation_is_changed_key_by_key() -> None:
    settings = settings_from_config("net", grader(augmentation={"jitter_px": 2, "mixup": 0.1}))
    assert (settings.augment.jitter_px, settings.augment.mixup) == (2, 0.1)
    assert settings.augment.jitter == 0.5
    schema = yaml.safe_load((PROJECT / "resources/schemas/config/two_stage.yaml").read_text())
    block = schema["properties"]["graders"]["additionalProperties"]["properties"]
    assert sorted(block["augmentation"]["properties"]) == sorted(augmentation_keys())
    assert all(set(values) <= set(augmentation_keys()) for values in PUBLISHED.values())


def test_what_does_not_change_what_is_learnt_is_not_in_its_fingerprint() -> None:
    def plain(**changed: Any) -> dict[str, Any]:
        return settings_from_config("net", grader(**changed)).as_dict()

    assert plain() == plain(tta="flips") == plain(ensemble=False)
    assert plain() == plain(training={"checkpoint_epochs": 1})
    assert plain() != plain(training={"epochs": 3}) and plain() != plain(dropout=0.3)


def test_a_rectangular_crop_has_rows_and_columns() -> None:
    assert SHAPES["wide"].seen == (3, 48, 64) and SHAPES["wide"].stored == (5, 64, 80)
    settings = settings_from_config("net", grader(condition="canal", crops={"canal": "wide"}))
    assert settings.network_options(SHAPES)["image_px"] is None


def test_an_axial_grader_reads_two_crops_of_their_own_shapes() -> None:
    block = grader(**RECESS, axial_channels=3)
    check_graders({"net": block}, SHAPES, CONDITIONS)
    settings = settings_from_config("net", block)
    assert settings.sided_conditions == settings.graded == (3, 4)
    assert settings.augment.jitter == 0
    encoder = {"backbone": "test_resnet", "pretrained": None, "drop_path": 0.0}
    assert settings.network_options(SHAPES) == {
        "encoder": encoder,
        "axial_encoder": encoder,
        "sagittal_slices": 4,
        "axial_channels": 3,
        "sagittal_px": 64,
        "axial_px": 48,
    }
    other = grader(**RECESS, axial_encoder={"backbone": "test_convnext"})
    options = settings_from_config("net", other).network_options(SHAPES)
    assert options["axial_encoder"]["backbone"] == "test_convnext"
    assert options["encoder"] == encoder


def test_an_all_view_grader_reads_crops_and_a_sequence_set() -> None:
    crops = {"canal": "t2", "foraminal": "t1"}
    block = grader(architecture="all_view", condition=None, crops=crops, sequence="levels")
    check_graders({"net": block}, SHAPES, CONDITIONS, ["levels"])
    settings = settings_from_config("net", block)
    assert settings.sided_conditions == settings.graded == (0, 1, 2, 3, 4)
    augmentation = settings.augment
    assert (augmentation.jitter, augmentation.jitter_px, augmentation.slice_loss) == (0.2, 3, 0.1)
    assert (augmentation.mixup, augmentation.mixup_epochs, settings.positions) == (0.2, 6, 6)
    shapes = {**SHAPES, "levels": crop_shape(3, 0, 256, 0)}
    options = settings.network_options(shapes)
    assert (options["slices"], options["axial_px"], options["repeated"]) == (3, 256, False)
    with pytest.raises(SpinegradeError, match=r"net\.sequence is 'levels': all_view .*: none \("):
        check_graders({"net": block}, SHAPES, CONDITIONS)
    with pytest.raises(SpinegradeError, match=r"sequence is 'levels': view_gru reads none"):
        check_graders({"net": grader(sequence="levels")}, SHAPES, CONDITIONS, ["levels"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"architecture": "view_lstm"}, r"graders\.net\.architecture is 'view_lstm'; it must be"),
        ({"epochs": 3}, r"unknown key two_stage\.graders\.net\.epochs"),
        ({"training": {"epoch": 3}}, r"net\.training\.epoch; did you mean epochs"),
        ({"augmentation": {"scale": 1.0}}, r"net\.augmentation\.scale is 1\.0"),
    ],
)
def test_the_schema_refuses(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(SpinegradeError, match=words):
        grader(**changed)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"encoder": {"backbone": "resnet19"}}, r"net\.encoder\.backbone is 'resnet19': timm has"),
        ({"condition": None}, r"net\.condition is None; allowed with view_gru: canal"),
        (
            {"crops": {"canal": "t2"}},
            r"crops has \['canal'\]; view_gru with condition foraminal",
        ),
        ({"columns": "published"}, r"columns published reads exactly \['canal', 'foraminal'\]"),
        ({"crops": {"foraminal": "t9"}}, r"crops\.foraminal is 't9': there is no such roi set"),
        ({"crops": {"foraminal": "t2"}}, r"crops\.foraminal is 't2', which crops only"),
        (
            {"columns": "published", "crops": {"foraminal": "t1", "canal": "wide"}},
            r"net\.crops differ in \(slices, rows, cols\)",
        ),
        (
            {"columns": "published", "crops": {"foraminal": "t1", "canal": "edged"}},
            r"net\.crops differ in margin_px",
        ),
        ({**RECESS, "condition": "canal"}, r"condition is 'canal'; allowed with axial_side: null"),
        ({**RECESS, "crops": {"beside": "beside"}}, r"exactly \['beside', 'subarticular'\]"),
        ({**RECESS, "tta": "left_right"}, r"net\.tta is 'left_right': axial_side sees both sides"),
        ({**RECESS, "columns": "published"}, r"net\.columns is 'published': axial_side computes"),
        (
            {**RECESS, "axial_encoder": {"backbone": "resnet19"}},
            r"net\.axial_encoder\.backbone is 'resnet19'",
        ),
        ({"training": {"patience": 4}}, r"patience is 4, but select: last scores no epoch"),
        ({"training": {"batch_size": 1}}, r"accumulate is 2, more than batch_size \(1\)"),
        ({"training": {"schedule_epochs": 9}}, r"schedule_epochs is 9, fewer than epochs \(25\)"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(SpinegradeError, match=words):
        check_graders({"net": grader(**changed)}, SHAPES, CONDITIONS)


def test_the_recipes_hold_the_published_networks() -> None:
    config = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    for recipe in ("two_stage_all_view", "two_stage_axial", "two_stage_sagittal"):
        path = PROJECT / "resources" / "systems" / f"{recipe}.yaml"
        update_config(config, yaml.safe_load(path.read_text()))
    check_settings(config)
    sets = {n: roi_set_from_config(n, block) for n, block in config["rois"]["sets"].items()}
    shapes = {
        name: crop_shape(one.slices.seen, 0, list(one.in_plane.seen_px), one.in_plane.margin_px)
        for name, one in sets.items()
    }
    conditions = {name: one.conditions for name, one in sets.items()}
    graders = config["two_stage"]["graders"]
    check_graders(graders, shapes, conditions, config["rois"]["sequences"])
    families = [settings_from_config(name, block).family for name, block in graders.items()]
    counts = {family: families.count(family) for family in set(families)}
    assert counts == {"single_view": 10, "axial_side": 5, "all_view": 5}
    assert shapes["canal_sampled"].seen == shapes["foramen_sampled"].seen == (5, 128, 128)
    recess = settings_from_config("net", graders["axial_rexnetr_z5"]).network_options(shapes)
    assert (recess["sagittal_slices"], recess["axial_channels"]) == (4, 3)


@pytest.mark.parametrize("name", ["small", "prior", "ensemble"])
def test_a_name_of_its_own(name: str) -> None:
    with pytest.raises(SpinegradeError, match=rf"graders\.{name}: the name is that of"):
        check_graders({name: grader()}, SHAPES, CONDITIONS, taken=["small"])
