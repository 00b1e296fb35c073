"""Several contenders timed in turn, A B A B."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from ...datasets.errors import UsageError
from ...leaderboards.records import Run
from ..cells.machine import machine
from .harness import BATCHES, WARM_UP, Limits, Report, TimedModel, lock_of, prompt_rows
from .percentiles import PERCENTILES, paired_ratio, percentiles


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
    with ExitStack() as stack, lock_of(first):
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
