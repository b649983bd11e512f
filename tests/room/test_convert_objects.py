"""What a file is: a picture of the patient, another DICOM object, a pointer, a broken copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_helpers import AXIAL, voxels, write_slice
from spinegrade.convert.header import read_frames, read_headers
from spinegrade.convert.refusals import Refused

READERS = pytest.mark.parametrize("read", [read_frames, read_headers])


def one_slice(tmp_path: Path, **changes: object) -> Path:
    return write_slice(tmp_path / "1.dcm", voxels(1, 30, 20)[0], AXIAL, np.ones(3), 1, **changes)


def refusal(path: Path, read: object) -> Refused:
    with pytest.raises(Refused) as caught:
        read(path, 64.0)
    return caught.value


@READERS
def test_the_frame_of_reference_is_kept_as_it_stands(tmp_path: Path, read: object) -> None:
    (frame,) = read(one_slice(tmp_path, FrameOfReferenceUID="1.2.3.45"), 64.0)
    assert frame.frame_of_reference == b"1.2.3.45"
    (frame,) = read(one_slice(tmp_path), 64.0)
    assert frame.frame_of_reference == b""


@READERS
@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS"),
        ("version https://hawser.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS"),
        ("/annex/objects/SHA256E-s9--00.dcm\n", "git-annex"),
    ],
)
def test_a_pointer_is_to_be_fetched(tmp_path: Path, read: object, text: str, tool: str) -> None:
    path = tmp_path / "1.dcm"
    path.write_text(text)
    refused = refusal(path, read)
    assert refused.code == "NOT_FETCHED"
    assert tool in refused.found
