"""`bench`: models x datasets x seeds, each cell contained, each result a record, a row and a MLflow run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl

from ...datasets.errors import SlateBenchError, UsageError
from ...leaderboards.board import kind_of
from ...leaderboards.records import Run, check_writable, find_run, read_run, run_folder, runs_folder, write_record
from ...leaderboards.schema import Budget
from ...models.registry import BUILTIN
from ..cells import child
from ..cells.budgets import MEASURING
from ..cells.cell import Cell, Plan, cell_of
from ..cells.machine import threads
from ..cells.run import base_record, usable_run
from ..limits import check_processes, check_seeds
from ..processes.worker import Outcome, Worker
from .listening import Listener, one_at_a_time
from .local import run_cells
from .plans import expected_work, floor_plans, plan_cells, tuned_cells, unique
from .schedule import Shard, longest_first, take_shard


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
    repeats: str = "excluded",
    requests: int | str | None = None,
    refit: bool = False,
    bertscore: str | None = None,
    overrides: dict[str, Any] | None = None,
    runs: Path | str | None = None,
    tuned: bool = False,
    rerun: bool = False,
    timeout: float | None = None,
    memory_gib: float | None = None,
    latency: bool = True,
    mlflow: bool = True,
    jobs: int = 1,
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
        repeats: `excluded`: no item of a request's history is emitted again; or `allowed`.
        requests: how many of the part are asked, or "all" (default: by task and budget).
        refit: of histories: fit once more, on train and validation items, for as long as validation had said.
        overrides: values of Config or Sampling fields of the models.
        runs: folder of the records (default: SLATEBENCH_RUNS or ./runs).
        tuned: with the settings that `sweep` found for each model; `overrides` hold above them.
        rerun: fit and run again even where a finished record exists.
        timeout: seconds after which a cell is stopped (default by budget).
        memory_gib: memory above which a cell is stopped.
        latency: measure single-request latency, last and alone.
        mlflow: show the records in MLflow too.
        jobs: cells at a time, each in a process of its own; the threads are divided among them.
        listener: told of every event (planning, notice, queued, started, progress, finished, timing).

    Raises:
        UsageError: an unknown name or a wrong value, before anything is run.
        DataError: data that can't be had with `source="real"`.
    """
    models = [models] if isinstance(models, str) else list(models)
    datasets = [datasets] if isinstance(datasets, str) else list(datasets)
    if not models or not datasets or not seeds:
        raise UsageError("name at least one model, one dataset and one seed")
    check_seeds(seeds, "seeds")
    common = {"part": part, "budget": budget, "source": source, "split_seed": split_seed, "train_share": train_share,
              "k": k, "encoder": encoder, "item_vectors": item_vectors, "repeats": repeats, "requests": requests,
              "refit": refit, "bertscore": bertscore, "timeout": timeout, "memory_gib": memory_gib}  # fmt: skip
    cells = [
        cell_of(dataset=d, model=m, seed=s, samples=samples, overrides=overrides or {}, **common)
        for d, m, s in itertools.product(datasets, models, seeds)
    ]
    return bench_cells(
        cells, runs=runs, tuned=tuned, rerun=rerun, latency=latency, mlflow=mlflow, jobs=jobs, listener=listener,
        debug=debug,
    )  # fmt: skip


def bench_cells(
    cells: Sequence[Cell],
    *,
    runs: Path | str | None = None,
    tuned: bool = False,
    rerun: bool = False,
    latency: bool = True,
    mlflow: bool = True,
    jobs: int = 1,
    shard: Shard = (1, 1),
    leave_out: bool = False,
    listener: Listener | None = None,
    debug: bool = False,
) -> BenchResult:
    """Run cells and the floors and ceilings of their boards; then time them, one after another.

    Args:
        cells: what to run; those that come to the same spec run once.
        runs: folder of the records.
        tuned: with the settings that `sweep` found for each model.
        rerun: fit and run again even where a finished record exists.
        latency: measure single-request latency, last and alone.
        mlflow: show the records in MLflow too.
        jobs: cells at a time, each in a process of its own; the threads are divided among them.
        shard: (i, n) runs part i of n: several machines share the work and the runs folder.
        leave_out: a dataset that can't be had is left out with a notice, as long as another one is there.
        listener: told of every event.
        debug: show what the cells print.

    Raises:
        UsageError: an unknown name or a wrong value, before anything is run.
        DataError: data that can't be had.
    """
    check_processes("jobs", jobs)
    folder = runs_folder(runs).resolve()
    check_writable(folder)
    tell = one_at_a_time(listener or (lambda event, cell, details: None))
    workers = [Worker(max(1, threads() // jobs), debug, module=child.__name__) for _ in range(jobs)]
    result = BenchResult([])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if tuned:
            cells = tuned_cells(workers[0], cells, folder, tell)
        plans, result.notices = plan_cells(workers[0], cells, leave_out, tell)
        asked = {plan.spec.hash for plan in plans}
        plans = unique([*plans, *floor_plans(workers[0], plans, tell)])
        plans = take_shard(plans, shard)
        for parent in {run_folder(folder, plan.spec).parent for plan in plans} | {folder / ".fits"}:
            check_writable(parent)
        if any(_plugin(plan) for plan in plans):
            workers[0].stop()  # it has imported them all
        expected = expected_work(plans, folder, rerun, tell)

        def run(worker: Worker, plan: Plan, stopped: Event) -> Run:
            return _run(worker, plan, folder, rerun and plan.spec.hash in asked, stopped, tell)

        order = longest_first(plans, expected) if jobs > 1 else plans
        found = {run.spec.hash: run for run in run_cells(order, workers, run)}
    finally:
        for worker in workers:
            worker.stop()
    if latency:
        found = _time(plans, found, asked if rerun else set(), tell, debug)
    result.runs = [found[plan.spec.hash] for plan in plans if plan.spec.hash in asked]
    kept = [run for run in found.values() if (run.folder / "record.json").exists()]  # not on a full disk
    if mlflow and kept:
        from ...leaderboards.mlflow_view.runs import log_runs

        try:
            log_runs(kept, folder)
        except SlateBenchError as error:  # the records are whole: a view that can't be drawn is no failed run
            result.notices.append(str(error))
    return result


def _named_as_now(run: Run, plan: Plan) -> Run:
    """The run under the name that the plan gives it: what was set by hand then may be a default now, or the reverse."""
    if (run.record.label, run.record.overrides) == (plan.label, plan.cell.overrides):
        return run
    record = run.record.model_copy(update={"label": plan.label, "overrides": plan.cell.overrides})
    write_record(run.folder, record)
    return Run(run.folder, record)


def _run(worker: Worker, plan: Plan, runs: Path, rerun: bool, stopped: Event, tell: Listener) -> Run:
    kept = None if rerun else usable_run(runs, plan.spec)
    tell("started", plan.cell, {"reused": kept is not None})
    if kept is not None:
        run = _named_as_now(kept, plan)
    else:
        command = {"do": "run", "cell": plan.cell.model_dump(), "hash": plan.spec.hash, "runs": str(runs),
                   "rerun": rerun}  # fmt: skip
        limit = plan.cell.timeout or MEASURING[plan.spec.budget].timeout
        worker.host(_plugin(plan))
        outcome = worker.call(command, lambda *at: tell("progress", plan.cell, {"at": at}), limit, plan.cell.memory_gib)
        if outcome.event is None and stopped.is_set():
            why = "stopped by the user; the same command goes on from here"
            return failed(plan, runs, Outcome(None, "interrupted", why))
        run = _ran(plan, runs, outcome)
    tell("finished", plan.cell, {"run": run, "reused": kept is not None})
    return run


def _plugin(plan: Plan) -> str | None:
    """The plug-in that a plan's cell runs."""
    name = plan.spec.model.split(":")[0]
    return None if name in BUILTIN or kind_of(name) == "ceiling" else name


def _ran(plan: Plan, runs: Path, outcome: Outcome) -> Run:
    """The run that a worker has made, or its failure."""
    if outcome.event is None or outcome.event["event"] != "ran":
        return failed(plan, runs, outcome)
    try:
        return read_run(run_folder(runs, plan.spec))
    except SlateBenchError as error:  # whatever the model did to it
        return failed(plan, runs, Outcome(None, "failed", str(error)))


def _time(plans: Sequence[Plan], found: dict[str, Run], again: set[str], tell: Listener, debug: bool) -> dict[str, Run]:
    """The runs with their latency: nothing else runs now; each run is timed once, those of `again` anew."""
    from ..timing.harness import time_runs, to_be_timed

    waiting = [plan for plan in plans if to_be_timed(found[plan.spec.hash], plan.spec.hash in again)]
    for i, plan in enumerate(waiting):
        tell("timing", plan.cell, {"number": i + 1, "of": len(waiting)})
        (found[plan.spec.hash],) = time_runs([found[plan.spec.hash]], rerun=plan.spec.hash in again, listener=tell,
                                             timeout=plan.cell.timeout, memory_gib=plan.cell.memory_gib,
                                             debug=debug)  # fmt: skip
    return found


def failed(plan: Plan, runs: Path, outcome: Outcome) -> Run:
    """Record that a cell did not end well; a finished record of the same spec stays what it is."""
    from ...leaderboards.records import folder_in_the_making

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
