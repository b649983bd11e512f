"""The all-view grader: what a level's row holds, that it trains, and how it predicts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from killing import Killed, killed_at
from spinegrade.errors import SpinegradeError
from spinegrade.grade.levels.looks import plain_look, training_look
from spinegrade.grade.views import looks as view_looks
from spinegrade.grade.views.mixing import Mixing, mixed
from spinegrade.grade.views.rows import logits_of
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.labels import LABELS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.sequences import SEQUENCES
from spinegrade.training.average import MovingAverage
from spinegrade.training.record import read_weights
from spinegrade.training.task import Moment
from two_stage_helpers import (
    SHAPES,
    network_of,
    predict,
    rows_of,
    small,
    small_block,
    train,
    write_cohort,
)

CPU = torch.device("cpu")
NAMES = [f"s{number:03d}" for number in range(9)]
CHANGED = {"training": {"epochs": 1, "batch_size": 8, "accumulation": 2}}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def rows(cohort):
    labels = read_table(cohort["labels"], LABELS)
    settings = small("all_view")
    return rows_of(cohort, settings, NAMES, labels)


def test_a_row_is_a_level_of_a_study(cohort, rows):
    assert len(rows) == 45 and rows.grades.shape == (45, 5)
    assert rows.studies[5:10] == ("s001",) * 5 and rows.levels[5:10].tolist() == [0, 1, 2, 3, 4]
    assert rows.places()[7].tolist() == [[0, 2], [1, 2], [2, 2], [3, 2], [4, 2]]
    labels = read_table(cohort["labels"], LABELS).set_index(["study", "condition", "level", "side"])
    sub = "subarticular_stenosis"
    assert rows.grades[7, 4] == labels["grade"].loc["s001", sub, "l3_l4", "right"]
    assert (
        rows.grades[7, 0]
        == labels["grade"].loc["s001", "spinal_canal_stenosis", "l3_l4", "central"]
    )
    # Nothing axial shows L1/L2 of s002: its recesses have no grade that counts.
    assert rows.speaks[10].tolist() == [True, True, True, False, False]
    assert (rows.grades[10, 3:] == -1).all() and (rows.grades[10, :3] >= 0).all()


def test_slices_of_a_level_come_head_first_between_their_neighbours(rows):
    batch = rows.read(np.array([6, 0]))
    # Row 6 is L2/L3 of s001, slices 12 to 15 of both of its stacks; row 0 L1/L2 of s000.
    assert batch.there["owner"].tolist() == [0, 0, 1]
    grey = batch.images["axial"][:, :, :, 0, 0].int()
    # Positions 15, 13.5 and 12; halves go to the even slice.
    assert grey[0].tolist() == [[160, 150, 140], [150, 140, 130], [130, 120, 110]]
    assert (grey[1] == grey[0] + 5).all()
    assert grey[2, 0].tolist() == [190, 190, 180], "beyond the last slice it stands again"
    assert batch.images["sagittal"].shape == (2, 3, 1, 3, 32, 32)


def test_training_takes_one_stack_by_chance_and_what_is_graded_there(rows):
    row, seen = np.array([6]), {}
    for seed in range(40):
        batch = rows.read(row, seed)
        assert batch.there["owner"].tolist() == [0]
        second = bool((batch.images["axial"] % 10 == 5).all())
        seen.setdefault(second, set()).add(int(batch.images["axial"][0, 1, 1, 0, 0]))
        counts = (batch.grades[0] >= 0).tolist()
        assert counts == [True, True, True, True, not second]
    assert set(seen) == {False, True}
    # The middle position is 13.5, and 0.3 of 1.5 slices to the head and the feet of it.
    assert seen[False] == {130, 140}
    again = [rows.read(row, 3).images["axial"] for _ in range(2)]
    assert torch.equal(*again)
    assert (rows.grades[6] >= 0).all(), "the samples' own grades stay"


def test_a_new_study_is_read_with_all_its_stacks_and_has_no_grades(rows):
    batch = rows.of(["s008"]).read(np.arange(5))
    assert len(batch.images["axial"]) == 5 and (batch.grades == -1).all()


def test_slices_of_another_size_are_refused(tmp_path, cohort):
    settings = small("all_view")
    np.save(tmp_path / "slices.npy", np.zeros((80, 16, 32), np.uint8))
    other = [str(tmp_path / "slices.npy"), cohort["sequences"][0][1]]
    with pytest.raises(SpinegradeError, match=r"shape \(80, 16, 32\), expected \(at least 100, 32"):
        rows_of(cohort, settings, NAMES, slices=other)


def test_the_digest_tells_slices_and_ranges(tmp_path, cohort, rows):
    settings = small("all_view")
    labels = read_table(cohort["labels"], LABELS)
    assert rows_of(cohort, settings, NAMES, labels).digest() == rows.digest()
    slices, sequences = cohort["sequences"]
    array = np.load(slices[1], allow_pickle=False)
    array[3, 2, 1] ^= 1
    np.save(tmp_path / "slices.npy", array)
    table = read_table(sequences[1], SEQUENCES)
    table.loc[0, "first"] += 1
    write_table(tmp_path / "sequences.parquet", table, SEQUENCES)
    for changed in (
        {"slices": [slices[0], str(tmp_path / "slices.npy")]},
        {"sequences": [sequences[0], str(tmp_path / "sequences.parquet")]},
    ):
        other = rows_of(cohort, settings, NAMES, labels, **changed)
        assert other.digest() != rows.digest()
        assert other.of(["s001"]).digest() == rows.of(["s001"]).digest()


def test_looks_have_imagenet_statistics_and_turn_together(rows):
    settings = small("all_view")
    batch = rows.read(np.array([6]))
    seen = plain_look(batch, settings, SHAPES, "plain")
    # Grey 150 of 255, in green.
    expected = (150 / 255 - 0.456) / 0.224
    assert float(seen["axial"][0, 0, 1, 0, 0]) == pytest.approx(expected, rel=1e-5)
    assert seen["sagittal"].shape == (1, 3, 3, 24, 24)
    batch.images["axial"][0, 0, 0, 0, 5] = 255
    seen, flipped, mirrored = (
        plain_look(batch, settings, SHAPES, look) for look in ("plain", "flipped", "mirrored")
    )
    assert torch.equal(flipped["axial"], seen["axial"].flip(-2))
    assert torch.equal(flipped["sagittal"], seen["sagittal"].flip(-1))
    assert torch.equal(mirrored["axial"], seen["axial"].flip(-1))
    assert torch.equal(mirrored["sagittal"], seen["sagittal"][:, [0, 2, 1]].flip(2))


def test_training_varies_axial_images_one_by_one(rows):
    settings = small("all_view", augment={"base": 0, "flip": 0.5, "jitter": 0, "slice_loss": 0})
    batch = rows.read(np.arange(3, 7))
    batch.images["axial"][..., :16, :] = 0
    seen = training_look(batch, settings, SHAPES, torch.Generator().manual_seed(0))
    images = seen["axial"]
    dark_above = images[..., :16, :].mean(dim=(2, 3, 4)) < images[..., 16:, :].mean(dim=(2, 3, 4))
    # Three positions of six sequences, each turned over or not by itself.
    assert dark_above.shape == (6, 3) and dark_above.any() and not dark_above.all()
    assert (dark_above != dark_above[:, :1]).any()


def test_levels_that_no_axial_slice_shows_are_learnt_from_too(rows):
    settings = small("all_view", augment={"mixup": 1.0})
    batch = rows.rows([10]).read(np.array([0, 0]), 1)
    assert len(batch.images["axial"]) == 0
    inputs = training_look(batch, settings, SHAPES, torch.Generator().manual_seed(0))
    mixing = Mixing(0.5, torch.tensor([1, 0]))
    for seen in (inputs, mixed(inputs, mixing)):
        assert network_of(settings)(**seen).isfinite().all()


def test_a_mirrored_patient_has_the_mirrored_answer_under_left_right(rows):
    settings = small("all_view")
    torch.manual_seed(3)
    network = network_of(settings).eval()
    batch = rows.of(["s001"]).read(np.arange(5))
    columns = [0, 2, 1, 4, 3]
    with torch.inference_mode():
        own = network(**plain_look(batch, settings, SHAPES, "plain"))
        turned = network(**plain_look(batch, settings, SHAPES, "mirrored"))
    both = logits_of(
        *(network, rows.of(["s001"]), settings, SHAPES, Moment(CPU, torch.float32)),
        *(plain_look, ["plain", "mirrored"]),
    )
    np.testing.assert_allclose(both, ((own + turned[:, columns]) / 2).numpy(), atol=1e-5)


def test_it_trains_resumes_and_predicts_every_condition(tmp_path, cohort, monkeypatch):
    block = small_block("all_view", looks=["plain", "flipped"], **CHANGED)
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    weights = [train(folders[0], cohort, block, fold) for fold in (0, 1)]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, MovingAverage, "update", 2)
        train(folders[1], cohort, block, 0, checkpoint_minutes=0)
    resumed = train(folders[1], cohort, block, 0)
    assert resumed.read_bytes() == weights[0].read_bytes()
    files = predict(tmp_path, cohort, block, [str(path) for path in weights])
    parts = [read_table(files[name], PREDICTIONS) for name in ("out_of_fold", "new")]
    assert set(parts[1]["study"]) == {"s008"} and "s008" not in set(parts[0]["study"])
    table = pd.concat(parts)
    # 25 cells of nine studies, but for two recesses that nothing shows.
    assert len(table) == 9 * 25 - 2
    gone = table[(table["study"] == "s002") & (table["level"] == "l1_l2")]
    assert set(gone["condition"]) == {"spinal_canal_stenosis", "neural_foraminal_narrowing"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("architecture", ["view_gru", "view_level_lstm", "axial_side", "all_view"])
def test_a_device_learns_and_predicts_as_the_cpu_does(tmp_path, cohort, architecture, precision):
    training = {**CHANGED["training"], "precision_cuda": precision}
    settings = small(architecture, training=training)
    block = small_block(architecture, training=training)
    weights, _ = read_weights(train(tmp_path, cohort, block, 0, device="cuda"))
    network = network_of(settings)
    network.load_state_dict(weights)
    network.eval()
    labels = read_table(cohort["labels"], LABELS)
    held_out = ["s000", "s002", "s004", "s006"]
    looks = SimpleNamespace(plain_look=plain_look) if architecture == "all_view" else view_looks
    part = rows_of(cohort, settings, held_out, labels)
    found = [
        logits_of(
            *(network.to(device), part, settings, SHAPES),
            *(Moment(torch.device(device), torch.float32), looks.plain_look),
        )
        for device in ("cuda", "cpu")
    ]
    assert np.isfinite(found[0]).all()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-2, atol=1e-2)
