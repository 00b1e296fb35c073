"""MLflow shows the records: an experiment per dataset, a run per system, below it one per seed.

The records stay the truth: `rebuild` makes the whole view again.

Where it is kept: mlflow_store.py.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ...datasets.errors import SlateBenchError
from ...metrics.evaluate import Summary, summarise
from ..board import kind_of
from ..checked import requests_of, scores_of
from ..records import Run, list_runs
from .store import connect, is_database, named_errors, view_lock
from .text import (
    MACHINERY,
    Value,
    board_view,
    costs,
    curves,
    dataset_source,
    experiment_note,
    quality,
    system_name,
    system_note,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.entities import Run as MlflowRun

ARTIFACTS = ("spec.json", "record.json", "slates.parquet", "scores.parquet", "log.txt")
VIEW_VERSION = "3"  # another one logs everything again
HASH_TAG, SYSTEM_TAG, CONTENT_TAG = "slatebench.hash", "slatebench.system", "slatebench.record"
VIEW_NAME = "board"  # the page that `ui` opens
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_NAME}"
PARENT_TAG, NOTE_TAG = "mlflow.parentRunId", "mlflow.note.content"
PARAMETER_LIMIT = 6000  # MLflow cuts longer values without a word; the full spec is an artifact
BATCH = 1000  # metrics that MLflow takes at once


def page(experiment: str, mode: str = "TABLE") -> str:
    """Address of a dataset's page below that of the server: its systems as a table, or (CHART) as charts."""
    view = f"viewStateShareKey={VIEW_NAME}&compareRunsMode={mode}"
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&{view}"


def log_runs(runs: Sequence[Run], folder: Path) -> int:
    """Show all records of these runs' datasets; systems that MLflow shows already, unchanged, are left alone.

    Returns:
        How many records were logged.
    """
    if not runs:
        return 0
    on_disk = [run for dataset in {run.spec.dataset for run in runs} for run in list_runs(folder, dataset)[0]]
    return _show(list({run.spec.hash: run for run in (*on_disk, *runs)}.values()), connect(folder), folder)


def rebuild(runs: Sequence[Run], folder: Path, report: Callable[[str], None] = lambda _: None) -> int:
    """Make the view of these records again from nothing: all runs of ours that MLflow shows are deleted first.

    Those of sweeps are `sweeps_mlflow.rebuild_sweeps`'s.

    Args:
        runs: to be shown.
        folder: of the records.
        report: is told what is being logged.

    Returns:
        How many records were logged.
    """
    client = connect(folder)
    with named_errors(client.tracking_uri), view_lock(folder):
        for experiment in client.search_experiments():
            for shown in _shown(client, experiment.experiment_id).values():
                delete_runs(client, shown, folder)
    return _show(runs, client, folder, report)


def _show(
    runs: Sequence[Run], client: MlflowClient, folder: Path, report: Callable[[str], None] = lambda _: None
) -> int:
    logged = 0
    with named_errors(client.tracking_uri), view_lock(folder):
        for dataset in sorted({run.spec.dataset for run in runs}):
            experiment = open_experiment(client, dataset, folder)
            shown = _shown(client, experiment)
            delete_runs(client, shown.pop("", []), folder)  # of an earlier make
            of_dataset = [run for run in runs if run.spec.dataset == dataset]
            spec = of_dataset[0].spec
            about = {NOTE_TAG: experiment_note(spec), VIEW_TAG: board_view(spec)}
            for tag, value in about.items():
                client.set_experiment_tag(experiment, tag, value)
            for name, members in _systems(of_dataset):
                before = shown.pop(members[0].spec.system, [])
                content = _digest(name, members)
                if [run.data.tags[CONTENT_TAG] for run in before if CONTENT_TAG in run.data.tags] == [content]:
                    continue
                delete_runs(client, before, folder)
                report(f"{name} on {dataset}")
                _log_system(client, experiment, name, members, content)
                logged += len(members)
    return logged


def _systems(runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    """Systems by name, each with its runs in the order of the seeds; the oldest first."""
    members: dict[str, list[Run]] = {}
    newest: dict[tuple[Any, ...], Run] = {}
    for run in sorted(runs, key=lambda run: run.record.created):
        members.setdefault(run.spec.system, []).append(run)
        newest[_same(run)] = run
    found = []
    for system, of_system in members.items():
        old = newest[_same(of_system[0])].spec.system != system
        found.append((system_name(of_system[0], old), sorted(of_system, key=lambda run: run.spec.seed)))
    return found


def _same(run: Run) -> tuple[Any, ...]:
    """What two versions of one system share."""
    spec = run.spec
    return system_name(run), spec.k, spec.samples, spec.encoder, spec.item_vectors


def _digest(name: str, runs: Sequence[Run]) -> str:
    """Changes when anything that the view shows of a system does."""
    records = [run.record.model_dump_json() for run in runs]
    return hashlib.sha256("\n".join([VIEW_VERSION, name, *records]).encode()).hexdigest()[:16]


def run_of(client: MlflowClient, run: Run) -> str:
    """Id of the MLflow run that shows a record (of its seed, not of its system).

    Raises:
        SlateBenchError: MLflow does not show it.
    """
    experiment = client.get_experiment_by_name(run.spec.dataset)
    if experiment is not None:
        found = client.search_runs([experiment.experiment_id], f"tags.`{HASH_TAG}` = '{run.spec.hash}'", max_results=1)
        if found:
            return found[0].info.run_id
    raise SlateBenchError(f"MLflow does not show {run.folder}: `slatebench leaderboard rebuild` logs it")


def open_experiment(client: MlflowClient, name: str, folder: Path) -> str:
    """Id of the experiment `name`, made if there is none, taken out of the bin if it was deleted.

    Args:
        client: of the store.
        name: a dataset's, or that of its sweeps.
        folder: of the records; a local store keeps the artifacts below it.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        # a database would fix the artifacts to the current folder; a server knows its own place
        place = None
        if is_database(client.tracking_uri):
            place = (folder / "mlartifacts" / name).resolve().as_uri()
        # the tag opens MLflow's training view; without it the page shows its GenAI view, where runs look empty
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return client.create_experiment(name, artifact_location=place, tags=tags)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _shown(client: MlflowClient, experiment: str) -> dict[str, list[MlflowRun]]:
    """Runs of ours that MLflow shows, by system ("" = made by an earlier version of this view)."""
    shown: dict[str, list[MlflowRun]] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            if HASH_TAG in run.data.tags or SYSTEM_TAG in run.data.tags:
                shown.setdefault(run.data.tags.get(SYSTEM_TAG, ""), []).append(run)
        token = page.token
        if not token:
            return shown


def delete_runs(client: MlflowClient, runs: Iterable[MlflowRun], folder: Path) -> None:
    """Delete runs, and their artifacts where those lie in the runs folder: the records hold them all."""
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    for run in runs:
        client.delete_run(run.info.run_id)
        uri = urlparse(run.info.artifact_uri or "")
        place = Path(url2pathname(uri.path))
        if uri.scheme == "file" and (folder / "mlartifacts").resolve() in place.parents:
            shutil.rmtree(place.parent, ignore_errors=True)


def _log_system(client: MlflowClient, experiment: str, name: str, runs: Sequence[Run], content: str) -> None:
    """A run for the system over its seeds, and below it one for each seed."""
    from mlflow.entities import RunTag

    done = [run for run in runs if run.record.state == "done"]
    summary, problem = _summary(done)
    tags = _tags(runs[0]) | {
        "seeds": ",".join(str(run.spec.seed) for run in runs),
        "state": "done" if len(done) == len(runs) else f"{len(done)} of {len(runs)} seeds done",
        NOTE_TAG: system_note(runs, summary),
    }
    tags |= {"problem": problem} if problem else {}
    values = [
        *quality(summary, runs[0].spec.main_metrics),
        *_middle([value for run in done for value in costs(run.record)]),
    ]
    dataset = _dataset(runs[0])
    ended = [_times(run) for run in runs]
    began = min(start for start, _ in ended)
    took = sum(end - start for start, end in ended)
    parent = _run(client, experiment, name, tags, _parameters(runs[0], name), values, began, dataset)
    for run, (start, end) in zip(runs, ended, strict=True):
        record = run.record
        tags = _tags(run) | {HASH_TAG: run.spec.hash, "seed": str(run.spec.seed), "state": record.state,
                             PARENT_TAG: parent}  # fmt: skip
        tags |= {"reason": record.reason} if record.reason else {}
        figures = {name: value.model_dump() for name, value in record.metrics.items()}
        values = [*quality(figures, run.spec.main_metrics), *costs(record), *curves(record)]  # type: ignore[arg-type]
        parameters = _parameters(run, name) | {"seed": run.spec.seed}
        made = _run(client, experiment, f"{name} seed {run.spec.seed}", tags, parameters, values, start, dataset)
        for artifact in ARTIFACTS:
            if (run.folder / artifact).exists():
                client.log_artifact(made, str(run.folder / artifact))
        client.set_terminated(made, "FINISHED" if record.state in ("done", "skipped") else "FAILED", end)
    # the digest comes last: a system that was cut off while it was logged has none and is logged again
    client.log_batch(parent, tags=[RunTag(CONTENT_TAG, content)])
    ended_well = all(run.record.state in ("done", "skipped") for run in runs)
    client.set_terminated(parent, "FINISHED" if ended_well else "FAILED", began + took)


def _run(client: MlflowClient, experiment: str, name: str, tags: dict[str, str], parameters: dict[str, Any],
         values: Sequence[Value], start: int, dataset: DatasetInput) -> str:  # fmt: skip
    """A run with its dataset, parameters and metrics; its id."""
    from mlflow.entities import Metric, Param

    run_id = client.create_run(experiment, start_time=start, tags=tags, run_name=name).info.run_id
    params = [Param(key, str(value)[:PARAMETER_LIMIT]) for key, value in parameters.items()]
    metrics = [Metric(key, value, start, step) for key, value, step in values]
    client.log_batch(run_id, params=params, metrics=metrics[:BATCH])
    for at in range(BATCH, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[at : at + BATCH])
    client.log_inputs(run_id, [dataset])  # mlflow.log_input of a client
    return run_id


def _dataset(run: Run) -> DatasetInput:
    """The dataset of a run: name, fingerprint, where it comes from, and which part of it was asked."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    spec, source = run.spec, dataset_source(run.spec.dataset)
    asked = next((value.n for value in run.record.metrics.values()), None)
    profile = {"requests": asked, "slots": spec.k, "source": spec.source}
    kind = "http" if "url" in source else "local"
    dataset = Dataset(spec.dataset, spec.fingerprint[:36], kind, json.dumps(source), profile=json.dumps(profile))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", spec.part)])


def _summary(done: Sequence[Run]) -> tuple[dict[str, Summary], str | None]:
    """Figures of a system over its seeds, with intervals over groups of requests; and why there are none."""
    if len(done) < 2:
        return {name: Summary(**value.model_dump()) for run in done for name, value in run.record.metrics.items()}, None
    try:
        return summarise([scores_of(run) for run in done], requests_of(done[0])["group"].to_list()), None
    except SlateBenchError as error:
        return {}, str(error)


def _middle(values: Sequence[Value]) -> list[Value]:
    """The median over seeds of each figure."""
    found: dict[str, list[float]] = {}
    for name, value, _ in values:
        found.setdefault(name, []).append(value)
    return [(name, median(of_seeds), 0) for name, of_seeds in found.items()]


def _times(run: Run) -> tuple[int, int]:
    """When a cell began and ended, in milliseconds."""
    end = datetime.fromisoformat(run.record.created).timestamp() if run.record.created else 0.0
    return int(1000 * max(0.0, end - sum(run.record.timings.values()))), int(1000 * end)


def _parameters(run: Run, name: str) -> dict[str, Any]:
    spec = run.spec
    # "System" sorts first: the plots of MLflow's compare page start with the systems' names as their axis
    given = {"System": name, "k": spec.k, "samples": spec.samples, "encoder": spec.encoder,
             "item_vectors": spec.item_vectors}  # fmt: skip
    settings = {name: value for name, value in (spec.config | spec.sampling).items() if name not in MACHINERY}
    return {name: value for name, value in (given | settings).items() if value is not None}


def _tags(run: Run) -> dict[str, str]:
    record, spec = run.record, run.spec
    tags = {
        "model": spec.model,
        "kind": kind_of(run.spec.model),
        "source": spec.source,
        "fingerprint": spec.fingerprint,
        "budget": spec.budget,
        "part": spec.part,
        "mlflow.source.git.commit": record.commit or "unknown",
        "mlflow.source.name": "slatebench bench",
        SYSTEM_TAG: spec.system,
    }
    return tags | ({"notice": record.notice} if record.notice else {})
