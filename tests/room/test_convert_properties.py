"""One known object, however it was scanned, numbered and stored, is one volume in patient space."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from scanner_helpers import (
    CODECS,
    NATIVE,
    PLANE_AXIS,
    POSITIONS,
    Acquisition,
    add_pixels,
    enhanced_dataset,
    file_bytes,
    object_codes,
    orientations,
    slice_dataset,
)
from scipy.spatial.transform import Rotation
from spinegrade.convert.series import Converted, SeriesSource, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.geometry.affine import affine_from_columns, to_mm
from spinegrade.volumes import open_volume

BOUNDED = settings(
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NUMBERINGS = ("ascending", "descending", "interleaved", "random")


def numbers_of(count: int, numbering: str, seed: int = 0) -> list[int]:
    """The instance number of each slice in the order of acquisition."""
    numbers = list(range(1, count + 1))
    if numbering == "descending":
        numbers.reverse()
    elif numbering == "interleaved":
        numbers = [place // 2 + 1 + (count + 1) // 2 * (place % 2) for place in range(count)]
    elif numbering == "random":
        random.Random(seed).shuffle(numbers)
    return numbers


def write(folder: Path, files: list[bytes], seed: int = 0) -> None:
    """Files under names that follow neither order nor number; ``folder`` is emptied first."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    names = random.Random(seed).sample(range(1000, 10000), len(files))
    for name, data in zip(names, files, strict=True):
        (folder / f"im_{name}").write_bytes(data)


def held_bits(bits: tuple[int, int, bool], codec: str | None) -> tuple[int, bool]:
    """Bits and sign of the object's codes; a lossy codec gets room above the greatest."""
    lossy = codec in CODECS and CODECS[codec][2] > 0
    return bits[1] - lossy, bits[2]


def single_slices(
    acquisition: Acquisition,
    bits: tuple[int, int, bool] = (16, 16, False),
    codec: str | None = None,
    syntax: str = uid.ExplicitVRLittleEndian,
    numbering: str = "random",
    fragments: int = 1,
    offset_table: bool = True,
    meta: bool = True,
    preamble: bool = True,
    **elements: object,
) -> list[bytes]:
    """The series as a file a slice; ``elements`` are set in every header."""
    codes = object_codes(acquisition.places_mm(), *held_bits(bits, codec))
    files = []
    for place, number in enumerate(numbers_of(len(codes), numbering)):
        dataset = slice_dataset(acquisition, place, number, bits)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        packed = add_pixels(dataset, [codes[place]], codec, fragments, offset_table)
        files.append(file_bytes(dataset, packed or syntax, meta, preamble))
    return files


def convert(folder: Path, plane: str) -> Converted:
    source = SeriesSource("1", "2", "train", plane, "t2", folder / "in")
    return convert_series(source, folder / "out", ConvertSettings())


def check(
    folder: Path,
    acquisition: Acquisition,
    plane: str,
    bits: tuple[int, bool] = (16, False),
    tolerance: int = 0,
) -> np.ndarray:
    """Convert, and hold the volume against the object, place by place; return it."""
    result = convert(folder, plane)
    assert result.rejected == []
    assert len(result.stacks) == 1
    row = result.stacks[0]
    volume = np.array(open_volume(folder / "out" / row["volume"]))
    assert volume.shape == acquisition.shape
    affine = affine_from_columns(row)
    index, y, x = np.indices(volume.shape)
    places = to_mm(affine, np.stack([x.ravel(), y.ravel(), index.ravel()], axis=1))
    expected = object_codes(places, *bits).reshape(volume.shape)
    apart = np.abs(volume.astype(np.int64) - expected)
    assert apart.max() <= tolerance
    # Towards the left or the head, each slice's first pixel where its file says.
    firsts = acquisition.firsts_mm
    firsts = firsts[np.argsort(firsts[:, PLANE_AXIS[plane]])]
    np.testing.assert_allclose(places.reshape(*volume.shape, 3)[:, 0, 0], firsts, atol=1e-6)
    return volume


def test_the_object_tells_every_place_apart() -> None:
    codes = object_codes(Acquisition(orientations("HFS", "axial")[0]).places_mm())
    assert len(np.unique(codes)) == codes.size
    # Mirrored in any direction it is another object, in as few as eight bits.
    cube = np.stack(np.meshgrid(*[np.arange(-4.0, 5.0, 2.0)] * 3, indexing="ij"), axis=-1)
    for bits, axis in itertools.product((8, 12, 16), range(3)):
        values = object_codes(cube, bits)
        assert (values != np.flip(values, axis)).mean() > 0.7


@pytest.mark.parametrize("plane", PLANE_AXIS)
@pytest.mark.parametrize("position", POSITIONS)
def test_patient_positions_signs_and_orders(tmp_path: Path, position: str, plane: str) -> None:
    # Four signs, rows and columns exchanged, slices acquired either way, numbered in turn.
    turned = orientations(position, plane)
    assert len(turned) == 8
    numberings = itertools.cycle(NUMBERINGS)
    found = []
    for orientation, backwards in itertools.product(turned, (False, True)):
        acquisition = Acquisition(orientation, backwards=backwards)
        numbering = next(numberings)
        files = single_slices(acquisition, numbering=numbering, PatientPosition=position)
        write(tmp_path / "in", files, seed=len(found))
        found.append(check(tmp_path, acquisition, plane))
    # Acquired forwards or backwards, numbered this way or that: the same array.
    for forwards, backwards in zip(found[::2], found[1::2], strict=True):
        np.testing.assert_array_equal(forwards, backwards)


@settings(BOUNDED, max_examples=120)
@given(data=st.data())
def test_oblique_slices(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    plane = data.draw(st.sampled_from(list(PLANE_AXIS)))
    position = data.draw(st.sampled_from(POSITIONS))
    straight = data.draw(st.sampled_from(orientations(position, plane)))
    tilts = data.draw(st.tuples(*[st.integers(-35, 35)] * 3))
    turn = Rotation.from_euler("xyz", tilts, degrees=True)
    tenths = st.integers(8, 30).map(lambda value: value / 10)
    acquisition = Acquisition(
        turn.apply(straight.reshape(2, 3)).ravel(),
        spacing=data.draw(st.tuples(tenths, tenths)),
        step_mm=data.draw(st.integers(12, 60)) / 10,
        shape=data.draw(st.tuples(st.integers(3, 9), st.integers(1, 8), st.integers(1, 8))),
        centre_mm=data.draw(st.tuples(*[st.integers(-9000, 9000).map(lambda v: v / 10)] * 3)),
        backwards=data.draw(st.booleans()),
    )
    numbering = data.draw(st.sampled_from(NUMBERINGS))
    folder = tmp_path_factory.getbasetemp() / "oblique"
    write(folder / "in", single_slices(acquisition, numbering=numbering, PatientPosition=position))
    check(folder, acquisition, plane)


def allowed(codec: str, bits: tuple[int, int, bool]) -> bool:
    """Which depths a codec of CODECS can write."""
    _, stored, signed = bits
    if codec == "rle":
        return True
    if CODECS[codec][2] and signed:
        return False  # a lossy codec may turn the least value into the greatest
    most = {"jpeg baseline": 8, "jpeg extended": 12, "jpeg 2000 lossless": 24}.get(codec, 16)
    return stored <= most and (codec != "jpeg extended" or stored > 8)


DEPTHS = [
    *((8, 8, False), (8, 8, True), (16, 8, False), (16, 12, False), (16, 12, True)),
    *((16, 16, False), (16, 16, True), (32, 24, False), (32, 24, True)),
]
STORED = [
    (codec, bits)
    for codec, bits in itertools.product([*map(str, NATIVE), *CODECS], DEPTHS)
    if codec in NATIVE or allowed(codec, bits)
]


@pytest.mark.parametrize(("codec", "bits"), STORED)
def test_syntaxes_and_depths(tmp_path: Path, codec: str, bits: tuple[int, int, bool]) -> None:
    acquisition = Acquisition(orientations("FFDL", "sagittal")[2], shape=(4, 9, 11))
    how = {"syntax": codec} if codec in NATIVE else {"codec": codec}
    write(tmp_path / "in", single_slices(acquisition, bits, **how))
    tolerance = 0 if codec in NATIVE else CODECS[codec][2]
    check(tmp_path, acquisition, "sagittal", held_bits(bits, codec), tolerance)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("fragments", "table"), [(1, True), (1, False), (3, True), (3, False)])
def test_fragments_of_single_slices(
    tmp_path: Path, codec: str, fragments: int, table: bool
) -> None:
    bits = (8, 8, False) if codec == "jpeg baseline" else (16, 12, False)
    acquisition = Acquisition(orientations("HFS", "axial")[0], shape=(3, 9, 11))
    files = single_slices(acquisition, bits, codec, fragments=fragments, offset_table=table)
    write(tmp_path / "in", files)
    check(tmp_path, acquisition, "axial", held_bits(bits, codec), CODECS[codec][2])


@pytest.mark.parametrize("codec", CODECS)
def test_a_cut_codestream_is_refused(tmp_path: Path, codec: str) -> None:
    # Cut before it was put into its fragment, whose length is true.
    bits = (8, 8, False) if codec == "jpeg baseline" else (16, 12, False)
    acquisition = Acquisition(orientations("HFS", "axial")[0], shape=(5, 40, 40))
    files = single_slices(acquisition, bits, codec, numbering="ascending")
    dataset = slice_dataset(acquisition, 4, 5, bits)
    codes = object_codes(acquisition.places_mm()[4], *held_bits(bits, codec))
    packed = add_pixels(dataset, [codes], codec)
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([stream[: len(stream) // 2]])
    write(tmp_path / "in", [*files[:4], file_bytes(dataset, packed)])
    result = convert(tmp_path, "axial")
    assert [row["code"] for row in result.rejected] in (["TRUNCATED"], ["DECODE_FAILED"])
    assert [row["slices"] for row in result.stacks] == [4]


@pytest.mark.filterwarnings("ignore:The end of the encapsulated pixel data")
@pytest.mark.parametrize("codec", [None, *CODECS])
@pytest.mark.parametrize(("fragments", "table"), [(1, True), (1, False), (3, True), (3, False)])
def test_frames_of_one_file_in_any_order(
    tmp_path: Path, codec: str | None, fragments: int, table: bool
) -> None:
    bits = (8, 8, False) if codec == "jpeg baseline" else (16, 12, False)
    acquisition = Acquisition(orientations("HFP", "sagittal")[5], shape=(6, 9, 11))
    order = [3, 0, 5, 1, 4, 2]
    dataset = enhanced_dataset(acquisition, order, bits)
    held = held_bits(bits, codec)
    codes = object_codes(acquisition.places_mm(), *held)[order]
    packed = add_pixels(dataset, list(codes), codec, fragments, table)
    write(tmp_path / "in", [file_bytes(dataset, packed or uid.ExplicitVRLittleEndian)])
    if codec == "rle" and fragments > 1 and not table:
        # A frame of RLE is one fragment (PS3.5 A.4.2); nothing tells where a split one ends.
        result = convert(tmp_path, "sagittal")
        assert not result.stacks
        assert {row["code"] for row in result.rejected} <= {"TRUNCATED", "DECODE_FAILED"}
        return
    check(tmp_path, acquisition, "sagittal", held, CODECS[codec][2] if codec else 0)


# Only the meta information tells that a file is deflated.
@pytest.mark.parametrize(
    ("syntax", "meta", "preamble"),
    [
        *((syntax, True, False) for syntax in NATIVE),
        *((syntax, False, True) for syntax in NATIVE[:3]),
        *((syntax, False, False) for syntax in NATIVE[:3]),
    ],
)
def test_files_without_preamble_or_meta_information(
    tmp_path: Path, syntax: str, meta: bool, preamble: bool
) -> None:
    acquisition = Acquisition(orientations("HFDR", "axial")[3])
    write(tmp_path / "in", single_slices(acquisition, syntax=syntax, meta=meta, preamble=preamble))
    check(tmp_path, acquisition, "axial")


def turned_volume(tmp_path: Path, bits: tuple[int, int, bool], **elements: object) -> np.ndarray:
    """The volume of a series with ``elements`` in its headers, in double precision."""
    acquisition = Acquisition(orientations("HFS", "axial")[0])
    write(tmp_path / "in", single_slices(acquisition, bits, **elements))
    result = convert(tmp_path, "axial")
    assert not result.rejected
    return np.array(open_volume(tmp_path / "out" / result.stacks[0]["volume"]), np.float64)


@pytest.mark.parametrize("bits", DEPTHS)
def test_inversion_and_rescaling(tmp_path: Path, bits: tuple[int, int, bool]) -> None:
    plain = turned_volume(tmp_path, bits)
    least = -(1 << (bits[1] - 1)) if bits[2] else 0
    greatest = least + (1 << bits[1]) - 1
    inverted = turned_volume(tmp_path, bits, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(inverted, least + greatest - plain)
    # Hounsfield units of a CT.
    shifted = turned_volume(tmp_path, bits, RescaleSlope="1", RescaleIntercept="-1024")
    np.testing.assert_array_equal(shifted, plain - 1024)
    scaled = turned_volume(tmp_path, bits, RescaleSlope="0.5", RescaleIntercept="-3.25")
    np.testing.assert_allclose(scaled, plain * 0.5 - 3.25, rtol=1e-6)


@pytest.mark.parametrize("signed", [False, True])
def test_a_lossy_codec_does_not_turn_the_brightest_dark(tmp_path: Path, signed: bool) -> None:
    # The codestream holds 16 bits, of which the header declares 12: 4095 decodes as 4097 too.
    acquisition = Acquisition(orientations("HFS", "axial")[0])
    least = -2048 if signed else 0
    values = np.random.default_rng(3).choice([least, least + 4095], (6, 7))
    files = []
    for place in range(5):
        dataset = slice_dataset(acquisition, place, place + 1, (16, 16, signed))
        packed = add_pixels(dataset, [values], "jpeg 2000" if signed else "jpeg-ls near")
        dataset.BitsStored, dataset.HighBit = 12, 11
        files.append(file_bytes(dataset, packed))
    write(tmp_path / "in", files)
    result = convert(tmp_path, "axial")
    volume = np.array(open_volume(tmp_path / "out" / result.stacks[0]["volume"]), np.int64)
    assert np.abs(volume - values).max() < 100
