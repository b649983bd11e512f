"""Nothing in the project runs what a file holds: by its source, and by files that would."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from spinegrade.cohort.csv_file import read_csv_file
from spinegrade.cohort.problems import Problems
from spinegrade.crop_shape import CropShape
from spinegrade.errors import SpinegradeError
from spinegrade.grade.cells.cells import open_store
from spinegrade.models import timm_backbone
from spinegrade.phantom.statistics import load_statistics
from spinegrade.report.crops import contact_sheets
from spinegrade.runtime.files import read_json
from spinegrade.tables.files import empty_table, read_table, read_tables, write_table
from spinegrade.tables.rois import ROIS
from spinegrade.tables.studies import STUDIES
from spinegrade.training.record import read_weights
from spinegrade.volumes import load_stacks, open_volume
from unsafe_code import project_files, unsafe_in, unsafe_in_rules

PROJECT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
SHAPE = CropShape(slices=3, slice_margin=1, rows=8, cols=8, margin_px=2)
PYTHON, RULES = project_files(PROJECT)


def test_there_are_files_to_look_at() -> None:
    assert len(PYTHON) > 100 and len(RULES) > 10


@pytest.mark.parametrize("path", [str(path.relative_to(PROJECT)) for path in PYTHON])
def test_no_module_can_run_what_it_reads(path: str) -> None:
    assert not unsafe_in((PROJECT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [str(path.relative_to(PROJECT)) for path in RULES])
def test_no_rule_hands_names_to_a_shell(path: str) -> None:
    assert not unsafe_in_rules((PROJECT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=safe)",
        "import torch\ntorch.load(path, **options)",
        "import torch as t\nread = t.load\nread(path)",
        "from torch import load as fetch\nfetch(path)",
        "import torch\ngetattr(torch, 'load')(path)",
        "import torch\nlist(map(torch.load, paths))",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.save(path, objects)",
        "import numpy as np\nnp.lib.format.read_array(file)",
        "from numpy.lib import format\nformat.read_array(file)",
        "from numpy.lib.format import read_array",
        "import pickle\npickle.loads(data)",
        "import pickle as p\nload = p.Unpickler",
        "import pickle\nmodule = pickle",
        "from pickle import loads",
        "from pickle import *",
        "import cloudpickle",
        "import joblib\njoblib.load(path)",
        "from dill import load",
        "import pandas as pd\npd.read_pickle(path)",
        "table.to_pickle(path)",
        "table.query(text)",
        "table.eval(text)",
        "import yaml\nyaml.load(text, yaml.SafeLoader)",
        "from yaml import unsafe_load",
        "import yaml\nyaml.load_all(text, Loader=yaml.FullLoader)",
        "eval(text)",
        "exec(text)",
        "run = eval",
        "compile(text, 'x', 'exec')",
        "__import__(name)",
        "import importlib\nimportlib.import_module(name)",
        "import importlib\nimportlib.import_module('pickle')",
        "import os\nos.system(text)",
        "from os import system",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "import subprocess\nsubprocess.run(f'ls {name}')",
        "import socket\nsocket.socket().bind(('', 80))",
        "from socket import create_server",
        "import http.server",
        "from http.server import HTTPServer",
        "import urllib.request",
        "import torch.package",
        "from torch import package",
        "import torch\ntorch.hub.load(name)",
        "from torch.serialization import add_safe_globals",
    ],
)
def test_what_must_not_stand_in_a_module_is_seen(source: str) -> None:
    assert unsafe_in(source)


def test_what_may_stand_in_a_module_is_let_through() -> None:
    assert not unsafe_in(
        "import pickle, socket, re, subprocess, yaml, torch, numpy as np\n"
        "try:\n    torch.load(path, weights_only=True)\n"
        "except pickle.UnpicklingError:\n    pass\n"
        "np.load(path, mmap_mode='r', allow_pickle=False)\nmodel.eval()\nre.compile(text)\n"
        "subprocess.run([program, '-x'], check=True)\nyaml.safe_load(text)\nsocket.gethostname()\n"
        "getattr(node, 'body', None)\njson.load(file)\n"
    )
    assert unsafe_in_rules("rule a:\n    shell:\n        'cat {input}'\n")
    assert not unsafe_in_rules("rule a:\n    script:\n        'shell.py' # shell\n")


class Malice:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def npy_of_objects(made: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Malice(made)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def torch_file(made: Path, zipped: bool) -> bytes:
    stream = io.BytesIO()
    content = {"fingerprint": "f", "state": Malice(made)}
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def parquet_of_python_types(made: Path) -> bytes:
    """The extension type that older Arrow versions unpickled on sight."""
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Malice(made)),
    }
    schema = pa.schema([pa.field("study", pa.string(), metadata=metadata)])
    stream = io.BytesIO()
    pq.write_table(pa.table([["1"]], schema=schema), stream)
    return stream.getvalue()


FILES: dict[str, Callable[[Path], bytes]] = {
    "pickle_2": lambda made: pickle.dumps(Malice(made), 2),
    "pickle_5": lambda made: pickle.dumps(Malice(made), 5),
    "npy": npy_of_objects,
    "torch": lambda made: torch_file(made, zipped=True),
    "torch_old": lambda made: torch_file(made, zipped=False),
    "parquet": parquet_of_python_types,
}


def read_crops(path: Path) -> None:
    table = path.with_name("rois.parquet")
    write_table(table, empty_table(ROIS), ROIS)
    open_store(SHAPE, [path], [table])


def read_backbone(path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    timm_backbone.load_weights(network, "linear", path, 1)


def read_sheet(path: Path) -> None:
    contact_sheets(pd.DataFrame({"array": [str(path)], "row": [0]}), 1, 0)


def read_csv(path: Path) -> None:
    problems = Problems()
    read_csv_file(path.parent, path.name, ["study"], problems)
    problems.raise_if_any("the table")


# By what it is: the name under which the file is found, and what opens it in the project.
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "weights of a learner": ("w.safetensors", read_weights),
    "weights of a backbone": ("w.pth", read_backbone),
    "safe weights of a backbone": ("w.safetensors", read_backbone),
    "crops for training": ("rois.npy", read_crops),
    "crops for the report": ("rois.npy", read_sheet),
    "a volume": ("1_0.nii", open_volume),
    "a table": ("t.parquet", lambda path: read_table(path, STUDIES)),
    "tables of shards": ("t.parquet", lambda path: read_tables([path], STUDIES)),
    "a table of stacks": ("stacks.parquet", lambda path: load_stacks([path])),
    "ensemble weights and other JSON": ("weights.json", read_json),
    "statistics of the phantom": ("statistics.json", load_statistics),
    "a delivered table": ("train.csv", read_csv),
    "a delivered table, packed": ("train.csv.gz", lambda path: read_csv(path.with_suffix(""))),
}
# Readers that let another exception through than the one which users are meant to read.


def hidden(tmp_path: Path, kind: str, name: str) -> tuple[Path, Path]:
    """A file of that kind under that name, and the file that reading it must not make."""
    made = tmp_path / "made"
    path = tmp_path / "given" / name
    path.parent.mkdir()
    path.write_bytes(FILES[kind](made))
    return path, made


@pytest.mark.parametrize("kind", ["pickle_2", "pickle_5"])
def test_the_files_are_malicious(tmp_path: Path, kind: str) -> None:
    path, made = hidden(tmp_path, kind, "x")
    pickle.loads(path.read_bytes())
    assert made.exists()


def test_the_files_of_torch_and_numpy_are_malicious(tmp_path: Path) -> None:
    path, made = hidden(tmp_path, "torch", "x")
    torch.load(path, weights_only=False)
    assert made.exists()
    made.unlink()
    assert zipfile.is_zipfile(path)
    np.load(io.BytesIO(npy_of_objects(made)), allow_pickle=True)
    assert made.exists()


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_runs_a_file(tmp_path: Path, reader: str, kind: str) -> None:
    name, read = READERS[reader]
    path, made = hidden(tmp_path, kind, name)
    with pytest.raises(Exception):  # noqa: B017
        read(path)
    assert not made.exists()


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_refuses_in_words(tmp_path: Path, reader: str) -> None:
    name, read = READERS[reader]
    path, _ = hidden(tmp_path, "pickle_5", name)
    with pytest.raises(SpinegradeError) as caught:
        read(path)
    assert path.stem.split(".")[0] in str(caught.value)
