"""A sweep in MLflow: one run for the study, one nested run per trial, the plots as artifacts.

They stand in an experiment of their own, `<dataset>-sweeps`: trials are no results, and never among those of a board.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ...datasets.errors import DataError, SlateBenchError
from ...datasets.files.table import read_table
from ..sweeps import RESULT, SPEC, TRIALS, StudySpec, figures_of, list_studies
from .runs import BATCH, NOTE_TAG, PARAMETER_LIMIT, PARENT_TAG, VIEW_TAG, delete_runs, open_experiment
from .store import connect, named_errors, view_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

STUDY_TAG = "slatebench.study"
EXPERIMENT_NOTE = (
    "The page opens with the trials of the newest sweep on **{dataset}**; empty the search field to see all sweeps. "
    "A sweep's run holds its winner's settings (`best_*`), its plots (Artifacts) and the command that runs the winner "
    "again. All figures are of the validation part."
)


def log_sweep(spec: StudySpec, folder: Path, runs: Path) -> str:
    """Show the sweep in `folder` (its files as `benchmark.sweep` writes them); an earlier view of it is replaced.

    Returns:
        The id of the sweep's run.

    Raises:
        SlateBenchError: MLflow can't be reached, or the sweep's files are damaged.
    """
    client = connect(runs)
    with named_errors(client.tracking_uri), view_lock(runs):
        experiment = open_experiment(client, f"{spec.dataset}-sweeps", runs)
        _forget(client, experiment, runs, spec.hash)
        return _log(client, experiment, spec, folder)


def rebuild_sweeps(runs: Path, report: Callable[[str], None] = lambda _: None) -> tuple[int, list[str]]:
    """Make the view of all finished sweeps again from their files: what MLflow shows of sweeps is deleted first.

    Args:
        runs: folder of the records.
        report: is told what is being logged.

    Returns:
        How many sweeps were logged, and a line for each that is not readable.

    Raises:
        SlateBenchError: MLflow can't be reached.
    """
    studies, problems = list_studies(runs)
    client = connect(runs)
    with named_errors(client.tracking_uri), view_lock(runs):
        for experiment in client.search_experiments():
            _forget(client, experiment.experiment_id, runs)
    logged = 0
    for spec, folder in studies:
        report(f"sweep of {spec.model} on {spec.dataset}")
        try:
            log_sweep(spec, folder, runs)
            logged += 1
        except _Damaged as error:
            problems.append(str(error))
    return logged, problems


class _Damaged(SlateBenchError):
    """A sweep whose files do not read."""


def _read(spec: StudySpec, folder: Path) -> tuple[dict[str, Any], pl.DataFrame]:
    """Result and trials of a sweep."""
    mend = f"delete the folder, then slatebench sweep {spec.model} --dataset {spec.dataset}"
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        if not {"settings", "figures", "command", "created"} <= result.keys():
            raise ValueError(f"{RESULT} has no settings, figures, command or created")
        return result, read_table(folder / TRIALS, mend)
    except DataError as error:
        raise _Damaged(str(error)) from error
    except (OSError, ValueError, AttributeError) as error:
        line = str(error).strip().splitlines()[0][:200]
        raise _Damaged(f"{folder}: damaged ({line}); {mend}") from error


def _forget(client: MlflowClient, experiment: str, runs: Path, study: str | None = None) -> None:
    """Delete what MLflow shows of a study (of all studies)."""
    asked = f"tags.`{STUDY_TAG}` = '{study}'" if study else f"tags.`{STUDY_TAG}` LIKE '%'"
    while found := client.search_runs([experiment], filter_string=asked, max_results=1000):
        delete_runs(client, found, runs)


def _log(client: MlflowClient, experiment: str, spec: StudySpec, folder: Path) -> str:
    result, trials = _read(spec, folder)
    tags = {"model": spec.model, "fingerprint": spec.fingerprint, "budget": spec.budget, "study": spec.hash,
            STUDY_TAG: spec.hash, "mlflow.source.name": "slatebench sweep"}  # fmt: skip
    given = {"objectives": ", ".join(spec.objectives), "space": spec.space, "seed": spec.seed,
             "requests": spec.requests, "samples": spec.samples, "train_share": spec.train_share,
             "encoder": spec.encoder}  # fmt: skip
    given |= {"item_vectors": spec.item_vectors} if spec.item_vectors else {}
    given |= {f"sampler_{key}": value for key, value in spec.sampler.items()}
    given |= {f"pruner_{key}": value for key, value in (spec.pruner or {}).items()}
    given |= {f"best_{key}": value for key, value in result["settings"].items()}
    # when each trial began is on no record: one after another, they end when the sweep did
    end = int(1000 * datetime.fromisoformat(result["created"]).timestamp())
    took = [int(1000 * (seconds or 0)) for seconds in trials["seconds"]]
    at = end - sum(took)
    note = (f"{trials.height} trials for {' and '.join(spec.objectives)} on {spec.requests} requests of the validation "
            f"part. The winner again: `{result['command']}`")  # fmt: skip
    words = tags | {"trials": str(trials.height), NOTE_TAG: note}
    parent = _run(client, experiment, f"sweep {spec.model} {spec.hash[:6]}", words, given, result["figures"], at)
    about = {NOTE_TAG: EXPERIMENT_NOTE.format(dataset=spec.dataset), VIEW_TAG: _view(spec)}
    for tag, value in about.items():
        client.set_experiment_tag(experiment, tag, value)
    for name in (SPEC, TRIALS, RESULT):
        client.log_artifact(parent, str(folder / name))
    if (folder / "plots").is_dir():
        client.log_artifacts(parent, str(folder / "plots"), "plots")
    client.set_terminated(parent, end_time=end)
    for trial, duration in zip(trials.iter_rows(named=True), took, strict=True):
        settings = json.loads(trial["settings"])
        nested = tags | {PARENT_TAG: parent, "state": trial["state"], "best": "yes" if trial["best"] else "no"}
        nested |= {"reason": trial["reason"]} if trial["reason"] else {}
        figures = figures_of(trial, spec)
        name = " ".join([f"trial {trial['trial']}:", *(f"{key}={_short(value)}" for key, value in settings.items())])
        run = _run(client, experiment, name[:250], nested, settings, figures, at)
        at += duration
        client.set_terminated(run, "FAILED" if trial["state"] == "fail" else "FINISHED", at)
    return parent


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _view(spec: StudySpec) -> str:
    """State of MLflow's pages of sweeps: this sweep's trials, the best first, with its objectives and fields."""
    shown = [*(f"metrics.`{name}`" for name in spec.objectives), *(f"params.`{name}`" for name in spec.space)]
    return json.dumps({
        "selectedColumns": [*shown, "tags.`best`"],
        "columnOrder": [*shown, "tags.`best`"],
        "searchFilter": f"tags.study = '{spec.hash}' AND tags.best LIKE '%'",  # the sweep's own run has no tag `best`
        "orderByKey": f"metrics.`{spec.objectives[0]}`",
        "orderByAsc": spec.directions[0] == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "runsHiddenMode": "SHOW_ALL",
    })  # fmt: skip


def _run(client: MlflowClient, experiment: str, name: str, tags: dict[str, str], params: dict[str, Any],
         figures: dict[str, Any], start: int) -> str:  # fmt: skip
    from mlflow.entities import Metric, Param

    made = client.create_run(experiment, start_time=start, run_name=name, tags=tags)
    metrics = [Metric(key, float(value), start, 0) for key, value in figures.items()
               if isinstance(value, int | float) and math.isfinite(value)]  # fmt: skip
    parameters = [Param(key, str(value)[:PARAMETER_LIMIT]) for key, value in params.items()]
    client.log_batch(made.info.run_id, metrics=metrics[:BATCH], params=parameters)
    return made.info.run_id
