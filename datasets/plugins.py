"""Plug-ins: entry points under names that can be used, and the digest of the code and data that came with one."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple

PARTS = re.compile(r"[/\\:+,=]|--")  # of paths, addresses, lists and settings; `--` stands for `:` in folders
LONGEST = 64
# names that folders of the suite or rows of its boards have, or that are no folder's name on Windows
RESERVED = {"ceiling", "reference", "sweeps", "mlartifacts", "mlflow", "con", "prn", "aux", "nul",
            *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}  # fmt: skip
SKIPPED = {"__pycache__", "runs", "mlruns", "venv", "node_modules"}  # folders that tools and runs fill
LARGE = 2**24  # bytes from which a file counts by its size and time, not by its content


class Plugins(NamedTuple):
    """Entry points by name, and for each name that can't be used a line that says why and the mend."""

    points: dict[str, EntryPoint]
    refused: dict[str, str]


def why_no_name(name: str) -> str | None:
    """Why nothing may be called so (on a command line, in an address, as a folder); None where it may."""
    if not 0 < len(name) <= LONGEST or not name.isprintable() or PARTS.search(name) or name.strip(" .-~") != name:
        return (
            f"but a name has none of / \\ : + , = and --, no blank or . - ~ at its ends, at most {LONGEST} characters"
        )
    return "which is reserved" if {name.lower(), name.lower().split(".")[0]} & RESERVED else None


def find_plugins(group: str, kind: str, taken: Collection[str]) -> Plugins:
    """The plug-ins of an entry-point group.

    Args:
        group: of the entry points.
        kind: what they are, for the refusals: model or dataset.
        taken: names that are built in.
    """
    points: dict[str, EntryPoint] = {}
    refused: dict[str, str] = {}
    ours = {name.lower() for name in taken}  # names that differ in case alone are one folder on some systems
    for point in entry_points(group=group):
        name = point.name
        who = f"plug-in {point.value} wants the {kind} name {name!r}"
        if (why := why_no_name(name)) is not None:
            refused[name] = f"{who}, {why}: rename its entry point"
        elif name.lower() in ours:
            refused[name] = f"{who}, which is taken: rename its entry point or uninstall it"
        elif (other := next((known for known in points if known.lower() == name.lower()), None)) is not None:
            refused[name] = refused[other] = f"{who}, as plug-in {points.pop(other).value} does: uninstall one of them"
            ours.add(name.lower())
        else:
            points[name] = point
    return Plugins(points, refused)


def distribution_of(group: str, modules: Iterable[str]) -> Distribution | None:
    """What was installed to bring a plug-in, found by the modules of its class and of its entry point."""
    tops = {module.partition(".")[0] for module in modules}
    return next((point.dist for point in entry_points(group=group) if point.module.partition(".")[0] in tops), None)


def code_digest(modules: Sequence[str], distribution: Distribution | None, *more: str) -> str:
    """Digest (8 hex digits) of all that came with a plug-in: helpers and data files count as its own module does.

    These are the files that were installed with it; all below its packages; and, where it was not installed but lies
    in a folder of its own (or is installed as editable), the modules and packages beside it too.

    Args:
        modules: loaded ones in which its classes are written.
        distribution: what brought it, None if unknown.
        more: what else makes it what it is.
    """
    version = [f"{distribution.name} {distribution.version}"] if distribution is not None else []
    return _digest("|".join([*version, *more]), tuple(sorted(set(_files(modules, distribution)))))


@lru_cache(maxsize=64)
def _digest(version: str, files: tuple[tuple[str, str], ...]) -> str:
    digest = hashlib.sha256(version.encode())
    for name, path in files:
        try:
            stat = Path(path).stat()
            large = stat.st_size > LARGE
            content = f"{stat.st_size} {stat.st_mtime_ns}".encode() if large else Path(path).read_bytes()
        except OSError:  # gone, or not for us to read
            content = b""
        digest.update(f"|{name}|{len(content)}|".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()[:8]


def _files(modules: Sequence[str], distribution: Distribution | None) -> Iterator[tuple[str, str]]:
    """(name that does not hang on the place, path) of each file."""
    installed = {}
    for file in (distribution.files or []) if distribution is not None else []:
        if file.suffix != ".pyc" and not file.parts[0].endswith((".dist-info", ".egg-info")):
            installed[os.path.realpath(str(file.locate()))] = file.as_posix()
    yield from ((name, path) for path, name in installed.items())
    for top in {module.partition(".")[0] for module in modules}:
        for place in _places(top):
            if place.is_dir():
                yield from _below(place, place.parent)
            else:
                yield place.name, str(place)
            if os.path.realpath(place if place.is_file() else place / "__init__.py") in installed:
                continue
            if place.parent.name not in ("site-packages", "dist-packages"):  # the neighbours there are strangers
                yield from _beside(place)


def _places(top: str) -> list[Path]:
    """The folders of a package, or the file of a module (of an archive: the archive)."""
    module = sys.modules.get(top)
    if module is None:
        return []
    found = [Path(folder) for folder in getattr(module, "__path__", [])]
    if not found and (file := getattr(module, "__file__", None)):
        found = [Path(file)]
    archived = [next((path for path in place.parents if path.is_file()), place) for place in found]
    return [place for place in archived if place.is_absolute() and place.exists()]


def _below(folder: Path, root: Path) -> Iterator[tuple[str, str]]:
    """All files below a folder, without what Python and tools leave there."""
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED]
        for name in files:
            if not name.startswith(".") and not name.endswith((".pyc", ".log")):
                path = Path(here) / name
                yield path.relative_to(root).as_posix(), str(path)


def _beside(place: Path) -> Iterator[tuple[str, str]]:
    """What belongs to a plug-in in its folder: modules, packages, and the data files that its modules name.

    Other files are none of its business: a log that grows there must not make it another plug-in.
    """
    root = place.parent
    modules = sorted(path for path in root.glob("*.py") if path.is_file())
    yield from ((path.name, str(path)) for path in modules)
    for path in root.glob("*/__init__.py"):
        if not path.parent.name.startswith(".") and path.parent.name not in SKIPPED:
            yield from _below(path.parent, root)
    source = "".join(path.read_text(encoding="utf-8", errors="replace") for path in modules)
    for path in [*root.glob("*"), *root.glob("*/*")]:
        named = path.suffix not in ("", ".py", ".pyc") and (path.name in source or path.with_suffix(".py") in modules)
        if named and path.is_file():
            yield path.relative_to(root).as_posix(), str(path)
