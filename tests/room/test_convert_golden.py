"""Public conversions with known results, nine transfer syntaxes of one image, odd files."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from spinegrade.convert.header import Frame, read_frames
from spinegrade.convert.pixels import FramesRefused, check_format, decode_volume
from spinegrade.convert.plan import plan_series
from spinegrade.convert.refusals import REFUSALS, Refused
from spinegrade.convert.settings import ConvertSettings
from spinegrade.geometry.affine import to_ras

pytestmark = pytest.mark.real_data

EXPECTED = yaml.safe_load((Path(__file__).parent / "convert_expectations.yaml").read_text())


@pytest.fixture(scope="module")
def unpacked(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("golden")
    for name in ("golden/dicom2nifti", "golden/dcm_qa_ts", "odd/odd_dicom"):
        if not (real_data / f"{name}.tar.xz").exists():
            pytest.skip(f"real_data: no {name}.tar.xz")
        with tarfile.open(real_data / f"{name}.tar.xz") as archive:
            archive.extractall(folder / name.split("/")[1], filter="data")
    yield folder


def read(paths: list[Path]) -> tuple[list[Frame], set[str]]:
    frames: list[Frame] = []
    codes = set()
    for path in paths:
        try:
            found = read_frames(path, 256.0)
            check_format(found[0].pixels)
            frames += found
        except Refused as refused:
            codes.add(refused.code)
    return frames, codes


def canonical(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, affine))
    return np.asarray(image.dataobj), image.affine


@pytest.mark.parametrize("name", EXPECTED["golden"])
def test_golden_series(unpacked: Path, name: str) -> None:
    expected = EXPECTED["golden"][name]
    folder = unpacked / "dicom2nifti" / "dicom2nifti" / name
    frames, codes = read(sorted(folder.iterdir()))
    settings = ConvertSettings(min_slices=expected.get("min_slices", 3))
    stacks, notes = plan_series(frames, None, settings) if frames else ([], [])
    codes |= {note.code for note in notes}
    assert codes == set(expected.get("codes", []))
    assert [len(stack.frames) for stack in stacks] == expected.get("volumes", [])
    points = expected.get("equal", [])  # which time point of the truth each volume equals
    if not points:
        return
    truth = nibabel.load(folder.with_name(folder.name + "_ground_truth.nii.gz"))
    voxels = np.asarray(truth.dataobj, np.float64)
    voxels = voxels.reshape(*voxels.shape[:3], -1)
    for stack, point in zip(stacks, points, strict=True):
        if point is None:
            continue
        mine, affine = canonical(
            decode_volume(stack.frames).T.astype(np.float64), to_ras(stack.affine)
        )
        theirs, their_affine = canonical(voxels[..., point], truth.affine)
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(affine, their_affine, atol=1e-3)


def test_nine_transfer_syntaxes_hold_one_image(
    unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The image is a mosaic, which is refused; here it is read as the one image that it is.
    files = sorted((unpacked / "dcm_qa_ts" / "dcm_qa_ts" / "In").iterdir())
    assert read(files) == ([], {"MOSAIC"})
    monkeypatch.setattr("spinegrade.convert.header.MOSAIC", b"no such type")
    images = [decode_volume(read_frames(path, 256.0)) for path in files]
    syntaxes = {read_frames(path, 256.0)[0].pixels.syntax for path in files}
    assert len(images) == 9 and len(syntaxes) == 7
    for image in images[1:]:
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, images[0])


def outcome(path: Path) -> str:
    """What the room makes of one file: a code, or the decoded shape and type."""
    try:
        frames = read_frames(path, 256.0)
        check_format(frames[0].pixels)
        volume = decode_volume(frames)
    except Refused as refused:
        return refused.code
    except FramesRefused as refused:
        return refused.refused[0][1].code
    return f"{'x'.join(map(str, volume.shape))} {volume.dtype}"


def test_odd_files_are_read_or_refused_by_code(unpacked: Path) -> None:
    root = unpacked / "odd_dicom" / "odd_dicom"
    found = {
        path.relative_to(root).as_posix(): outcome(path)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    assert found == EXPECTED["odd"]
    assert {code for code in found.values() if " " not in code} <= set(REFUSALS)
