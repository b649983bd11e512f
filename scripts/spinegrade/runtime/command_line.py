"""What Snakemake ends with a trace before it has read the workflow, told in a sentence instead.

Called by the profiles, which Snakemake reads first.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import yaml

_CONFIG, _FILES = ("--config", "-C"), ("--configfile", "--configfiles")
# As Snakemake wants the names of --config.
_NAME = re.compile(r"[a-zA-Z_][\w-]*\w")


class _TwiceError(yaml.MarkedYAMLError):
    """A key that stands twice in one block."""


class _Loader(yaml.SafeLoader):
    """YAML as Snakemake reads it, but for a key that stands twice: it would lose the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _TwiceError(problem=key.value, problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


CACHE = "XDG_CACHE_HOME"


def check_command_line(arguments: list[str]) -> None:
    """End with a sentence where the command line or a folder for caches is of no use.

    ``arguments`` are those of Snakemake. Where the home folder cannot be written, caches go to the
    working folder, and that is said.
    """
    refusal = refusal_of(arguments)
    told = None
    if refusal is None:
        refusal, told = find_cache(os.environ)
    if refusal is not None:
        sys.exit(f"Error: {refusal}")
    if told is not None:
        print(told, file=sys.stderr)


def refusal_of(arguments: list[str]) -> str | None:
    """The sentence on --config or --configfile as they stand, or None where they are right."""
    for entries in _values(arguments, _CONFIG):
        for number, entry in enumerate(entries):
            if refusal := _refusal_of_entry(entry, entries[number + 1 :]):
                return refusal
    for files in _values(arguments, _FILES):
        for file in files:
            if refusal := _refusal_of_file(Path(file)):
                return refusal
    return None


def find_cache(environment: MutableMapping[str, str]) -> tuple[str | None, str | None]:
    """A refusal and a remark, None where there is none, on the folder that caches go to.

    Snakemake and the libraries of its jobs write to XDG_CACHE_HOME, or to ~/.cache. Where that
    cannot be, ``environment`` is made to name a folder in the working folder.
    """
    folder = environment.get(CACHE) or f"{environment.get('HOME') or Path('~').expanduser()}/.cache"
    remedy = f"set {CACHE} to a folder that you can write to"
    if not folder.startswith("~") and _can_hold(Path(folder)):
        return None, None
    instead = Path(".snakemake", "cache").absolute()
    if not _can_hold(instead):
        return f"caches can be written neither to {folder} nor to {instead}; {remedy}", None
    environment[CACHE] = str(instead)
    return None, f"{folder} cannot be written, so caches go to {instead}; or {remedy}."


def _can_hold(folder: Path) -> bool:
    try:
        # What Snakemake makes there itself.
        (folder / "snakemake" / "snakemake" / "source-cache").mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _values(arguments: list[str], names: tuple[str, ...]) -> Iterator[list[str]]:
    """What stands behind each option of those names, up to the next option."""
    for number, word in enumerate(arguments):
        name, given, value = word.partition("=")
        if word in names:
            rest = arguments[number + 1 :]
            end = next((n for n, one in enumerate(rest) if one.startswith("-")), len(rest))
            yield rest[:end]
        elif given and name in names and name.startswith("--"):
            yield [value]


def _refusal_of_entry(entry: str, others: list[str]) -> str | None:
    key, given, value = entry.partition("=")
    if not given:
        return (
            f"--config takes all words up to the next flag, and {entry!r} is not of the form "
            f"'BLOCK={{KEY: VALUE}}'; put -- before targets: --config ... -- {entry}"
        )
    if not _NAME.fullmatch(key):
        block, _, name = key.partition(".")
        way = f"{block}={{{name}: {value}}}" if name else "BLOCK={KEY: VALUE}"
        return f"--config {shlex.quote(entry)}: {key!r} is no name of a block; give it as '{way}'"
    try:
        yaml.BaseLoader(value).get_single_node()
    except yaml.YAMLError:
        if not (others and value.startswith("{")):
            return (
                f"--config {shlex.quote(entry)}: the value is not valid YAML; give it as "
                f"'{key}={{KEY: VALUE, KEY: VALUE}}'"
            )
        whole = " ".join([entry, *others])
        whole = whole[: whole.rfind("}") + 1] or whole
        return (
            f"--config {entry}: this is only a part, since the shell splits words at spaces; put "
            f"quotes around the whole: --config {shlex.quote(whole)}"
        )
    return None


def _refusal_of_file(file: Path) -> str | None:
    try:
        text = file.read_text(encoding="utf-8")
        read = _Loader(text).get_single_data()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        hint = "" if file.suffix or file.exists() else ", and put -- before targets"
        return f"--configfile {file} cannot be read ({why}); name a YAML file that is there{hint}"
    except _TwiceError as error:
        mark = error.problem_mark
        return (
            f"--configfile {file}, line {mark.line + 1}, column {mark.column + 1}: the key "
            f"{error.problem!r} stands there a second time and would replace the first; write all "
            "of it under one"
        )
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        why = getattr(error, "problem", None) or "a character that YAML does not allow"
        return f"--configfile {file}{where}: not valid YAML ({why}); mend it there or just above"
    if not isinstance(read, dict):
        return (
            f"--configfile {file} {'is empty' if read is None else 'holds no block of keys'}; it "
            "must hold blocks such as cohort: with their keys below them, each with a colon and a "
            "space behind it"
        )
    return None
