"""Cells of a grid over several worker processes: who runs what next, and how long the rest may take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from ...leaderboards.records import Run
from ..cells.cell import Plan

Shard = tuple[int, int]  # (i, n): part i of n, counted from 1


def fit_key(plan: Plan) -> str:
    """What two plans share when they share a fit."""
    return plan.fit or plan.spec.hash


def take_shard(plans: Sequence[Plan], shard: Shard) -> list[Plan]:
    """The plans of part i of n: fits in turn, as they come; plans that share a fit stay together."""
    i, n = shard
    groups = {key: number for number, key in enumerate(dict.fromkeys(fit_key(plan) for plan in plans))}
    return [plan for plan in plans if groups[fit_key(plan)] % n == i - 1]


def longest_first(plans: Sequence[Plan], expected: dict[str, float]) -> list[Plan]:
    """Unknown cells first, then from long to short, so that no long one is left alone at the end."""
    return sorted(plans, key=lambda plan: -expected.get(plan.spec.hash, float("inf")))


def expected_seconds(plans: Sequence[Plan], earlier: Sequence[Run], runs: Path) -> dict[str, float]:
    """Seconds that each plan's cell should take, by spec hash, from earlier records on this dataset and budget.

    Taken from the same model with the same presets and settings, else from the same model; unknown cells are left out.
    A fit that is kept already, or that an earlier plan will make, costs nothing.
    """
    known: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for run in earlier:
        if run.record.state == "done":
            for key in _keys(run.spec.dataset, run.spec.budget, run.record.label):
                known.setdefault(key, []).append(cell_seconds(run))
    found, fitted = {}, set[str]()
    for plan in plans:
        keys = [key for key in _keys(plan.spec.dataset, plan.spec.budget, plan.label) if key in known]
        if keys:
            fits, rests = zip(*known[keys[0]], strict=True)
            kept = plan.fit is not None and (plan.fit in fitted or (runs / plan.fit / "fit.json").exists())
            found[plan.spec.hash] = mean(rests) + (0.0 if kept else mean(fits))
        fitted.add(fit_key(plan))
    return found


def _keys(dataset: str, budget: str, label: str) -> list[tuple[str, ...]]:
    """What a time may be known by, the closest first."""
    return [(dataset, budget, label), (dataset, budget, label.split()[0].split(":")[0])]


def cell_seconds(run: Run) -> tuple[float, float]:
    """Seconds of a cell's fit (of the real one, where a kept one was used), and of the rest of its work."""
    timings = run.record.timings
    fit = run.record.fit.get("seconds", timings.get("fit", 0.0))
    return fit, sum(seconds for phase, seconds in timings.items() if phase != "fit")


def time_left(queued: Sequence[float | None], running: Sequence[tuple[float | None, float]], jobs: int) -> float | None:
    """Seconds until a grid ends, None while nothing is known.

    Args:
        queued: expected seconds of the cells that wait (None: unknown, taken as the mean of the known).
        running: expected seconds and seconds so far of the cells at work.
        jobs: cells at a time.

    >>> time_left([60, None], [(100, 40.0)], jobs=2)
    100.0
    """
    known = [seconds for seconds in (*queued, *(expected for expected, _ in running)) if seconds is not None]
    if not known:
        return None
    usual = mean(known)
    rest = [max(0.0, (usual if expected is None else expected) - so_far) for expected, so_far in running]
    rest += [usual if seconds is None else seconds for seconds in queued]
    return max(sum(rest) / jobs, max(rest, default=0.0))
