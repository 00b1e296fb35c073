"""`gate`: is A worse than B beyond noise? For people's own CI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..datasets.errors import UsageError
from ..leaderboards.board import HEADLINE
from ..metrics.registry import metric_info
from .compare import compare


@dataclass(frozen=True)
class Gate:
    """Whether A may pass.

    Attributes:
        difference: metric of A minus that of B, with its paired 95 % interval over groups.
        passed: False only if the whole interval lies on the worse side of the margin.
        conclusive: False if the interval only reaches beyond the margin.
    """

    a: str
    b: str
    dataset: str
    metric: str
    margin: float
    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    requests: int
    passed: bool
    conclusive: bool

    @property
    def line(self) -> str:
        """The verdict in one line."""
        verdict = "FAILED" if not self.passed else "passed" if self.conclusive else "passed, but inconclusive"
        return (
            f"{verdict}: {self.metric} of {self.a} {self.value_a:.4f}, of {self.b} {self.value_b:.4f}, "
            f"difference {self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}], margin {self.margin:g} "
            f"({self.dataset}, {self.requests} requests)"
        )


def gate(
    a: str,
    b: str,
    *,
    dataset: str | None = None,
    metric: str = HEADLINE,
    margin: float = 0.01,
    part: str = "test",
    budget: str | None = None,
    runs: Path | str | None = None,
) -> Gate:
    """Fail A if it is worse than B by more than `margin`, beyond noise.

    The rule: A fails when the whole paired 95 % interval (over groups) of A - B lies below -margin (above margin for
    a metric where less is better), so a model that is exactly as much worse as allowed fails one time in forty. An
    interval that only reaches beyond the margin passes, and is called inconclusive: more requests or seeds would tell.

    Args:
        a, b: systems with finished runs, or run folders.
        dataset: where a and b are systems.
        metric: one that has a better direction and a value per request.
        margin: how much worse is still good enough, in units of the metric.
        part, budget: which runs of the systems.
        runs: folder of the records.

    Raises:
        UsageError: unknown names, no finished runs, runs that can't be compared, a metric without direction,
            a margin that is negative, infinite or no number.
    """
    better = metric_info(metric).higher_is_better
    if better is None:
        raise UsageError(f"metric '{metric}' has no better direction: a gate needs one that has, e.g. {HEADLINE}")
    if not (math.isfinite(margin) and margin >= 0):
        raise UsageError(f"--margin {margin}: a number, 0 or more, in units of {metric}")
    found = compare(a, b, dataset=dataset, part=part, budget=budget, metrics=[metric], examples=0, runs=runs)
    row = found.table.row(0, named=True)
    # how much worse A is, at best and at most
    least, most = (-row["high"], -row["low"]) if better else (row["low"], row["high"])
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
        requests=found.requests,
        passed=not least > margin,
        conclusive=bool(least > margin or most <= margin),
    )
