"""Records on disk: `runs/<dataset>/<model>/<hash>/` with spec.json, record.json, slates, scores, model and log.

A folder is written beside its place and renamed, so a folder that is there is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from ..datasets.errors import SlateBenchError, UsageError, one_line
from ..datasets.files.reading import named_path
from ..datasets.files.table import read_table
from ..datasets.output import is_text
from .schema import RECORD_VERSION, Record, RunSpec, folder_name

AGAIN = "run the same bench again with --rerun"  # the mend for a damaged file of a run
BESIDE = ".tmp-"  # folders in the making: `.tmp-<hash>-<host>-<pid>`
HOST = "".join(c for c in socket.gethostname() if c.isalnum()) or "host"


@dataclass(frozen=True)
class Run:
    """A record and the folder that holds it."""

    folder: Path
    record: Record

    @property
    def spec(self) -> RunSpec:
        """The run's spec."""
        return self.record.spec

    @cached_property
    def slates(self) -> pl.DataFrame:
        """Slates in original ids: request, sample, items (null = empty slot); `checked.slates_of` checks them."""
        return self.table("slates.parquet")

    def table(self, name: str, only: pl.Expr | None = None) -> pl.DataFrame:
        """The table in a file of the run (or `only` these rows of it), as it is.

        Raises:
            DataError: no such file, or none that can be read.
        """
        return read_table(self.folder / name, AGAIN, only=only)


def runs_folder(runs: Path | str | None = None) -> Path:
    """The folder of all records: the argument, else SLATEBENCH_RUNS, else `runs` here.

    Raises:
        UsageError: there is a file of that name, or the name can't be written into records.
    """
    folder = named_path(runs or os.environ.get("SLATEBENCH_RUNS") or "runs")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder for the records with --runs")
    if not is_text(str(folder.absolute())):
        raise UsageError(f"{folder.absolute()}: not UTF-8 text: name another folder for the records with --runs")
    return folder


def check_writable(folder: Path) -> None:
    """Find out now, not after hours of work, whether something can be written into a folder that may not be there yet.

    Raises:
        UsageError: it can't.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there, prefix=BESIDE):
            pass
    except OSError as error:
        raise UsageError(
            f"{there} can't be written ({error.strerror}): choose another folder for the records with --runs"
        ) from error


def run_folder(runs: Path, spec: RunSpec) -> Path:
    """Where the record of `spec` stands."""
    return runs / spec.dataset / folder_name(spec.model) / spec.hash


def runs_of(run: Run) -> Path:
    """The runs folder in which a run stands.

    Raises:
        UsageError: it stands in none, e.g. in a copy of its folder elsewhere.
    """
    folder = run.folder.resolve()
    place = run_folder(Path(), run.spec)
    if folder.parts[-3:] != place.parts:
        raise UsageError(f"{run.folder} stands in no runs folder: copy it to <runs>/{place.as_posix()} and name that")
    return folder.parents[2]


def datasets_with_runs(runs: Path) -> list[str]:
    """Names of the datasets that have a record."""
    return sorted(
        {path.parents[2].name for path in runs.glob("*/*/*/record.json") if not path.parents[2].name.startswith(".")}
    )


def read_run(folder: Path) -> Run:
    """Read one record.

    Raises:
        SlateBenchError: no record there, a damaged one, or one of another schema version.
    """
    path = folder / "record.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("schema_version") != RECORD_VERSION:
            raise SlateBenchError(
                f"{path}: schema version {content.get('schema_version')}, we read {RECORD_VERSION}: run it again"
            )
        return Run(folder, Record(**content))
    except FileNotFoundError as error:
        raise SlateBenchError(
            f"{folder}: no record.json here; `slatebench leaderboard show` lists what is there"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, ValidationError) as error:
        line = str(error).splitlines()[0]
        raise SlateBenchError(f"{path}: damaged record ({line}); delete the folder and run the bench again") from error


def find_run(runs: Path, spec: RunSpec) -> Run | None:
    """The whole record of `spec`; None if there is none, or a damaged one (it is then made again)."""
    try:
        return read_run(run_folder(runs, spec))
    except SlateBenchError:
        return None


def list_runs(runs: Path, dataset: str | None = None) -> tuple[list[Run], list[str]]:
    """All readable records (of one dataset), in a fixed order, and a line for each that is not readable."""
    found, problems = [], []
    for path in sorted(runs.glob("*/*/*/record.json")):
        of, model, hash_ = path.parts[-4:-1]
        if (dataset and of != dataset) or model.startswith(".") or hash_.startswith("."):
            continue
        try:
            found.append(read_run(path.parent))
        except SlateBenchError as error:
            problems.append(str(error))
    return found, problems


@contextmanager
def folder_in_the_making(final: Path) -> Iterator[Path]:
    """A folder beside `final` that takes its place when the block ends well, and vanishes when it does not."""
    clean_leftovers(final.parent)
    beside = final.parent / f"{BESIDE}{final.name}-{HOST}-{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        if final.exists():
            old = final.parent / f"{BESIDE}old-{final.name}-{HOST}-{os.getpid()}"
            final.rename(old)
            beside.rename(final)
            shutil.rmtree(old, ignore_errors=True)
        else:
            beside.rename(final)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def clean_leftovers(parent: Path) -> None:
    """Remove folders in the making whose process is gone (killed); those of other machines are left alone."""
    import psutil

    for folder in parent.glob(f"{BESIDE}*-{HOST}-*"):
        pid = folder.name.rsplit("-", 1)[-1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and rename it."""
    beside = path.with_name(f"{BESIDE}{path.name}-{HOST}-{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_record(folder: Path, record: Record) -> None:
    """Write spec.json and record.json into `folder`.

    Raises:
        SlateBenchError: what would be written could not be read back.
    """
    try:
        text = record.model_dump_json(indent=1)
        Record.model_validate_json(text)
    except ValueError as error:
        line = one_line(error)
        raise SlateBenchError(f"{record.label}: a record that could not be read back is not written: {line}") from error
    write_text(folder / "spec.json", json.dumps(record.spec.model_dump(), indent=1, sort_keys=True))
    write_text(folder / "record.json", text)
