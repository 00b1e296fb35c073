"""Latency and cost (docs/protocol.md, section 5): one request in, one slate out, a process per model, one thread.

`time_runs` times the cells of a bench, last and alone. `latency` compares models: their requests are interleaved
(A B C A B C ...), so that whatever else the machine does hits all alike, and ratios are paired by request.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ...datasets.errors import SlateBenchError
from ...leaderboards.board import kind_of
from ...leaderboards.checked import requests_of
from ...leaderboards.records import HOST, Run, read_run, write_record
from ..cells.budgets import MEASURING
from ..cells.cell import Cell, seeded
from ..cells.machine import machine
from ..processes.worker import Outcome, Worker
from .percentiles import percentiles

WARM_UP = 10  # requests that do not count
BATCHES = (32, 256)
BATCH_SECONDS = 1.0

Tell = Callable[[str, Cell, dict[str, Any]], None]
Report = Callable[..., None]  # report(phase, step=0, total=0, message="")


# --- one timed process ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """Of a timed process: seconds for each step, GiB of memory; whether what it prints is shown."""

    timeout: float | None = None
    memory_gib: float | None = None
    debug: bool = False


class TimedModel:
    """A run's saved model in a process of its own, with one thread.

    Raises (from every method):
        SlateBenchError: the model failed, died or took too long; one line says how.
    """

    def __init__(
        self, run: Run, limits: Limits, *, sampling: dict[str, Any] | None = None, requests_of: Run | None = None
    ) -> None:
        self.run, self.limits = run, limits
        self.sampling = run.spec.sampling if sampling is None else sampling
        self.requests = (requests_of or run).folder / "requests.parquet"
        self.worker = Worker(1, limits.debug, module=f"{__package__}.child")

    def load(self, rows: Sequence[int]) -> dict[str, Any]:
        """Start the process, load the model, make the first slate: cold start seconds, cost."""
        spec = self.run.spec
        started = time.perf_counter()
        event = self._call(do="load", folder=str(self.run.folder), requests=str(self.requests), model=spec.model,
                           k=spec.k, seed=seeded(spec.seed, "sampling"), sampling=self.sampling,
                           first=rows[0])  # fmt: skip
        return {"cold_start_s": time.perf_counter() - started} | event["cost"]

    def singles(self, rows: Sequence[int], warm_up: int = 0, report: Report | None = None) -> dict[str, Any]:
        """Milliseconds of single requests, and peak memory and energy."""
        event = self._call(report, do="time", rows=list(rows), warm_up=warm_up)
        return {key: value for key, value in event.items() if key != "event"}

    def throughput(self, rows: Sequence[int], size: int, report: Report | None = None) -> float:
        """Slates a second in batches of that size."""
        batch = [int(row) for row in np.resize(rows, size)]
        return self._call(report, do="batch", rows=batch, seconds=BATCH_SECONDS)["slates_per_s"]

    def stop(self) -> None:
        """End the process."""
        self.worker.stop()

    def _call(self, report: Report | None = None, **command: Any) -> dict[str, Any]:
        outcome: Outcome = self.worker.call(command, report, self.limits.timeout, self.limits.memory_gib)
        if outcome.event is None or outcome.event["event"] != command["do"]:
            self.stop()
            raise SlateBenchError(f"timing {self.run.record.label}: {outcome.reason}")
        return outcome.event

    def __enter__(self) -> TimedModel:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def prompt_rows(run: Run, n: int) -> list[int]:
    """Rows of the run's requests to time: all in a fixed random order, again from the start if there are too few.

    Raises:
        SlateBenchError: the run's requests are missing or damaged.
    """
    P = requests_of(run).height
    return [int(row) for row in np.resize(np.random.default_rng(0).permutation(P), n)]


# --- the cells of a bench ------------------------------------------------------------------------------


def time_runs(
    runs: Sequence[Run],
    *,
    rerun: bool = False,
    listener: Tell | None = None,
    timeout: float | None = None,
    memory_gib: float | None = None,
    debug: bool = False,
) -> list[Run]:
    """Time finished runs one after another, each once, and write the figures into their records.

    Left as they are: ceilings, cells that did not end well, runs without a saved model, runs with figures (unless
    `rerun`). A model that fails while it is timed gets its reason into `latency["failed"]`; the run stays done, and
    the next call tries again.
    Several calls at once on the same runs folder wait for each other.

    Args:
        runs: of one runs folder.
        rerun: measure again.
        listener: told the progress.
        timeout: seconds for each step of a model (default by budget).
        memory_gib: memory above which a model is stopped.
        debug: show what the models print.
    """
    limits = Limits(timeout, memory_gib, debug)
    return [_time_run(run, rerun, listener, limits) if to_be_timed(run, rerun) else run for run in runs]


def latency_lock(runs: Path) -> FileLock:
    """What whoever measures time on this machine holds (another machine may measure at the same time).

    Args:
        runs: folder of the records.
    """
    return FileLock(runs / f".latency-{HOST}.lock")


def lock_of(run: Run) -> FileLock:
    """The lock of the runs folder in which a run stands."""
    return latency_lock(run.folder.parents[2])


def to_be_timed(run: Run, rerun: bool) -> bool:
    """Does this run lack latency figures that it could have?"""
    of_model = run.record.state == "done" and kind_of(run.spec.model) != "ceiling"
    open_ = run.record.latency is None or "failed" in run.record.latency
    return of_model and (rerun or open_) and (run.folder / "model" / "model.json").exists()


def _time_run(run: Run, rerun: bool, listener: Tell | None, limits: Limits) -> Run:
    spec = run.spec
    cell = Cell(dataset=spec.dataset, model=spec.model, seed=spec.seed, part=spec.part, budget=spec.budget, k=spec.k,
                overrides=run.record.overrides)  # fmt: skip

    def report(*at: Any) -> None:
        if listener is not None:
            listener("progress", cell, {"at": at})

    with lock_of(run):
        run = read_run(run.folder)
        if not to_be_timed(run, rerun):  # another process was faster
            return run
        report("latency", 0, 0, "")
        measuring = MEASURING[spec.budget]
        limits = replace(limits, timeout=limits.timeout or measuring.timeout)
        found = measure(run, measuring.latency_requests, limits, report)
        record = run.record.model_copy(update={"latency": found})
        write_record(run.folder, record)
    return Run(run.folder, record)


def measure(run: Run, requests: int, limits: Limits, report: Report | None = None) -> dict[str, Any]:
    """All figures of one run's model, alone (docs/protocol.md, section 5). A failure stands under `failed`."""
    found: dict[str, Any] = {"threads": 1, "machine": machine().model_dump(), "sampling": run.spec.sampling,
                             "load_before": os.getloadavg()[0]}  # fmt: skip
    with TimedModel(run, limits) as model:
        try:
            rows = prompt_rows(run, requests)
            found |= model.load(rows)
            timed = model.singles(rows, WARM_UP, report)
            samples = timed.pop("ms")
            found |= percentiles(np.array(samples)) | timed | {"samples_ms": samples}
            for size in BATCHES:
                found[f"throughput_{size}"] = model.throughput(rows, size, report)
        except SlateBenchError as error:
            found["failed"] = str(error)
    return found
