"""Files, seeds, progress and the torchvision declaration."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from refusals import refused
from spinegrade.runtime.files import atomic_path, inside, read_json, write_json
from spinegrade.runtime.progress import Progress, format_seconds
from spinegrade.runtime.seeds import generator, stream_seed


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_temporary_name_keeps_the_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "new" / "picture.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"x")
    assert (tmp_path / "new" / "picture.png").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["..", "", "a/b", "/etc", "a\\b", "x\n"])
def test_names_from_data_stay_inside(tmp_path: Path, name: str) -> None:
    with refused("NAME_UNSAFE", repr(name)):
        inside(tmp_path, "study", name)
    assert inside(tmp_path, "study", "1.dcm") == tmp_path / "study" / "1.dcm"


def test_json_refuses_nan_and_names_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / "b.json").write_text("{")
    with refused("FILE_NO_JSON", "b.json"):
        read_json(tmp_path / "b.json")


def test_streams_are_stable_and_independent() -> None:
    # The value is fixed: a change would change every phantom and every training.
    assert stream_seed(2024, "study", 7) == stream_seed(2024, "study", 7)
    assert stream_seed(2024, "study", 7) != stream_seed(2024, "study", 8)
    assert stream_seed(1, "23") != stream_seed(12, "3")
    assert generator(1, "a").random() == generator(1, "a").random()


def test_times_are_written_for_people() -> None:
    assert [format_seconds(s) for s in (8.2, 75, 3725)] == ["8 s", "1 min 15 s", "1 h 02 min"]


def test_progress_tells_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "spinegrade"):
        counter = Progress("studies", 2)
        counter.step()
        counter.step(note="done")
    assert caplog.messages[-1].startswith("studies: 2/2") and caplog.messages[-1].endswith("done")
    assert len(caplog.messages) == 1


def test_timm_imports_and_runs() -> None:
    import torch
    from spinegrade.runtime.torch_setup import import_timm

    model = import_timm().create_model("test_resnet", in_chans=5, num_classes=3)
    assert model(torch.zeros(2, 5, 64, 64)).shape == (2, 3)
