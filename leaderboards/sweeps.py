"""Sweeps on disk: `runs/sweeps/<dataset>/<model>/<hash>/` with the study's spec, journal, trials, plots and result.

`read_sweeps` gives all trials as one table; `tuned` gives the settings that a sweep found for a model.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from ..datasets.errors import DataError, SlateBenchError, UsageError
from ..datasets.files.table import read_table
from .command import unusual_data
from .records import write_text
from .schema import Budget, DataChoice, RunSpec, Versions, folder_name

FOLDER = "sweeps"
LATER = ("train_share", "item_vectors")  # fields of StudySpec that older studies lack: they keep their hash
SPEC, TRIALS, RESULT = "sweep.json", "trials.parquet", "result.json"
SCHEMA = {"dataset": pl.String, "source": pl.String, "fingerprint": pl.String, "model": pl.String, "budget": pl.String,
          "study": pl.String, "sampler": pl.String, "objectives": pl.List(pl.String), "trial": pl.Int64,
          "state": pl.String, "reason": pl.String, "best": pl.Boolean, "seconds": pl.Float64,
          "settings": pl.String}  # fmt: skip


class StudySpec(DataChoice):
    """What a sweep searches, where and how. The same hash is the same study; the number of trials is not part of it."""

    model: str  # address with presets
    config: dict[str, Any]  # what every trial starts from
    sampling: dict[str, Any]
    overrides: dict[str, Any]  # of these, set by hand
    space: dict[str, Any]  # field -> list of values, or {"low", "high", "step", "log"}
    objectives: list[str]
    directions: list[Literal["maximize", "minimize"]]
    sampler: dict[str, Any]  # name and all arguments
    pruner: dict[str, Any] | None = None
    seed: int
    k: int
    samples: int
    requests: int  # of the validation part
    latency_requests: int
    budget: Budget
    versions: Versions

    @cached_property
    def hash(self) -> str:
        """16 hex digits over every field; those of `LATER` count where they are not as usual."""
        return self._hashed(*LATER)

    def folder(self, runs: Path) -> Path:
        """Where the study stands."""
        return _model_folder(runs, self) / self.hash


def sweeps_folder(runs: Path) -> Path:
    """The folder of all sweeps."""
    return runs / FOLDER


def _model_folder(runs: Path, spec: StudySpec | RunSpec) -> Path:
    return sweeps_folder(runs) / spec.dataset / folder_name(spec.model)


def read_study(folder: Path) -> StudySpec:
    """The spec of the study in `folder`.

    Raises:
        SlateBenchError: none there, or a damaged one.
    """
    try:
        return StudySpec(**json.loads((folder / SPEC).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise SlateBenchError(f"{folder}: no {SPEC} here; name the folder of a sweep") from error
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, ValidationError) as error:
        line = str(error).splitlines()[0]
        raise SlateBenchError(f"{folder / SPEC}: damaged ({line}); delete the folder and sweep again") from error


def list_studies(runs: Path) -> tuple[list[tuple[StudySpec, Path]], list[str]]:
    """All finished sweeps with their folders, the oldest first, and a line for each that is not readable."""
    found, problems = [], []
    for path in sorted(sweeps_folder(runs).glob(f"*/*/*/{RESULT}"), key=lambda path: (path.stat().st_mtime, path)):
        try:
            found.append((read_study(path.parent), path.parent))
        except SlateBenchError as error:
            problems.append(str(error))
    return found, problems


def read_sweeps(runs: Path | str, dataset: str | None = None) -> pl.DataFrame:
    """All trials of all sweeps (on one dataset), one row each; unreadable files are left out.

    Args:
        runs: folder of the records.
        dataset: name; all by default.

    Returns:
        The columns of `SCHEMA` (`settings`: the swept fields as JSON; `best`: the winner, or on the Pareto front),
        then one column per swept field (e.g. `steps`, `guidance`), then one per figure on the validation part
        (`ndcg_sim_at_10`, with `_low` and `_high`, `freshness`, `latency_p50_ms`, `nfe`, ...); null where a sweep has
        no such field or figure. A field whose values are numbers in one sweep and text in another is text.
    """
    frames = []
    for path in sorted(sweeps_folder(Path(runs)).glob(f"*/*/*/{TRIALS}")):
        if dataset and path.parts[-4] != dataset:
            continue
        with suppress(DataError):
            frames.append(read_table(path, "sweep again"))
    return pl.concat([pl.DataFrame(schema=SCHEMA), *frames], how="diagonal_relaxed")


def trial_frame(spec: StudySpec, trials: list[dict[str, Any]]) -> pl.DataFrame:
    """Trials as a table with the columns that `read_sweeps` names.

    Args:
        spec: of the study.
        trials: dicts with trial, state, reason, best, seconds, settings {field: value}, figures {name: value}.
    """
    head = {"dataset": spec.dataset, "source": spec.source, "fingerprint": spec.fingerprint, "model": spec.model,
            "budget": spec.budget, "study": spec.hash, "sampler": spec.sampler["name"],
            "objectives": spec.objectives}  # fmt: skip
    own = ("trial", "state", "reason", "best", "seconds")
    rows = [head | {name: t[name] for name in own} | {"settings": json.dumps(t["settings"])} for t in trials]
    fields = _columns([t["settings"] for t in trials], list(spec.space))
    figures = _columns([t["figures"] for t in trials], list(dict.fromkeys(n for t in trials for n in t["figures"])))
    return pl.concat([pl.DataFrame(rows, schema=SCHEMA), fields, figures], how="horizontal")


def figures_of(row: dict[str, Any], spec: StudySpec) -> dict[str, Any]:
    """The figures of a trial: what is left of its row in `trial_frame` without `SCHEMA` and the swept fields."""
    return {name: value for name, value in row.items() if name not in SCHEMA and name not in spec.space}


def _columns(rows: list[dict[str, Any]], names: list[str]) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series(name, [row.get(name) for row in rows], strict=False) for name in names})


# --- tuned settings ---------------------------------------------------------------------------------------


class Tuned(BaseModel):
    """The settings that a sweep found for a model, with the score on the validation part and the study."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    settings: dict[str, Any]
    overrides: dict[str, Any]  # set by hand for the whole sweep
    objective: str
    value: float
    default: float | None  # the same objective at the model's own settings
    trials: int
    study: str
    fingerprint: str
    budget: Budget
    created: str


def keep_tuned(runs: Path, spec: StudySpec, tuned: Tuned) -> Path:
    """Store tuned settings; those of an earlier study that `tuned` would take in the same place are replaced."""
    path = _tuned_file(runs, spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, tuned.model_dump_json(indent=1))
    return path


def tuned(runs: Path, spec: RunSpec) -> Tuned:
    """The tuned settings of a run's model.

    Raises:
        UsageError: nobody tuned it on this data with this budget, share of the train slates, encoder and item vectors,
            or somebody did with another version.
    """
    path = _tuned_file(runs, spec)
    asked = "".join(f" --{option} {value}" for option, value in unusual_data(spec).items())
    mend = f"slatebench sweep {spec.model} --dataset {spec.dataset} --budget {spec.budget}{asked}"
    try:
        found = Tuned(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageError(
            f"no tuned settings of {spec.model} on {spec.dataset} at budget {spec.budget}{asked}: {mend}"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, ValidationError) as error:
        raise UsageError(f"{path}: damaged; delete it, then {mend}") from error
    if found.fingerprint != spec.fingerprint:
        here = spec.fingerprint
        raise UsageError(f"{path}: tuned on fingerprint {found.fingerprint}, the data here have {here}: {mend}")
    then = _versions(path.parent / found.study)
    if then is not None and then != spec.versions:
        pairs = zip(then, spec.versions, strict=True)
        apart = ", ".join(f"{name} {old}, now {now}" for (name, old), (_, now) in pairs if old != now)
        raise UsageError(f"{path}: tuned with another version ({apart}): {mend}")
    return found


def _versions(study: Path) -> Versions | None:
    """The versions with which a study was made; None where it is gone."""
    try:
        return read_study(study).versions
    except SlateBenchError:
        return None


def _tuned_file(runs: Path, spec: StudySpec | RunSpec) -> Path:
    name = "-".join(["tuned", spec.budget, *(f"{option}={value}" for option, value in unusual_data(spec).items())])
    return _model_folder(runs, spec) / f"{name.replace('/', '--')}.json"
