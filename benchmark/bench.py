"""`bench`: models x datasets x seeds, each cell contained, each result a record, a row and a MLflow run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ..datasets.errors import DataError, SlateBenchError, UsageError
from ..leaderboards.board import FLOORS
from ..leaderboards.records import Run, find_run, read_run, run_folder, runs_folder
from ..leaderboards.schema import Budget, RunSpec
from ..leaderboards.sweeps import tuned as tuned_settings
from .budgets import MEASURING
from .cell import Cell, Plan
from .machine import threads
from .run import base_record
from .worker import Outcome, Worker

Listener = Callable[[str, "Cell", dict[str, Any]], None]  # listener(event, cell, details)


@dataclass
class BenchResult:
    """What came of a bench: one run per cell, in the order asked for.

    Attributes:
        runs: records and their folders; failed cells are among them, with their reasons.
        notices: things a reader must know (e.g. that synthetic data stand in for real data).
    """

    runs: list[Run]
    notices: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Did every cell end well?"""
        return all(run.record.state in ("done", "skipped") for run in self.runs)

    @property
    def frame(self) -> pl.DataFrame:
        """One row per run and metric: dataset, model, seed, state, metric, mean, low, high, n."""
        rows = []
        for run in self.runs:
            key = {
                "dataset": run.spec.dataset,
                "model": run.record.label,
                "seed": run.spec.seed,
                "state": run.record.state,
            }
            rows += [key | {"metric": name} | value.model_dump() for name, value in run.record.metrics.items()]
        schema = {"dataset": pl.String, "model": pl.String, "seed": pl.Int64, "state": pl.String, "metric": pl.String,
                  "mean": pl.Float64, "low": pl.Float64, "high": pl.Float64, "n": pl.Int64}  # fmt: skip
        return pl.DataFrame(rows, schema=schema)


def bench(
    models: str | Sequence[str],
    datasets: str | Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    part: str = "test",
    budget: Budget = "standard",
    source: str = "auto",
    split_seed: int = 0,
    train_share: float = 1.0,
    k: int | None = None,
    samples: int | None = None,
    encoder: str | None = None,
    item_vectors: str | None = None,
    bertscore: str | None = None,
    overrides: dict[str, Any] | None = None,
    runs: Path | str | None = None,
    tuned: bool = False,
    rerun: bool = False,
    timeout: float | None = None,
    memory_gib: float | None = None,
    latency: bool = True,
    mlflow: bool = True,
    listener: Listener | None = None,
    debug: bool = False,
) -> BenchResult:
    """Run every model on every dataset with every seed; finished cells are used again.

    Floors (random, popularity) and ceilings of each dataset are run along, so that its board always has them.

    Args:
        models: addresses such as `bm25` or `dmsg:prior`.
        datasets: names such as `bundle`.
        seeds: of fit and sampling; a deterministic model runs once whatever is asked.
        part: `test`, or `valid` while something is still being chosen.
        budget: `smoke`, `standard` or `paper`.
        source: `auto` (real data, else the synthetic twin), `real` or `synthetic`.
        train_share: of the train slates, for learning from less; another fingerprint, another board.
        encoder: of prompts and item texts: `minilm`, `lsa` or a sentence-transformers name.
        item_vectors: what makes the item vectors: `word2vec` or an encoder (default: as the dataset's card says).
        overrides: values of Config or Sampling fields of the models.
        runs: folder of the records (default: SLATEBENCH_RUNS or ./runs).
        tuned: with the settings that `sweep` found for each model; `overrides` hold above them.
        rerun: fit and run again even where a finished record exists.
        timeout: seconds after which a cell is stopped (default by budget).
        memory_gib: memory above which a cell is stopped.
        latency: measure single-request latency, last and alone.
        mlflow: show the records in MLflow too.
        listener: told of every event (planned, progress, finished).

    Raises:
        UsageError: an unknown name or a wrong value, before anything is run.
        DataError: data that can't be had with `source="real"`.
    """
    models = [models] if isinstance(models, str) else list(models)
    datasets = [datasets] if isinstance(datasets, str) else list(datasets)
    if not models or not datasets or not seeds:
        raise UsageError("name at least one model, one dataset and one seed")
    for name, value in (("timeout", timeout), ("memory", memory_gib)):
        if value is not None and not value > 0:
            raise UsageError(f"{name}={value:g}: choose more than 0")
    folder = runs_folder(runs).resolve()
    common = {"part": part, "budget": budget, "source": source, "split_seed": split_seed,
              "train_share": train_share, "k": k, "encoder": encoder, "item_vectors": item_vectors,
              "bertscore": bertscore}  # fmt: skip
    tell = listener or (lambda event, cell, details: None)
    worker = Worker(threads(), memory_gib, debug)
    result = BenchResult([])
    floors_run: list[Run] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        asked = [
            Cell(dataset=d, model=m, seed=s, samples=samples, overrides=overrides or {}, **common)
            for d, m, s in itertools.product(datasets, models, seeds)
        ]
        if tuned:
            asked = _tuned(worker, asked, folder, tell)
        plans = _unique(_plan(worker, cell, tell) for cell in asked)
        for plan in plans:
            if plan.notice and plan.notice not in result.notices:
                result.notices.append(plan.notice)
                tell("notice", plan.cell, {"text": plan.notice})
        floors = _floors(worker, datasets, common, tell)
        planned = {plan.spec.hash for plan in plans}
        for plan in [*plans, *(plan for plan in floors if plan.spec.hash not in planned)]:
            limit = timeout or MEASURING[plan.spec.budget].timeout
            run = _run(worker, plan, folder, rerun and plan.spec.hash in planned, limit, tell)
            (result.runs if plan.spec.hash in planned else floors_run).append(run)
    finally:
        worker.stop()
    if latency:
        from .latency import time_runs

        timing: dict[str, Any] = {"listener": tell, "timeout": timeout, "memory_gib": memory_gib, "debug": debug}
        result.runs = time_runs(result.runs, rerun=rerun, **timing)
        floors_run = time_runs(floors_run, **timing)
    if mlflow:
        from ..leaderboards.mlflow_view import log_runs

        try:
            log_runs([*result.runs, *floors_run], folder)
        except SlateBenchError as error:  # the records are whole: a view that can't be drawn is no failed run
            result.notices.append(str(error))
            tell("notice", plans[0].cell, {"text": str(error)})
    return result


def _plan(worker: Worker, cell: Cell, tell: Listener) -> Plan:
    """Resolve a cell in the worker (models are imported there); a user's mistake ends the whole call."""
    tell("planning", cell, {})
    command = {"do": "plan", "cell": cell.model_dump()}
    outcome = worker.call(command, lambda *at: tell("progress", cell, {"at": at}))
    if outcome.event is None or outcome.event["event"] != "planned":
        kind = (outcome.event or {}).get("kind")
        error = {"UsageError": UsageError, "DataError": DataError}.get(kind or "", SlateBenchError)
        raise error(outcome.reason if kind in ("UsageError", "DataError") else f"{cell.label}: {outcome.reason}")
    event = outcome.event
    return Plan(
        cell, RunSpec(**event["spec"]), event["notice"], event["origin"], event["skip"], tuple(event["ceilings"])
    )


def _tuned(worker: Worker, cells: list[Cell], runs: Path, tell: Listener) -> list[Cell]:
    """The cells with what `sweep` found for their models."""
    found, trials = [], {}
    for cell in cells:
        spec = _plan(worker, cell, tell).spec
        settings = tuned_settings(runs, spec.dataset, cell.model, cell.budget, spec.fingerprint)
        found.append(cell.model_copy(update={"overrides": settings.overrides | settings.settings | cell.overrides}))
        trials[cell.model] = settings.trials
    if len(set(trials.values())) > 1:
        unequal = ", ".join(f"{model} {n}" for model, n in trials.items())
        tell("notice", cells[0], {"text": f"tuned with unequal numbers of trials: {unequal}"})
    return found


def _unique(plans: Iterable[Plan]) -> list[Plan]:
    """Plans without those that ask for the same spec again (a deterministic model with another seed)."""
    return list({plan.spec.hash: plan for plan in reversed(list(plans))}.values())[::-1]


def _floors(worker: Worker, datasets: Sequence[str], common: dict[str, Any], tell: Listener) -> list[Plan]:
    plans = []
    for dataset in datasets:
        floors = [_plan(worker, Cell(dataset=dataset, model=model, **common), tell) for model in FLOORS]
        names = floors[0].ceilings
        plans += [*floors, *(_plan(worker, Cell(dataset=dataset, model=name, **common), tell) for name in names)]
    return plans


def _run(worker: Worker, plan: Plan, runs: Path, rerun: bool, timeout: float | None, tell: Listener) -> Run:
    command = {"do": "run", "cell": plan.cell.model_dump(), "runs": str(runs), "rerun": rerun}
    kept = find_run(runs, plan.spec)
    reused = kept is not None and kept.record.state == "done" and not rerun
    tell("started", plan.cell, {"reused": reused})
    if reused and kept is not None:
        run = kept
    else:
        try:
            outcome = worker.call(command, lambda *at: tell("progress", plan.cell, {"at": at}), timeout)
        except KeyboardInterrupt:
            worker.stop()
            failed(plan, runs, Outcome(None, "interrupted", "stopped by the user; the same command goes on from here"))
            raise
        if outcome.event is not None and outcome.event["event"] == "ran":
            run = read_run(Path(outcome.event["folder"]))
        else:
            run = failed(plan, runs, outcome)
    tell("finished", plan.cell, {"run": run, "reused": reused})
    return run


def failed(plan: Plan, runs: Path, outcome: Outcome) -> Run:
    """Record that a cell did not end well; a finished record of the same spec stays what it is."""
    from ..leaderboards.records import folder_in_the_making, write_record

    record = base_record(plan, outcome.state, outcome.reason)  # type: ignore[arg-type]
    final = run_folder(runs, plan.spec)
    run = Run(final, record)
    try:
        before = find_run(runs, plan.spec)
        if before is None or before.record.state != "done":
            final.parent.mkdir(parents=True, exist_ok=True)
            with folder_in_the_making(final) as folder:
                write_record(folder, record)
                (folder / "log.txt").write_text(f"{outcome.reason}\n\n{outcome.traceback}\n", encoding="utf-8")
    except OSError:
        pass  # a full disk must not hide the reason; it is in the returned run
    return run
