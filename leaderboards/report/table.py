"""The board of the report: columns with their help, rows with figures, intervals and what a reader sorts by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...metrics.evaluate import Summary
from ...metrics.registry import metric_info
from ..board import Board, System
from ..tables import number, short_count, short_name, with_unit

DIRECTION = {True: "higher is better", False: "lower is better", None: "neither direction is better by itself"}


@dataclass(frozen=True)
class Column:
    """A column of the board: what stands in its head, and the help behind its question mark."""

    key: str
    head: str
    help: str
    formula: str = ""
    first: str = "descending"  # how a press on the head sorts: the best first


@dataclass(frozen=True)
class Cell:
    """A figure as it is printed, and the number it is sorted by (None = last)."""

    text: str
    value: float | None = None
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A system on the board."""

    system: System
    cells: list[Cell]
    forest: tuple[float, float, float] | None  # low, mean, high of the headline on the axis of all systems, 0..1


def shown_metrics(board: Board) -> list[str]:
    """The metrics of the report's board: the main ones and BERTScore, as far as the board has them."""
    have = {name for system in board.systems for name in system.summary}
    names = board.systems[0].runs[0].spec.main_metrics
    return [name for name in [*names[:5], "bertscore_f1", *names[5:]] if name in have]


def metric_column(name: str) -> Column:
    """Head and help of a metric."""
    metric = metric_info(name)
    about = f"{metric.summary}; {DIRECTION[metric.higher_is_better]}"
    if metric.null:
        about += f"; null: {metric.null}"
    first = "ascending" if metric.higher_is_better is False else "descending"
    return Column(name, short_name(name), about, metric.formula, first)


def figure(summary: Summary | None) -> Cell:
    """The cell of a metric."""
    if summary is None or summary["mean"] is None:
        return Cell("–")
    mean, low, high = summary["mean"], summary["low"], summary["high"]
    if low is None or high is None:
        return Cell(number(mean), mean)
    return Cell(number(mean, low, high), mean, f"{number(low, low, high)}–{number(high, low, high)}")


# --- cost ----------------------------------------------------------------------------------------------


def _latency(name: str) -> Callable[[Board, System], Cell]:
    def cell(board: Board, system: System) -> Cell:
        value = system.latency(name, board.machine)
        mark = "rough" if value is not None and name == "p99_ms" and _p99_is_rough(system) else ""
        return Cell(with_unit(value, "ms"), value, mark)

    return cell


def _p99_is_rough(system: System) -> bool:
    return any((run.record.latency or {}).get("p99_rough") for run in system.runs)


def _fit(_: Board, system: System) -> Cell:
    seconds = system.seconds("fit")
    return Cell(with_unit(seconds, "s"), seconds)


def _cost(name: str) -> Callable[[Board, System], Cell]:
    def cell(_: Board, system: System) -> Cell:
        found = [value for run in system.runs if (value := run.record.cost.get(name)) is not None]
        return Cell(short_count(float(np.mean(found))), float(np.mean(found))) if found else Cell("–")

    return cell


def _memory(board: Board, system: System) -> Cell:
    value = system.latency("peak_rss_mib", board.machine)
    return Cell("–") if value is None else Cell(f"{value:,.0f} MiB", value)


def _cost_column(key: str, about: str) -> Column:
    return Column(key, key, about, first="ascending")


ONE_REQUEST = "one request in, one slate out, everything included, one thread"
COSTS: list[tuple[Column, Callable[[Board, System], Cell]]] = [
    (_cost_column("p50", f"median latency of {ONE_REQUEST}"), _latency("p50_ms")),
    (_cost_column("p95", f"95th percentile of the latency of {ONE_REQUEST}"), _latency("p95_ms")),
    (_cost_column("p99", "99th percentile of the same; rough below 1,000 requests"), _latency("p99_ms")),
    (_cost_column("fit", "mean seconds of the fit, over seeds"), _fit),
    (_cost_column("parameters", "fitted parameters"), _cost("parameters")),
    (_cost_column("NFE", "sequential network evaluations for one slate"), _cost("nfe")),
    (_cost_column("memory", "peak resident memory of the process that answers single requests"), _memory),
]


# --- rows ----------------------------------------------------------------------------------------------


def columns(board: Board) -> list[Column]:
    """The columns of figures, metrics first."""
    return [metric_column(name) for name in shown_metrics(board)] + [column for column, _ in COSTS]


def rows(board: Board) -> list[Row]:
    """One row per system, in the order of the board."""
    names = shown_metrics(board)
    best = {name: board.best(name) for name in names}
    axis = _axis(board, names[0])
    found = []
    for system in board.systems:
        cells = []
        for name in names:
            cell = figure(system.summary.get(name))
            cells.append(Cell(cell.text, cell.value, cell.interval, system.label in best[name]))
        cells += [cost(board, system) for _, cost in COSTS]
        found.append(Row(system, cells, _forest(system.summary.get(names[0]), axis)))
    return found


def _axis(board: Board, metric: str) -> tuple[float, float]:
    """Ends of the small interval plots' axis: all systems are on it; floors and ceilings may lie beyond it."""
    summaries = [system.summary[metric] for system in board.systems if system.kind == "system"]
    ends = [limit for s in summaries for limit in (s["low"], s["mean"], s["high"]) if limit is not None]
    return (min(ends), max(ends)) if len(set(ends)) > 1 else (0.0, 1.0)


def _forest(summary: Summary | None, axis: tuple[float, float]) -> tuple[float, float, float] | None:
    if summary is None or (mean := summary["mean"]) is None:
        return None
    low, high = (mean if (limit := summary[side]) is None else limit for side in ("low", "high"))
    start, end = axis
    at = tuple((value - start) / (end - start) for value in (low, mean, high))
    return (at[0], at[1], at[2]) if at[0] >= 0 and at[2] <= 1 else None


def all_metrics(board: Board) -> list[tuple[Column, list[Cell]]]:
    """Every metric that a system of the board has: its head and help, and its figure for each system."""
    names = dict.fromkeys(name for system in board.systems for name in system.summary)
    return [(metric_column(name), [figure(system.summary.get(name)) for system in board.systems]) for name in names]


def plain_rows(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """A table of figures as text, for readers who do not see the plot."""
    return [list(head), *([number(cell) if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
