"""A whole run on files that are full of names, numbers and dates leaves none of them behind."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from spinegrade.phantom.cohort import write_cohort
from spinegrade.phantom.study import PhantomSettings

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "room"))

import planted  # noqa: E402
from leaks import found_in, leaks_of, leaks_under  # noqa: E402
from planted import DIGITS, LETTERS, NEEDED, PIXEL_DATA, TRANSFER_SYNTAX, encode, marker  # noqa: E402

pytestmark = pytest.mark.workflow
MINIATURE = PROJECT / "tests" / "workflow" / "miniature.yaml"
# Files from this number on are refused: text stands where conversion needs something else.
REFUSED_FROM = 9000
TABLES = (
    "train.csv",
    "train_series_descriptions.csv",
    "train_label_coordinates.csv",
    "test_series_descriptions.csv",
    "sample_submission.csv",
)


def refused_files(plain: Path) -> dict[str, bytes]:
    """Files with text in what conversion needs, one each, by a name of their own."""
    packed = {PIXEL_DATA: encode(PIXEL_DATA, "OB", planted.item(b"") * 2, True)}
    wrong: list[dict[int, bytes]] = []
    for tag in NEEDED.keys() - {0x00180050}:  # no thickness is asked for where steps are given
        value = marker(tag, REFUSED_FROM + len(wrong), 0)
        wrong.append({tag: encode(tag, planted.ELEMENTS[tag], value)})
    for kind in range(planted.KINDS):
        value = marker(TRANSFER_SYNTAX, REFUSED_FROM + len(wrong), kind)
        wrong.append({TRANSFER_SYNTAX: encode(TRANSFER_SYNTAX, "UI", value)} | packed)
    for value in (DIGITS, f"-{DIGITS}"):
        wrong.append({0x00280008: encode(0x00280008, "IS", value.encode())})
        wrong.append({0x00280030: encode(0x00280030, "DS", f"-{value}\\1".encode())})
    wrong.append({0x00280008: encode(0x00280008, "IS", planted.BIRTH_DATE.encode())})
    wrong.append({0x00080008: encode(0x00080008, "CS", b"MOSAIC\\" + LETTERS.encode())})
    wrong.append({0x00280101: encode(0x00280101, "US", LETTERS.encode())})
    wrong.append({PIXEL_DATA: encode(PIXEL_DATA, "OB", LETTERS.encode(), True)})
    files = {}
    for number, changes in enumerate(wrong, REFUSED_FROM):
        # Far from all others, so that none is left out for being a second one at its place.
        place = encode(0x00200032, "DS", f"{number}\\{number}\\{number}".encode())
        changes = {0x00200032: place} | changes
        files[f"{number}.dcm"] = planted.planted_file(plain, number, changes)
    files["9998.dcm"] = LETTERS.encode() * 50
    files["9999.dcm"] = planted.planted_file(plain, 9999)[:20000]
    return files


def plant(root: Path) -> int:
    """Fill every file of a cohort with markers; the number of files that must be refused."""
    files = sorted(root.rglob("*.dcm"))
    chosen = list({path.parent: path for path in files}.values())[:2]
    broken = {path: refused_files(path) for path in chosen}
    for number, path in enumerate(files, 1):
        path.write_bytes(planted.planted_file(path, number))
    for path, contents in broken.items():
        for name, content in contents.items():
            (path.parent / name).write_bytes(content)
        (path.parent / "notes.txt").write_text(f"{LETTERS} {planted.BIRTH_DATE} {DIGITS}")
        (path.parent.parent / "letter.txt").write_text(LETTERS)
    for name in TABLES:
        table = pd.read_csv(root / name, dtype=str)
        table["patient_name"] = [f"{LETTERS}^{planted.BEYOND_ASCII}"] * len(table)
        table["birth_date"] = planted.BIRTH_DATE
        table.to_csv(root / name, index=False)
    return sum(len(contents) + 1 for contents in broken.values())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """The folder of a finished run on a planted cohort, all it said, the refusals to expect."""
    given, folder = tmp_path_factory.mktemp("given"), tmp_path_factory.mktemp("run")
    settings = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())["phantom"]
    settings |= {"studies": 3, "test_studies": 1, "seed": 77, "scale": 0.25}
    settings |= {"missing_series_share": 0.0}
    write_cohort(PhantomSettings.from_config(settings), given, processes=2)
    refused = plant(given)
    config = folder / "planted.yaml"
    cohort = {"name": "planted", "kind": "kaggle_rsna2024", "root": str(given), "folds": 2}
    config.write_text(yaml.safe_dump({"cohort": cohort}))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles" / "default"), "--cores", "2"]
    command += ["--directory", str(folder), "--configfile", str(MINIATURE), str(config)]
    command += ["--", "all", "check_cohort"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = done.stdout + done.stderr
    assert done.returncode == 0, words[-4000:]
    return folder, words, refused


def of_refused_files(found: str) -> bool:
    """Whether a find is of a file that must be refused: the markers of all others are numbered."""
    numbered = re.findall(rf"(?i)(?:{LETTERS}|{DIGITS})(\d{{4}})\d{{5}}", found)
    known = any(word.lower() in found.lower() for word in (LETTERS, DIGITS))
    return known and all(int(number) >= REFUSED_FROM for number in numbered)


def test_the_files_are_full_of_text_and_were_read(run: tuple[Path, str, int]) -> None:
    folder, _, refused = run
    given = Path(yaml.safe_load((folder / "planted.yaml").read_text())["cohort"]["root"])
    for path in list(given.rglob("*.dcm"))[::40]:
        assert found_in(path.read_bytes())
    stacks = pd.read_parquet(folder / "results/planted/convert/0/stacks.parquet")
    assert stacks["study"].nunique() == 4
    rejected = pd.read_parquet(folder / "results/planted/convert/0/rejected.parquet")
    assert len(rejected) == refused, rejected[["series", "file", "code", "found"]].to_string()
    assert not set(rejected["code"]) & {"DUPLICATE_SLICE", "GAP", "OTHER_STUDY"}


def test_no_text_of_a_file_or_table_reaches_any_output(run: tuple[Path, str, int]) -> None:
    folder, words, _ = run
    kinds = {path.suffix for path in (folder / "results").rglob("*") if path.is_file()}
    assert {".parquet", ".nii", ".npy", ".safetensors", ".html", ".json", ".csv", ".tsv",
            ".log", ".png"} <= kinds  # fmt: skip
    found = [*leaks_under(folder), *found_in(words.encode())]
    assert not [line for line in found if not of_refused_files(line)]


def test_no_text_of_a_refused_file_reaches_any_output(run: tuple[Path, str, int]) -> None:
    folder, words, _ = run
    found = [*leaks_under(folder), *found_in(words.encode())]
    assert not [line for line in found if of_refused_files(line)]


@pytest.mark.parametrize("name", ["submission.csv", "stacks.parquet", "weights.safetensors",
                                  "report.html", "convert_dicom/0.log"])  # fmt: skip
def test_one_word_slipped_into_an_output_is_found(
    run: tuple[Path, str, int], tmp_path: Path, name: str
) -> None:
    original = next(p for p in sorted((run[0] / "results").rglob("*")) if str(p).endswith(name))
    content, word = original.read_bytes(), marker(0x00100010, 17, 0).decode()
    if name.endswith(".parquet"):
        table = pd.read_parquet(original)
        table.loc[len(table) // 2, "volume"] = f"volumes/{word}.nii"
        stream = io.BytesIO()
        table.to_parquet(stream)
        changed = stream.getvalue()
        assert pq.read_table(io.BytesIO(changed)).num_rows == len(table)
    elif name.endswith(".csv"):
        rows = list(csv.reader(io.StringIO(content.decode())))
        rows[3][0] += word
        changed = "\n".join(",".join(row) for row in rows).encode()
    else:
        changed = content[:-8] + word.encode() + content[-8:]
    (tmp_path / original.name).write_bytes(changed)
    assert not any(word in line for line in leaks_of(original))
    assert any(word in line for line in leaks_of(tmp_path / original.name))
