"""Latency and cost (PROTOCOL section 5): one request in, one slate out, a process per model, one thread.

`time_runs` times the cells of a bench, last and alone. `latency` compares models: their requests are interleaved
(A B C A B C ...), so that whatever else the machine does hits all alike, and ratios are paired by request.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ...datasets.errors import SlateBenchError, UsageError
from ...leaderboards.checked import requests_of
from ...leaderboards.records import HOST, Run, read_run, write_record
from ..cells.budgets import MEASURING
from ..cells.cell import CEILING, Cell, seeded
from ..cells.machine import machine
from ..limits import MOST_REQUESTS
from ..processes.worker import Outcome, Worker

WARM_UP = 10  # requests that do not count
ROUGH_BELOW = 200  # requests from which p50 and p95 are more than rough
P99_FROM = 1000  # the same for p99
BATCHES = (32, 256)
BATCH_SECONDS = 1.0
PERCENTILES = (50, 95, 99)
RESAMPLES = 2000

Tell = Callable[[str, Cell, dict[str, Any]], None]
Report = Callable[..., None]  # report(phase, step=0, total=0, message="")


# --- figures from samples ----------------------------------------------------------------------------


def percentiles(samples: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, float | bool | int]:
    """Percentiles of latency samples with 95 % bootstrap intervals.

    Args:
        samples: milliseconds of single requests [n].
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        p50_ms, p50_low, p50_high, the same for p95 and p99, mean_ms, requests; `rough` below 200 requests and
        `p99_rough` below 1,000.
    """
    drawn = samples[_draws(len(samples), seed, resamples)]
    found: dict[str, float | bool | int] = {}
    for p, value, spread in zip(PERCENTILES, np.percentile(samples, PERCENTILES),
                                np.percentile(drawn, PERCENTILES, axis=1), strict=True):  # fmt: skip
        low, high = np.percentile(spread, [2.5, 97.5])
        found |= {f"p{p}_ms": float(value), f"p{p}_low": float(low), f"p{p}_high": float(high)}
    n = len(samples)
    return found | {
        "mean_ms": float(samples.mean()),
        "requests": n,
        "rough": n < ROUGH_BELOW,
        "p99_rough": n < P99_FROM,
    }


def paired_ratio(
    a: np.ndarray, b: np.ndarray, percentile: float, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Ratio of a percentile of `a` to that of `b` with its 95 % interval; request i of both is drawn together.

    >>> paired_ratio(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]), 50)
    (2.0, 2.0, 2.0)
    """
    drawn = _draws(len(a), seed, resamples)
    ratios = np.percentile(a[drawn], percentile, axis=1) / np.percentile(b[drawn], percentile, axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.percentile(a, percentile) / np.percentile(b, percentile)), float(low), float(high)


def _draws(n: int, seed: int, resamples: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n, (resamples, n))


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


def _lock_of(run: Run) -> FileLock:
    return latency_lock(run.folder.parents[2])


def to_be_timed(run: Run, rerun: bool) -> bool:
    """Does this run lack latency figures that it could have?"""
    of_model = run.record.state == "done" and run.spec.model.split(":")[0] != CEILING
    open_ = run.record.latency is None or "failed" in run.record.latency
    return of_model and (rerun or open_) and (run.folder / "model" / "model.json").exists()


def _time_run(run: Run, rerun: bool, listener: Tell | None, limits: Limits) -> Run:
    spec = run.spec
    cell = Cell(dataset=spec.dataset, model=spec.model, seed=spec.seed, part=spec.part, budget=spec.budget, k=spec.k,
                overrides=run.record.overrides)  # fmt: skip

    def report(*at: Any) -> None:
        if listener is not None:
            listener("progress", cell, {"at": at})

    with _lock_of(run):
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
    """All figures of one run's model, alone: see PROTOCOL section 5. A failure stands under `failed`, as its reason."""
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


# --- several models, interleaved ------------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    """A fitted run to be timed beside others, with the sampling settings to use."""

    label: str
    run: Run
    sampling: dict[str, Any]


@dataclass(frozen=True)
class LatencyReport:
    """Models timed on the same prompts, interleaved.

    Attributes:
        models: per model its figures (model, sampling, p50_ms, p95_ms, p99_ms, throughput_32, energy_j of a
            request, None without a counter, ...).
        ratios: per pair {"a", "b", "p50", "p50_low", "p50_high", ...}: latency of a over that of b, paired by request.
        samples: milliseconds [models, requests].
        notes: where the models came from.
    """

    dataset: str
    requests: int
    machine: dict[str, Any]
    models: list[dict[str, Any]]
    ratios: list[dict[str, Any]]
    samples: np.ndarray = field(repr=False)
    notes: list[str] = field(default_factory=list)

    def ratio(self, a: int, b: int, percentile: float) -> tuple[float, float, float]:
        """Latency of model number `a` over that of `b`: ratio, low, high."""
        return paired_ratio(self.samples[a], self.samples[b], percentile)


def latency(
    models: str | Sequence[str],
    dataset: str,
    *,
    requests: int = P99_FROM,
    overrides: dict[str, Any] | None = None,
    source: str = "auto",
    runs: Path | str | None = None,
    timeout: float | None = None,
    report: Report | None = None,
    debug: bool = False,
) -> LatencyReport:
    """Time models side by side: the newest finished runs, or fitted now at budget smoke.

    Args:
        models: addresses, e.g. `bm25` or `dense:sampled`.
        dataset: name.
        requests: single requests per model; p99 needs 1,000.
        overrides: values of Sampling fields (of Config fields: another fit) of every model.
        source: `auto`, `real` or `synthetic`.
        runs: folder of the records.
        timeout: seconds for each step of a model.
        report: told the progress.
        debug: show what the models print.

    Raises:
        UsageError: unknown names or values, fewer than 2 requests, a model twice.
        SlateBenchError: a model failed while it was timed.
    """
    from ...models.base import resolve
    from ...models.registry import model_class, parse_model
    from ..serving.generate import find_or_fit

    models = [models] if isinstance(models, str) else list(models)
    if not models or len(set(models)) < len(models):
        raise UsageError("name at least one model, each once")
    if not 2 <= requests <= MOST_REQUESTS:
        raise UsageError(f"--requests {requests}: choose 2 to {MOST_REQUESTS:,} (200 for p95, 1000 for p99)")
    contenders, notes = [], []
    for model in models:
        run, more = find_or_fit(model, dataset, overrides or {}, source, runs)
        name, presets = parse_model(model)
        cls = model_class(name)
        wanted = {key: value for key, value in (overrides or {}).items() if key in cls.Sampling.model_fields}
        sampling = resolve(cls, presets, run.spec.budget, wanted).sampling.model_dump()
        contenders.append(Contender(model, run, sampling))
        notes += [f"{model}: {note}" for note in more]
    found = interleave(contenders, requests, Limits(timeout=timeout, debug=debug), report)
    found.notes.extend(notes)
    return found


def interleave(
    contenders: Sequence[Contender],
    requests: int,
    limits: Limits,
    report: Report | None = None,
) -> LatencyReport:
    """Time fitted runs request by request in turn (A B C A B C ...), over the prompts of the first one.

    Raises:
        UsageError: the runs are not about the same data or slate length.
        SlateBenchError: a model failed while it was timed.
    """
    first = contenders[0].run
    for one in contenders:
        if (one.run.spec.fingerprint, one.run.spec.k) != (first.spec.fingerprint, first.spec.k):
            raise UsageError(
                f"{one.label} and {contenders[0].label} differ in dataset or slots: their times can't be compared"
            )
    tell = report or (lambda *at: None)
    rows = prompt_rows(first, requests)
    figures: list[dict[str, Any]] = []
    with ExitStack() as stack, _lock_of(first):
        timed = [
            stack.enter_context(TimedModel(one.run, limits, sampling=one.sampling, requests_of=first))
            for one in contenders
        ]
        for one, model in zip(contenders, timed, strict=True):
            tell("loading", len(figures), len(timed), one.label)
            figures.append({"model": one.label, "sampling": one.sampling, "threads": 1} | model.load(rows))
        for model in timed:
            model.singles(rows[:WARM_UP])
        samples = np.empty((len(timed), requests))
        joules: list[list[float]] = [[] for _ in timed]
        for i, row in enumerate(rows):
            for m, model in enumerate(timed):
                event = model.singles([row])
                samples[m, i] = event["ms"][0]
                figures[m] |= {name: event[name] for name in ("peak_rss_mib", "peak_gpu_mib", "energy_counter")}
                if event["energy_j"] is not None:
                    joules[m].append(event["energy_j"])
            tell("requests", i + 1, requests, "")
        for m, model in enumerate(timed):
            figures[m] |= percentiles(samples[m]) | {"energy_j": float(np.mean(joules[m])) if joules[m] else None}
            for size in BATCHES:
                tell("batches", m, len(timed), contenders[m].label)
                figures[m][f"throughput_{size}"] = model.throughput(rows, size)
    ratios = []
    for a, b in combinations(range(len(timed)), 2):
        pair: dict[str, Any] = {"a": contenders[a].label, "b": contenders[b].label}
        for p in PERCENTILES:
            ratio, low, high = paired_ratio(samples[a], samples[b], p)
            pair |= {f"p{p}": ratio, f"p{p}_low": low, f"p{p}_high": high}
        ratios.append(pair)
    return LatencyReport(first.spec.dataset, requests, machine().model_dump(), figures, ratios, samples)
