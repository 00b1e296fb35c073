"""MLflow shows the records: one experiment per dataset, one run per record. The records stay the truth.

Where: MLFLOW_TRACKING_URI if set, else the sqlite file `mlflow.db` in the runs folder.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ..datasets.errors import SlateBenchError
from .records import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

ARTIFACTS = ("spec.json", "record.json", "slates.parquet", "scores.parquet", "log.txt")
HASH_TAG, CONTENT_TAG = "slatebench.hash", "slatebench.record"
PARAMETER_LIMIT = 6000  # MLflow cuts longer values without a word; the full spec is an artifact
BATCH = 1000  # metrics that MLflow takes at once


def tracking_uri(runs: Path) -> str:
    """The tracking URI: MLFLOW_TRACKING_URI, else sqlite in the runs folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(runs / 'mlflow.db').resolve()}"


def connect(runs: Path) -> MlflowClient:
    """A client; the first one on a fresh sqlite file makes the tables, under a lock (they must not race).

    Raises:
        SlateBenchError: the store can't be reached.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # its table migrations are no news
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # a server that is not there must not hang a bench
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    from mlflow import MlflowClient

    uri = tracking_uri(runs)
    with _named(uri), _lock(runs):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def _named(uri: str) -> Iterator[None]:
    """One clear line for whatever MLflow's store raises."""
    try:
        yield
    except SlateBenchError:
        raise
    except Exception as error:
        line = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise SlateBenchError(
            f"MLflow at {uri}: {line}; the records are safe, `slatebench leaderboard rebuild` logs them again"
        ) from error


def _lock(runs: Path) -> FileLock:
    return FileLock(runs / ".mlflow.lock")


def log_runs(runs: Sequence[Run], folder: Path) -> int:
    """Show records in MLflow; those it shows already, unchanged, are left alone. Returns how many were logged."""
    if not runs:
        return 0
    client = connect(folder)
    logged = 0
    with _named(client.tracking_uri), _lock(folder):
        for dataset in sorted({run.spec.dataset for run in runs}):
            experiment = _experiment(client, dataset, folder)
            shown = _shown(client, experiment)
            for run in runs:
                if run.spec.dataset == dataset:
                    logged += _log(client, experiment, run, shown)
    return logged


def rebuild(runs: Sequence[Run], folder: Path) -> int:
    """Make the view again from nothing: runs that MLflow shows of these datasets are deleted first."""
    client = connect(folder)
    with _named(client.tracking_uri), _lock(folder):
        for dataset in sorted({run.spec.dataset for run in runs}):
            for found in _shown(client, _experiment(client, dataset, folder)).values():
                client.delete_run(found[0])
    return log_runs(runs, folder)


def _experiment(client: MlflowClient, dataset: str, folder: Path) -> str:
    found = client.get_experiment_by_name(dataset)
    if found is None:
        # sqlite would fix the artifacts to the current folder; a server knows its own place
        place = None
        if client.tracking_uri.startswith("sqlite"):
            place = (folder / "mlartifacts" / dataset).resolve().as_uri()
        # the tag opens MLflow's training view; without it the page shows its GenAI view, where runs look empty
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return client.create_experiment(dataset, artifact_location=place, tags=tags)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _shown(client: MlflowClient, experiment: str) -> dict[str, tuple[str, str]]:
    """What MLflow shows: spec hash -> (run id, digest of the record it was made from)."""
    shown: dict[str, tuple[str, str]] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            tags = run.data.tags
            if HASH_TAG in tags:
                shown[tags[HASH_TAG]] = (run.info.run_id, tags.get(CONTENT_TAG, ""))
        token = page.token
        if not token:
            return shown


def _log(client: MlflowClient, experiment: str, run: Run, shown: dict[str, tuple[str, str]]) -> bool:
    from mlflow.entities import Param, RunTag

    content = hashlib.sha256(run.record.model_dump_json().encode()).hexdigest()[:16]
    before = shown.get(run.spec.hash)
    if before is not None:
        if before[1] == content:
            return False
        client.delete_run(before[0])
    record, spec = run.record, run.spec
    tags = {
        "model": spec.model,
        "seed": str(spec.seed),
        "source": spec.source,
        "fingerprint": spec.fingerprint,
        "budget": spec.budget,
        "part": spec.part,
        "state": record.state,
        "code": record.commit or "unknown",
        HASH_TAG: spec.hash,
    }
    if record.reason:
        tags["reason"] = record.reason
    if record.notice:
        tags["notice"] = record.notice
    made = client.create_run(experiment, run_name=f"{record.label} seed {spec.seed}", tags=tags)
    run_id = made.info.run_id
    parameters = {
        "k": spec.k,
        "samples": spec.samples,
        "encoder": spec.encoder,
        "item_vectors": spec.item_vectors,
        **spec.config,
        **spec.sampling,
    }
    params = [Param(key, str(value)[:PARAMETER_LIMIT]) for key, value in parameters.items()]
    client.log_batch(run_id, params=params)
    metrics = list(_metrics(run, made.info.start_time))
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])
    for name in ARTIFACTS:
        if (run.folder / name).exists():
            client.log_artifact(run_id, str(run.folder / name))
    # the digest comes last: a run that was cut off while it was logged has none and is logged again
    client.log_batch(run_id, tags=[RunTag(CONTENT_TAG, content)])
    client.set_terminated(run_id, status="FINISHED" if record.state in ("done", "skipped") else "FAILED")
    return True


def _metrics(run: Run, at: int) -> Iterable[Metric]:
    """Means and intervals, timings, latency, cost and training curves; never NaN or infinity (they break the page)."""
    from mlflow.entities import Metric

    record = run.record
    values: dict[str, Any] = {}
    for name, estimate in record.metrics.items():
        values |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    values |= {f"seconds_{phase}": seconds for phase, seconds in record.timings.items()}
    values |= {f"latency_{name}": value for name, value in (record.latency or {}).items()}
    values |= {f"cost_{name}": value for name, value in record.cost.items()}
    values |= {f"fit_{name}": value for name, value in record.fit.get("health", {}).items()}
    values |= {f"{name}_baseline": value for name, value in (record.bertscore or {}).get("baseline", {}).items()}
    for name, value in values.items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield Metric(name, float(value), at, 0)
    for name, curve in record.fit.get("curves", {}).items():
        for step, value in curve:
            if isinstance(value, int | float) and math.isfinite(value):
                yield Metric(f"fit_{name}", float(value), at, int(step))
