"""`gate`: is A worse than B beyond noise? For people's own CI."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from ...datasets.errors import UsageError
from ...metrics.registry import metric_info
from .compare import compare_pair, find_pair


@dataclass(frozen=True)
class Gate:
    """Whether A may pass.

    Attributes:
        difference: metric of A minus that of B, with its paired 95 % interval over groups; None without evidence.
        requests: those on which both have a value.
        passed: False if the whole interval lies on the worse side of the margin, or if there is none.
        conclusive: False if the interval only reaches beyond the margin, or if there is none.
        reason: why there is no interval.
        notices: what a person must be told of the data and the runs.
    """

    a: str
    b: str
    dataset: str
    metric: str
    margin: float
    value_a: float | None
    value_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    requests: int
    passed: bool
    conclusive: bool
    reason: str | None = None
    notices: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The verdict in one line."""
        verdict = "FAILED" if not self.passed else "passed" if self.conclusive else "passed, but inconclusive"
        if self.reason:
            verdict += f", no evidence: {self.reason}"
        span = "" if self.low is None else f" [{self.low:+.4f}, {self.high:+.4f}]"
        gap = "" if self.difference is None else f", difference {self.difference:+.4f}{span}"
        value_a, value_b = ("–" if value is None else f"{value:.4f}" for value in (self.value_a, self.value_b))
        return (
            f"{verdict}: {self.metric} of {self.a} {value_a}, of {self.b} {value_b}{gap}, margin {self.margin:g} "
            f"({self.dataset}, {self.requests} requests)"
        )


def gate(
    a: str,
    b: str,
    *,
    dataset: str | None = None,
    metric: str | None = None,
    margin: float = 0.01,
    part: str = "test",
    budget: str | None = None,
    runs: Path | str | None = None,
) -> Gate:
    """Fail A if it is worse than B by more than `margin`, beyond noise, or if nothing can be said.

    The rule: A fails when the whole paired 95 % interval (over groups) of A - B lies below -margin (above margin for
    a metric where less is better), so a model that is exactly as much worse as allowed fails one time in forty. An
    interval that only reaches beyond the margin passes, and is called inconclusive: more requests or seeds would tell.
    Without an interval (values on requests of fewer than two groups) there is no evidence, and A fails.

    Args:
        a, b: systems with finished runs of today, or run folders.
        dataset: where a and b are systems.
        metric: one that has a better direction and a value per request (default: the headline of their board).
        margin: how much worse is still good enough, in units of the metric.
        part, budget: which runs of the systems.
        runs: folder of the records.

    Raises:
        UsageError: unknown names, no finished runs of today, runs that can't be compared, a metric without direction,
            a margin that is negative, infinite or no number.
    """
    if metric is not None and metric_info(metric).higher_is_better is None:
        raise UsageError(f"metric '{metric}' has no better direction: a gate needs one that has, e.g. ndcg_at_10")
    if not (math.isfinite(margin) and margin >= 0):
        raise UsageError(f"--margin {margin}: a number, 0 or more, in units of {metric or 'the headline metric'}")
    pair = find_pair(a, b, dataset, part, budget, runs)
    metric = metric or pair.headline
    found = compare_pair(pair, [metric], examples=0)
    row = found.table.row(0, named=True)
    reason, passed, conclusive = None, False, False
    if row["low"] is None or row["high"] is None:
        where = ", all of one group" if row["n"] else ""
        reason = f"{row['n']} of {found.requests} requests have a value in both{where}"
    else:  # how much worse A is, at best and at most
        least, most = (-row["high"], -row["low"]) if metric_info(metric).higher_is_better else (row["low"], row["high"])
        passed, conclusive = not least > margin, least > margin or most <= margin
    return Gate(
        a=found.a,
        b=found.b,
        dataset=found.dataset,
        metric=metric,
        margin=margin,
        value_a=row["a"],
        value_b=row["b"],
        difference=row["difference"],
        low=row["low"],
        high=row["high"],
        requests=row["n"],
        passed=passed,
        conclusive=conclusive,
        reason=reason,
        notices=found.notices,
    )
