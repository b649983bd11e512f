"""Public conversions with known results, nine transfer syntaxes of one image, odd files."""

from __future__ import annotations

import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from spinegrade.convert.header import Frame, read_frames
from spinegrade.convert.pixels import FramesRefused, decode_volume
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


def test_nine_transfer_syntaxes_hold_one_volume(unpacked: Path) -> None:
    # Each file is a mosaic of 35 slices; the reference is dcm2niix's volume of it.
    files = sorted((unpacked / "dcm_qa_ts" / "dcm_qa_ts" / "In").iterdir())
    assert len(files) == 9
    syntaxes = set()
    for file in files:
        frames, codes = read([file])
        (stack,), notes = plan_series(frames, "axial", ConvertSettings())
        assert not codes and not notes
        reference = nibabel.load(file.parents[1] / "Ref" / f"{file.stem}.nii")
        voxels = decode_volume(stack.frames)
        assert voxels.dtype == np.uint16
        mine, affine = canonical(voxels.T.astype(np.int32), to_ras(stack.affine))
        theirs, their_affine = canonical(
            np.asarray(reference.dataobj).astype(np.int32), reference.affine
        )
        np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_allclose(affine, their_affine, atol=1e-3)
        syntaxes.add(frames[0].pixels.syntax)
    assert len(syntaxes) == 7  # the other two differ in bits and planar layout


def test_a_mosaic_lies_where_nibabel_puts_it(unpacked: Path) -> None:
    path = unpacked / "odd_dicom/odd_dicom/heudiconv/heudiconv/tests/data/axasc35.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls its DICOM readers experimental
        from nibabel.nicom.dicomwrappers import wrapper_from_file

        wrapper = wrapper_from_file(path)
        theirs, their_affine = canonical(np.asarray(wrapper.get_data()), wrapper.affine)
    frames, _ = read([path])
    (stack,), _ = plan_series(frames, "axial", ConvertSettings())
    # nibabel counts rows first, and answers in DICOM's frame.
    mine = decode_volume(stack.frames).transpose(1, 2, 0)
    flip = stack.affine[:, [1, 0, 2, 3]]
    mine, affine = canonical(mine, flip)
    np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(affine, their_affine, atol=1e-3)


def outcome(path: Path) -> str:
    """What the room makes of one file: a code, or the decoded shape and type."""
    try:
        frames = read_frames(path, 256.0)
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
