"""From slates to scores, and from scores to the figures of a record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypedDict

import numpy as np

from ..datasets.errors import UsageError
from ..datasets.schema import Slates
from .base import Block, Metric, Scores, Truth, blocks
from .registry import METRICS, diagnostic_name
from .statistics import bootstrap_intervals

Compute = Callable[[Block], np.ndarray]


class SlateScorer(Protocol):
    """Scores that need more than the truth, as BERTScore does."""

    def __call__(self, slates: Slates, truth: Truth) -> dict[str, np.ndarray]:
        """Values [P, S] by metric name."""
        ...


class Summary(TypedDict):
    """One metric of a run (or of its seeds): mean, 95 % interval over groups, requests that have a value."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    sd_over_seeds: float | None


def evaluate(
    slates: Slates,
    truth: Truth,
    *,
    cutoffs: Sequence[int] = (10, 5),
    only: Collection[str] | None = None,
    bertscore: SlateScorer | None = None,
    deterministic: bool = False,
) -> Scores:
    """Score slates with every metric of docs/protocol.md, sections 2 to 4 (see `registry.METRICS`).

    Args:
        slates: [P, S, K], checked (`Slates.check`), for the requests of `truth` in their order.
        truth: of the part.
        cutoffs: the k of the metrics with a cutoff.
        only: names to compute, e.g. {"ndcg_at_10"}; all by default.
        bertscore: a `metrics.bertscore.SlateBertScore`, or None to leave BERTScore out.
        deterministic: the model has no noise: its freshness figures are 0 also when only one sample was drawn.

    Raises:
        UsageError: `slates` and `truth` have different numbers of requests.
    """
    P, S, _ = slates.items.shape
    if len(truth) != P:
        raise UsageError(f"slates for {P} requests can't be scored against {len(truth)} references")
    plan = {name: c for name, c in _plan(truth, cutoffs, S).items() if only is None or name in only}
    values = {name: np.full((P, S) if metric.scope == "sample" else P, np.nan) for name, (metric, _) in plan.items()}
    for block in blocks(slates.items, truth):
        for name, (_, compute) in plan.items():
            values[name][block.rows] = compute(block)
    if deterministic and S == 1:
        for name in {"freshness", "jaccard_distance"} & set(values):
            values[name][:] = 0
    for name, per_sample in slates.diagnostics.items():
        if only is None or diagnostic_name(name) in only:
            values[diagnostic_name(name)] = np.asarray(per_sample, np.float64)
    if bertscore is not None:
        values |= {n: v for n, v in bertscore(slates, truth).items() if only is None or n in only}
    per_run: dict[str, float | None] = {}
    for metric in METRICS:
        if metric.compute_run is not None and (only is None or metric.name in only):
            per_run[metric.name] = metric.compute_run(slates.items, truth)
        elif metric.curve_of is not None and S > 1:
            for name in [metric.curve_of.format(k=k) for k in (cutoffs if "{k}" in metric.name else [0])]:
                if name in values:
                    curve = {f"{name}_m{m}": mean for m, mean in enumerate(mean_over(values[name], axis=0), start=1)}
                    per_run |= {n: _or_none(mean) for n, mean in curve.items() if only is None or n in only}
    return Scores(truth.requests, values, per_run)


def _plan(truth: Truth, cutoffs: Sequence[int], samples: int) -> dict[str, tuple[Metric, Compute]]:
    """Every metric that is computed per block: full name -> (metric, what computes it)."""
    plan: dict[str, tuple[Metric, Compute]] = {}
    for metric in METRICS:
        compute = metric.compute
        if compute is None or (metric.space is not None and metric.space not in truth.spaces):
            continue
        if metric.ordered and truth.places is None:
            continue
        numbers = cutoffs if "{k}" in metric.name else range(2, samples + 1) if "{m}" in metric.name else [0]
        for number in numbers:

            def at(block: Block, compute: Callable = compute, number: int = number) -> np.ndarray:
                return compute(block, number)

            plan[metric.name.format(k=number, m=number)] = (metric, at)
    return plan


def summarise(
    scores: Scores | Sequence[Scores], groups: Sequence[str], *, seed: int = 0, resamples: int = 10_000
) -> dict[str, Summary]:
    """Mean and 95 % interval of every metric over one run, or over the runs of several seeds together.

    A request's value is its mean over samples and seeds (nulls left out); the interval resamples groups.
    Metrics of scope "run" have no interval; `sd_over_seeds` is null for a single run.

    Args:
        scores: of one run or of several seeds, for the same requests.
        groups: the group of each request (`Truth.groups`).
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        UsageError: the runs are not about the same requests, or `groups` has another length.
    """
    runs = [scores] if isinstance(scores, Scores) else list(scores)
    return summarise_systems([runs], groups, seed=seed, resamples=resamples)[0]


def summarise_systems(
    systems: Sequence[Sequence[Scores]],
    groups: Sequence[str],
    *,
    intervals: Collection[str] | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> list[dict[str, Summary]]:
    """`summarise` of several systems, each the runs over its seeds: the groups are drawn once for all of them.

    Args:
        systems: their runs, all for the same requests.
        groups, seed, resamples: as in `summarise`.
        intervals: the metrics whose intervals are wanted, which take nearly all of the time (None: of all).
    """
    asked = systems[0][0].requests if systems else []
    if len(groups) != len(asked) or any(run.requests != asked for runs in systems for run in runs):
        raise UsageError("scores of different requests can't be summarised together: same dataset, part and split?")
    found: list[dict[str, Summary]] = []
    columns: list[np.ndarray] = []
    wanted: list[Summary] = []
    for runs in systems:
        summary: dict[str, Summary] = {}
        for name in dict.fromkeys(name for run in runs for name in run.values):
            per_seed = np.stack([_per_request(run, name) for run in runs])  # [seeds, P]
            per_request = mean_over(per_seed, axis=0)
            summary[name] = _summary(per_request, mean_over(per_seed, axis=1))
            if intervals is None or name in intervals:
                columns.append(per_request)
                wanted.append(summary[name])
        for name in dict.fromkeys(name for run in runs for name in run.per_run):
            of_seeds = np.array([np.nan if (v := run.per_run.get(name)) is None else v for run in runs])
            summary[name] = _summary(of_seeds, of_seeds)
        found.append(summary)
    if columns:
        limits = bootstrap_intervals(np.stack(columns, axis=1), groups=groups, seed=seed, resamples=resamples)
        for figure, mean, low, high in zip(wanted, *limits, strict=True):
            figure["mean"], figure["low"], figure["high"] = _or_none(mean), _or_none(low), _or_none(high)
    return found


def _summary(values: np.ndarray, of_seeds: np.ndarray) -> Summary:
    """A metric without its interval: of its values per request (or seed), and of the seeds' means."""
    return Summary(mean=_or_none(float(mean_over(values, 0))), low=None, high=None, n=int(np.isfinite(values).sum()),
                   sd_over_seeds=_or_none(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else None)  # fmt: skip


def _per_request(run: Scores, name: str) -> np.ndarray:
    values = run.values.get(name)
    if values is None:
        return np.full(len(run.requests), np.nan)
    return values if values.ndim == 1 else mean_over(values, axis=1)


def mean_over(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean along `axis` without the nulls; NaN where all are null."""
    there = np.isfinite(values)
    n = there.sum(axis)
    return np.where(n > 0, np.where(there, values, 0).sum(axis) / np.maximum(n, 1), np.nan)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
