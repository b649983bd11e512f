"""Systems of the configuration: members, families, pairs that differ in a published fault."""

from __future__ import annotations

from typing import Any

import pytest
from learner_blocks import config_with
from refusals import refused
from spinegrade.learners import learners_of
from spinegrade.systems import WHOLE, System, check_systems, systems_of

CELLS = {
    "kind": "cells",
    "reads": {"canal": ["canal_axial"]},
    "model": {"encoder": {"backbone": "test_resnet"}},
}
VOLUMES = {
    "kind": "volumes",
    "grades": "foraminal",
    "model": {"name": "one_stage_foraminal", "encoder": {"backbone": "test_resnet"}},
    "training": {"loss": {"name": "one_stage_foraminal"}},
}
LEARNERS = {
    "a": CELLS,
    "b": CELLS,
    "good": VOLUMES,
    "bad": {**VOLUMES, "as_published": ["flip"]},
    "worse": {**VOLUMES, "as_published": ["flip", "matching"]},
    "other": {**VOLUMES, "as_published": ["flip"], "select": "inner"},
}


def checked(system: dict[str, Any], run: tuple[str, ...] = ("net",)) -> System:
    config = config_with(LEARNERS, systems={"net": system})
    systems = systems_of(config["systems"])
    check_systems(systems, run, learners_of(config["learners"]), ["sagittal_t1", "projected"])
    return systems["net"]


def test_members_may_be_listed_or_be_keys_and_families_are_members_too() -> None:
    assert checked({"members": ["b", "a"]}).members == ("b", "a")
    assert checked({"members": {"b": True, "a": True}}).blends == {WHOLE: ("b", "a")}
    both = checked({"families": {"one": ["a", "good"], "two": ["b"]}})
    assert both.blends == {WHOLE: ("a", "good", "b"), "one": ("a", "good"), "two": ("b",)}
    # One family alone is the whole: there is nothing to compare it with.
    assert checked({"families": {"one": ["a", "b"]}}).blends == {WHOLE: ("a", "b")}


def test_what_is_compared_and_shown_belongs_to_a_system() -> None:
    pairs = [["bad", "good"], ["worse", "bad"]]
    system = checked({"members": ["a"], "compare": pairs, "localisers": ["projected"]})
    assert system.learners == ("a", "bad", "good", "worse", "projected")


@pytest.mark.parametrize(
    ("system", "code", "key", "named"),
    [
        ({"members": ["aa"]}, "NAME_UNKNOWN", "members", "a, b"),
        ({"members": ["sagittal_t1"]}, "NAME_UNKNOWN", "members", "grader"),
        ({"localisers": ["sagital_t1"]}, "NAME_UNKNOWN", "localisers", "mean sagittal_t1?"),
        ({"compare": [["bad", "god"]]}, "NAME_UNKNOWN", "compare", "mean good?"),
        ({"compare": [["good", "bad"]]}, "SYSTEM_PAIR", "compare", "same faults"),
        ({"compare": [["other", "good"]]}, "SYSTEM_PAIR", "compare", "differ in select"),
        ({"families": {"all": ["a"]}}, "SYSTEM_NAME_TAKEN", "families.all", "blend"),
    ],
)
def test_what_does_not_fit_is_refused(
    system: dict[str, Any], code: str, key: str, named: str
) -> None:
    with refused(code, named, key=f"systems.net.{key}"):
        checked(system)


def test_an_unknown_system_is_not_run() -> None:
    with refused("NAME_UNKNOWN", "mean net?", key="run"):
        checked({"members": ["a"]}, ("nets",))
