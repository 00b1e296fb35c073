"""Statistics of claims: from the records of a claim's systems to one figure with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from ...datasets.errors import SlateBenchError
from ...leaderboards.checked import requests_of, scores_of
from ...leaderboards.records import Run
from ...leaderboards.schema import Budget
from ...metrics.evaluate import mean_over
from ...metrics.statistics import bootstrap_intervals

MIN_SEEDS = 3  # for an interval over fits


@dataclass(frozen=True)
class Figure:
    """What a statistic found: value with its 95 % interval (None where there is no honest one, and why)."""

    value: float
    low: float | None = None
    high: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    why_no_interval: str | None = None


class Statistic(Protocol):
    """From an experiment to one figure."""

    @property
    def text(self) -> str:
        """The statistic in words."""
        ...

    def measure(self, done: Experiment) -> Figure:
        """The figure."""
        ...


@dataclass(frozen=True)
class Experiment:
    """The finished runs of a claim's systems, by role and seed."""

    runs: dict[str, list[Run]]
    budget: Budget
    folder: Path

    def means(self, role: str, metric: str) -> np.ndarray:
        """Values of a metric per request and sample [P, S], the mean over seeds; [P, 1] for metrics per request.

        Raises:
            SlateBenchError: the runs have no such metric.
        """
        per_seed = []
        for run in self.runs[role]:
            values = scores_of(run).values
            if metric not in values:
                raise SlateBenchError(f"{run.record.label} has no {metric} (budget {self.budget})")
            per_seed.append(values[metric].reshape(len(values[metric]), -1))
        return mean_over(np.stack(per_seed), 0)

    def groups(self) -> list[str]:
        """The group of each request."""
        first = next(iter(self.runs.values()))[0]
        return requests_of(first)["group"].to_list()


@dataclass(frozen=True)
class Term:
    """The mean of a metric over a system's requests; `half` takes the first or second half of the samples only."""

    role: str
    metric: str
    half: Literal["first", "second"] | None = None

    def per_request(self, done: Experiment) -> np.ndarray:
        """The term's value of each request [P], NaN where it has none."""
        values = done.means(self.role, self.metric)
        if self.half is not None:
            middle = values.shape[1] // 2
            if middle == 0:
                raise SlateBenchError(f"{self.role}: one sample has no halves; ask for more samples")
            values = values[:, :middle] if self.half == "first" else values[:, middle:]
        there = np.isfinite(values)
        return np.where(there.any(1), np.where(there, values, 0).sum(1) / np.maximum(there.sum(1), 1), np.nan)


@dataclass(frozen=True)
class OfMeans:
    """A figure computed from means of metrics, with a paired interval over groups of requests.

    `combine` takes means [..., terms] and gives [...]; requests that have no value in some term are left out.
    """

    terms: tuple[Term, ...]
    combine: Callable[[np.ndarray], np.ndarray]
    text: str

    def measure(self, done: Experiment) -> Figure:
        """The figure with its bootstrap interval."""
        values = np.stack([term.per_request(done) for term in self.terms], axis=1)  # [P, terms]
        kept = np.isfinite(values).all(1)
        if not kept.any():
            raise SlateBenchError("no request has a value in every term")
        values, groups = values[kept], np.array(done.groups())[kept].tolist()
        value, low, high = combined_interval(values, groups, self.combine)
        details = {f"{t.role}: {t.metric}" + (f", {t.half} half" if t.half else ""): float(mean)
                   for t, mean in zip(self.terms, values.mean(0), strict=True)}  # fmt: skip
        return Figure(value, low, high, details)


def combined_interval(
    values: np.ndarray, groups: Sequence[str], combine: Callable[[np.ndarray], np.ndarray], seed: int = 0
) -> tuple[float, float | None, float | None]:
    """`combine` of the column means of `values` [n, terms] and its 95 % interval over resampled groups (BCa, t tails).

    See `metrics.statistics.bootstrap_intervals`; None for a limit that is not finite.
    """
    found = bootstrap_intervals(values, groups=groups, seed=seed, combine=lambda means: combine(means)[..., None])
    value, low, high = (float(one[0]) for one in found)
    return value, low if math.isfinite(low) else None, high if math.isfinite(high) else None


def level(role: str, metric: str) -> OfMeans:
    """The mean of a metric."""
    return OfMeans((Term(role, metric),), lambda m: m[..., 0], f"{metric} of {role}")


def ratio(metric: str, a: str, b: str) -> OfMeans:
    """Mean of a metric of `a` over that of `b`."""
    return OfMeans((Term(a, metric), Term(b, metric)), lambda m: m[..., 0] / m[..., 1], f"{metric}: {a} / {b}")


def difference(metric: str, a: str, b: str) -> OfMeans:
    """Mean of a metric of `a` minus that of `b`."""
    return OfMeans((Term(a, metric), Term(b, metric)), lambda m: m[..., 0] - m[..., 1], f"{metric}: {a} - {b}")


def flatness(role: str, metric: str) -> OfMeans:
    """Quality over repeated samples: second half of the samples over the first half (1 = flat)."""
    terms = (Term(role, metric, "second"), Term(role, metric, "first"))
    return OfMeans(terms, lambda m: m[..., 0] / m[..., 1], f"{metric} of {role}: later / earlier samples")


def smallest_rise(metric: str, roles: Sequence[str]) -> OfMeans:
    """The smallest step of a metric along an axis (sizes, steps): above 0 = it grows at every step."""
    terms = tuple(Term(role, metric) for role in roles)
    return OfMeans(terms, lambda m: np.diff(m, axis=-1).min(-1), f"{metric}: smallest rise over {' < '.join(roles)}")


def gap_growth(small: str, large: str, a: str, b: str) -> OfMeans:
    """Lead of `a` over `b` in metric `large` minus that in metric `small` (e.g. recall at a larger and a smaller K)."""
    terms = (Term(a, large), Term(b, large), Term(a, small), Term(b, small))
    text = f"({large} {a} - {b}) - ({small} {a} - {b})"
    return OfMeans(terms, lambda m: (m[..., 0] - m[..., 1]) - (m[..., 2] - m[..., 3]), text)


def ratio_growth(metric: str, a_now: str, b_now: str, a_before: str, b_before: str) -> OfMeans:
    """The ratio of two systems in one condition over the same ratio in another (e.g. on less training data)."""
    terms = tuple(Term(role, metric) for role in (a_now, b_now, a_before, b_before))
    text = f"{metric}: ({a_now} / {b_now}) / ({a_before} / {b_before})"
    return OfMeans(terms, lambda m: (m[..., 0] / m[..., 1]) / (m[..., 2] / m[..., 3]), text)


@dataclass(frozen=True)
class LatencyRatio:
    """Latency percentile of `a` over that of `b`, interleaved on this machine, paired by request.

    p99 takes 1,000 requests, others 200; at budget smoke 20, and then no interval is claimed.
    """

    a: str
    b: str
    percentile: int = 50

    @property
    def text(self) -> str:
        """In words."""
        return f"p{self.percentile} latency: {self.a} / {self.b}"

    def measure(self, done: Experiment) -> Figure:
        """Time both models now."""
        from ..cells.budgets import MEASURING
        from ..timing.harness import Limits
        from ..timing.interleave import Contender, interleave
        from ..timing.percentiles import P99_FROM, ROUGH_BELOW

        enough = P99_FROM if self.percentile == 99 else ROUGH_BELOW
        smoke = done.budget == "smoke"
        runs = [done.runs[role][0] for role in (self.a, self.b)]
        both = [Contender(role, run, run.spec.sampling) for role, run in zip((self.a, self.b), runs, strict=True)]
        found = interleave(both, MEASURING["smoke"].latency_requests if smoke else enough, Limits())
        value, low, high = found.ratio(0, 1, self.percentile)
        details = {f"{one['model']}: p{self.percentile} ms": one[f"p{self.percentile}_ms"] for one in found.models}
        details |= {"requests": found.requests, "sampling": {one["model"]: one["sampling"] for one in found.models}}
        if smoke:
            return Figure(value, None, None, details, f"{found.requests} requests are too few: use budget standard")
        return Figure(value, low, high, details)


@dataclass(frozen=True)
class Health:
    """A figure that fits report (semantic-id health): `a` minus `b`, with a t interval over fits of several seeds."""

    name: str
    a: str
    b: str

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.name}: {self.a} - {self.b}"

    def measure(self, done: Experiment) -> Figure:
        """From the records alone."""
        from scipy import stats

        per_role = []
        for role in (self.a, self.b):
            found = {run.spec.seed: run.record.fit.get("health", {}).get(self.name) for run in done.runs[role]}
            if any(value is None for value in found.values()):
                raise SlateBenchError(f"{role} reports no {self.name}")
            per_role.append(found)
        seeds = sorted(per_role[0].keys() & per_role[1].keys())
        gaps = np.array([per_role[0][seed] - per_role[1][seed] for seed in seeds])
        details = {f"{role}: {self.name}": float(np.mean(list(found.values())))
                   for role, found in zip((self.a, self.b), per_role, strict=True)}  # fmt: skip
        if len(seeds) < MIN_SEEDS:
            return Figure(float(gaps.mean()), None, None, details, f"{len(seeds)} seed(s): add --seeds 0,1,2")
        half = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps))
        return Figure(float(gaps.mean()), float(gaps.mean() - half), float(gaps.mean() + half), details)
