"""Pictures of the workflow: which rules hang on which, and which jobs a full run has."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import atomic_path, write_text

_LOGGER = logging.getLogger("spinegrade")
GRAPHS = {"rule_graph": "--rulegraph", "job_graph": "--dag"}


def draw_graphs(snakefile: Path, config: dict[str, Any], folder: Path) -> None:
    """Write rule_graph and job_graph to ``folder``: .mermaid always, .svg and .png with graphviz.

    Snakemake is asked again, with the same configuration, for the graph of everything
    (whatever is already done). Raises SpinegradeError with its words when it refuses.
    """
    dot = shutil.which("dot")
    if dot is None:
        _LOGGER.info("graphviz (dot) is not installed: only the mermaid text is written")
    with tempfile.TemporaryDirectory() as temporary:
        config_file = Path(temporary) / "config.yaml"
        config_file.write_text(yaml.safe_dump(json.loads(json.dumps(config))), encoding="utf-8")
        for name, flag in GRAPHS.items():
            text = _graph(snakefile, config_file, [flag, "mermaid-js"])
            write_text(folder / f"{name}.mermaid", text[text.index("---") :])
            if dot is None:
                continue
            source = _graph(snakefile, config_file, [flag, "dot"])
            for kind in ("svg", "png"):
                with atomic_path(folder / f"{name}.{kind}") as picture:
                    command = [dot, f"-T{kind}", "-Gdpi=80", "-o", str(picture)]
                    subprocess.run(command, input=source, text=True, check=True)
            _LOGGER.info("%s drawn to %s", name, folder)


def _graph(snakefile: Path, config_file: Path, flags: list[str]) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile)]
    command += ["--configfile", str(config_file), "--forceall", "--nolock", *flags]
    # The outer run's settings must not steer the inner one.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE_")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SpinegradeError(
            f"snakemake could not draw the graph ({' '.join(flags)}): {done.stderr.strip()[-2000:]}"
        )
    return done.stdout
