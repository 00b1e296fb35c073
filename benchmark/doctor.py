"""`doctor`: is everything here that a run needs, and what to do about what is not."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from ..datasets.errors import DataError, SlateBenchError
from ..datasets.files.finding import find_folders
from ..datasets.registry import dataset_card, dataset_names, refused_datasets
from ..leaderboards.records import list_runs, runs_folder
from ..models.registry import BUILTIN, model_class, model_names, refused_models
from .cells.machine import machine

Level = Literal["ok", "note", "problem"]
LOW_DISK_GIB = 5


@dataclass(frozen=True)
class Finding:
    """One line of the report: what, how it stands, and what to do if it is not well."""

    topic: str
    level: Level
    state: str
    mend: str = ""


def doctor(runs: Path | str | None = None) -> list[Finding]:
    """Versions, machine, data, MLflow store, records and disk, each with what to do about a problem."""
    folder = runs_folder(runs)
    return [*_machine(), *_packages(), *_plugins(), *_data(), *_records(folder), _mlflow(folder), *_disk(folder)]


def _machine() -> list[Finding]:
    m = machine()
    threads = os.environ.get("OMP_NUM_THREADS")
    found = [
        Finding("python", "ok", f"{m.python} on {m.system}"),
        Finding("processor", "ok", f"{m.cpu}, {m.cores} cores, {m.memory_gib} GiB memory"),
        Finding("threads", "ok", f"OMP_NUM_THREADS={threads}" if threads else f"all {m.cores} cores are used"),
    ]
    if m.gpu is None:
        return [*found, Finding("gpu", "note", "none: everything runs on the processor")]
    return [*found, Finding("gpu", "ok", m.gpu)]


def _packages() -> list[Finding]:
    """Each core dependency's version, beside what pyproject.toml asks for."""
    from packaging.requirements import Requirement

    found = []
    for line in requires("slatebench") or []:
        wanted = Requirement(line)
        if wanted.marker is not None:  # an extra
            continue
        try:
            have = version(wanted.name)
        except PackageNotFoundError:
            found.append(Finding(wanted.name, "problem", "not installed", "make setup"))
            continue
        fits = wanted.specifier.contains(have, prereleases=True)
        found.append(
            Finding(
                wanted.name, "ok" if fits else "problem", have, "" if fits else f"needs {wanted.specifier}: make setup"
            )
        )
    return found


def _plugins() -> list[Finding]:
    """Plug-ins that can't be used, because of their names or because they can't be imported."""
    refused = [*refused_models(), *refused_datasets()]
    for name in model_names():
        if name not in BUILTIN:
            try:
                model_class(name)
            except SlateBenchError as error:
                refused.append(str(error))
    return [Finding("plug-in", "problem", "can't be used", line) for line in refused]


def _data() -> list[Finding]:
    where = os.environ.get("SLATEBENCH_DATA")
    found = [
        Finding("SLATEBENCH_DATA", "ok", where)
        if where
        else Finding(
            "SLATEBENCH_DATA", "note", "not set", "set it to a folder laid out <dataset>/... to use data you have"
        )
    ]
    for name in dataset_names():
        try:
            card = dataset_card(name)
        except DataError as error:
            found.append(Finding(name, "problem", "broken plug-in", str(error)))
            continue
        if card.source == "synthetic":
            found.append(Finding(name, "ok", "embedded, made from a seed"))
            continue
        try:
            places = list(find_folders(card))
        except SlateBenchError as error:
            found.append(Finding(name, "problem", "can't be read", str(error)))
            continue
        if places:
            unused = f"not used: {', '.join(map(str, places[1:]))}, which holds it too" if places[1:] else ""
            found.append(Finding(name, "note" if unused else "ok", f"found in {places[0]}", unused))
        else:
            mend = card.instructions or f"slatebench datasets fetch {name}, or put it into a SLATEBENCH_DATA folder"
            found.append(Finding(name, "note", "not here", mend))
    return found


def _records(folder: Path) -> list[Finding]:
    if not folder.exists():
        return [Finding("records", "note", f"no runs yet in {folder}", "make bench MODEL=bm25 DATASET=bundle")]
    runs, problems = list_runs(folder)
    found = [Finding("records", "ok", f"{len(runs)} in {folder}")]
    return found + [Finding("records", "problem", problem) for problem in problems]


def _mlflow(folder: Path) -> Finding:
    from ..leaderboards.mlflow_view.store import OURS, connect, place, tracking_uri

    uri = tracking_uri(folder)
    where = place(uri)
    if where == str((folder / OURS).resolve()) and not (folder / OURS).exists():
        return Finding("mlflow", "note", f"no store yet at {where}", "the first bench makes it")
    try:
        count = len(connect(folder).search_experiments())
    except SlateBenchError as error:
        return Finding("mlflow", "problem", "can't be opened", str(error))
    return Finding("mlflow", "ok", f"{count} experiments at {where}; `make ui` shows them")


def _disk(folder: Path) -> list[Finding]:
    there = next(path for path in [folder.resolve(), *folder.resolve().parents] if path.exists())
    free = shutil.disk_usage(there).free / 2**30
    if not os.access(there, os.W_OK):
        return [Finding("disk", "problem", f"{there} can't be written", "choose another place with --runs")]
    if free < LOW_DISK_GIB:
        return [
            Finding("disk", "problem", f"{free:.1f} GiB free at {there}", f"free some: runs want {LOW_DISK_GIB} GiB")
        ]
    return [Finding("disk", "ok", f"{free:.0f} GiB free at {there}")]
