"""A sweep in MLflow: one run for the study, one nested run per trial, the plots as artifacts.

They stand in an experiment of their own, `<dataset>-sweeps`: trials are no results, and never among those of a board.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from .mlflow_view import BATCH, PARAMETER_LIMIT, connect, named_errors, open_experiment, view_lock
from .sweeps import RESULT, SPEC, TRIALS, StudySpec, figures_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

STUDY_TAG = "slatebench.study"


def log_sweep(spec: StudySpec, folder: Path, runs: Path) -> str:
    """Show the sweep in `folder` (its files as `benchmark.sweep` writes them); an earlier view of it is replaced.

    Returns:
        The id of the sweep's run.

    Raises:
        SlateBenchError: MLflow can't be reached.
    """
    client = connect(runs)
    with named_errors(client.tracking_uri), view_lock(runs):
        experiment = open_experiment(client, f"{spec.dataset}-sweeps", runs)
        for old in client.search_runs([experiment], filter_string=f"tags.`{STUDY_TAG}` = '{spec.hash}'",
                                      max_results=10_000):  # fmt: skip
            client.delete_run(old.info.run_id)
        tags = {"model": spec.model, "fingerprint": spec.fingerprint, "budget": spec.budget, STUDY_TAG: spec.hash}
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        given = {"objectives": ", ".join(spec.objectives), "space": spec.space, "seed": spec.seed,
                 "requests": spec.requests, "samples": spec.samples, "train_share": spec.train_share,
                 "encoder": spec.encoder, "item_vectors": spec.item_vectors}  # fmt: skip
        given |= {f"sampler_{key}": value for key, value in spec.sampler.items()}
        given |= {f"pruner_{key}": value for key, value in (spec.pruner or {}).items()}
        given |= {f"best_{key}": value for key, value in result["settings"].items()}
        parent = _run(client, experiment, f"sweep {spec.model}", tags, given, result["figures"])
        for name in (SPEC, TRIALS, RESULT):
            client.log_artifact(parent, str(folder / name))
        client.log_artifacts(parent, str(folder / "plots"), "plots")
        client.set_terminated(parent)
        for trial in pl.read_parquet(folder / TRIALS).iter_rows(named=True):
            nested = tags | {"mlflow.parentRunId": parent, "state": trial["state"]}
            name = f"trial {trial['trial']}"
            run = _run(client, experiment, name, nested, json.loads(trial["settings"]), figures_of(trial, spec))
            client.set_terminated(run, status="FAILED" if trial["state"] == "fail" else "FINISHED")
    return parent


def _run(client: MlflowClient, experiment: str, name: str, tags: dict[str, str], params: dict[str, Any],
         figures: dict[str, Any]) -> str:  # fmt: skip
    from mlflow.entities import Metric, Param

    made = client.create_run(experiment, run_name=name, tags=tags)
    at = made.info.start_time
    metrics = [Metric(key, float(value), at, 0) for key, value in figures.items()
               if isinstance(value, int | float) and math.isfinite(value)]  # fmt: skip
    parameters = [Param(key, str(value)[:PARAMETER_LIMIT]) for key, value in params.items()]
    client.log_batch(made.info.run_id, metrics=metrics[:BATCH], params=parameters)
    return made.info.run_id
