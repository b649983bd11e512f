"""Jobs of ``--sdm apptainer``: which image they run in, and what of this machine they see there."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from pathlib import Path

from spinegrade.errors import SpinegradeError


def container_image(image: str, project: Path) -> str:
    """What Snakemake is told to run jobs in.

    Parameters
    ----------
    image: config key ``runtime.container``: an address (``docker://``, ``oras://`` and so on), or a
        file, relative to the folder ``project``.

    Raises SpinegradeError when the file is not there. Snakemake itself would start every job first.
    """
    if "://" in image:
        return image
    path = project / image
    if not path.is_file():
        raise SpinegradeError(
            f"--sdm apptainer: there is no container image {path} (runtime.container). Build it: "
            f"cd {project}; apptainer build {image} envs/spinegrade.def; or name another.",
            code="CONTAINER_MISSING",
            key="runtime.container",
        )
    return str(path)


def show_in_container(
    environment: MutableMapping[str, str], project: Path, folders: Iterable[str | Path]
) -> None:
    """Have apptainer show ``project`` and ``folders`` in the container, under their own paths.

    Snakemake shows the search path of Python alone, folder by folder and under other names; the
    package then does not find what lies beside it in the project. apptainer itself shows the
    working folder and the home folder. ``environment`` (``os.environ``) is changed.
    """
    shown = [project, *(Path(folder).absolute() for folder in folders)]
    bound = environment.get("APPTAINER_BIND", "").split(",")
    wanted = [*filter(None, bound), *(str(path) for path in shown if path.is_dir())]
    environment["APPTAINER_BIND"] = ",".join(dict.fromkeys(wanted))
    environment["APPTAINERENV_PYTHONPATH"] = str(project / "scripts")
    environment["APPTAINERENV_PYTHONDONTWRITEBYTECODE"] = "1"
