"""The report's plots as Vega-Lite specs (made and checked by Altair), each beside its figures as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from ...datasets.schema import SlateDataset
from ..board import Board, System
from ..tables import number, short_name, with_interval
from .breakdowns import breakdowns
from .plot import COLOURS, GREY, LEGEND, Figure, Group, contenders, inline, leader_of, named, scales, spec_of
from .table import plain_rows

POINTS = 200  # of a training curve


def groups(board: Board, dataset: SlateDataset | None = None) -> list[Group]:
    """All plots of a board that its records, and its data where they are at hand, have figures for."""
    made = [
        Group("Trade-offs", [quality_and_speed(board), quality_and_freshness(board), quality_and_popularity(board)]),  # type: ignore[list-item]
        Group("Over samples", [freshness_curve(board), quality_curve(board)]),  # type: ignore[list-item]
        Group("Over requests", list(breakdowns(board, dataset))),
        Group("Training", [validation_curve(board), *loss_curves(board)]),  # type: ignore[list-item]
    ]
    kept = [Group(group.title, [figure for figure in group.figures if figure is not None]) for group in made]
    return [group for group in kept if group.figures]


# --- trade-offs --------------------------------------------------------------------------------------------


def _scatter(board: Board, rows: list[dict[str, Any]], x: alt.X, y: str, extra: Sequence[alt.Chart] = ()) -> dict:
    """Points with intervals: system, x, y, low, high per row."""
    colour, shape, _ = scales(board, {row["system"] for row in rows})
    base = alt.Chart(inline(rows)).encode(x=x)
    scale = alt.Scale(zero=False, nice=True)
    title = short_name(y)
    bars = base.mark_rule(opacity=0.6).encode(
        y=alt.Y("low:Q", scale=scale, title=title),
        y2="high:Q",
        color=alt.Color("system:N", scale=colour, legend=LEGEND),
    )
    points = base.mark_point(filled=True, size=110, opacity=1).encode(
        y=alt.Y("y:Q", scale=scale, title=title),
        color=alt.Color("system:N", scale=colour, legend=LEGEND),
        shape=alt.Shape("system:N", scale=shape, legend=LEGEND),
        tooltip=["system:N", alt.Tooltip("y:Q", title=title, format=".4f"),
                 alt.Tooltip("x:Q", title=str(x.title), format=".4~g")],  # type: ignore[attr-defined]
    )  # fmt: skip
    return spec_of(alt.layer(*extra, bars, points).properties(height=250))


def _points(board: Board, x_of: Any) -> list[dict[str, Any]]:
    """system, kind, x, y, low, high of the systems that have both figures."""
    leader, rows = leader_of(board), []
    for system in contenders(board):
        x, summary = x_of(system), system.summary[leader]
        if x is not None and summary["mean"] is not None:
            low, high = (summary["mean"] if summary[side] is None else summary[side] for side in ("low", "high"))
            rows.append({"system": named(system), "kind": system.kind, "x": x, "y": summary["mean"],
                         "low": low, "high": high})  # fmt: skip
    return rows


def _drawn(rows: list[dict[str, Any]], x_title: str) -> tuple[list[dict[str, Any]], str]:
    """The points to draw, and a sentence on floors too far below the systems to share an axis with them."""
    lowest = min((row["low"] for row in rows if row["kind"] == "system"), default=0)
    far = [row for row in rows if row["kind"] == "floor" and row["high"] < 0.7 * lowest]
    words = "; ".join(f"{row['system']} {number(row['y'])} ({x_title} {row['x']:.3g})" for row in far)
    return [row for row in rows if row not in far], f" Floors below the axis: {words}." if far else ""


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, quality) that no other beats in both, cheapest first.

    >>> pareto([(3, 0.9), (1, 0.5), (2, 0.4)])
    [1, 0]
    """
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def quality_and_speed(board: Board) -> Figure | None:
    """Headline metric against p99, with the Pareto front."""
    rows = _points(board, lambda system: system.latency("p99_ms", board.machine))
    if not rows:
        return None
    points, floors = _drawn(rows, "p99 ms")
    front = [points[i] for i in pareto([(row["x"], row["y"]) for row in points])]
    x = alt.X("x:Q", title="p99 of one request, ms", scale=alt.Scale(type="log", nice=False, padding=30))
    y = alt.Y("y:Q", scale=alt.Scale(zero=False, nice=True))
    line = alt.Chart(inline(front)).mark_line(interpolate="step-after", strokeDash=[4, 3], color=GREY).encode(x=x, y=y)
    names = _names(front, points)
    leader = short_name(leader_of(board))
    rough = any((run.record.latency or {}).get("p99_rough") for s in board.systems for run in s.runs)
    caption = (
        f"Up and to the left is better. Dashed: the Pareto front, the systems that no other beats in both {leader} and "
        f"p99 (named). All timed on {board.machine}, one request at a time."
    )
    if rough:
        caption += " Some p99 are rough: fewer than 1,000 requests."
    caption += floors
    on_front = {row["system"] for row in front}
    table = [[r["system"], r["x"], r["y"], r["low"], r["high"], "yes" if r["system"] in on_front else ""] for r in rows]
    head = ["system", "p99 ms", leader, "low", "high", "on the front"]
    spec = _scatter(board, points, x, leader_of(board), [line, *names])
    return Figure("speed", f"{leader} against latency", caption, spec, plain_rows(head, table))


def _names(front: Sequence[dict[str, Any]], points: Sequence[dict[str, Any]]) -> list[alt.Chart]:
    """Names of the systems on the front, above and to the left of it, where no point lies; none on top of another."""
    low, high = min(row["low"] for row in points), max(row["high"] for row in points)
    middle = math.sqrt(min(row["x"] for row in points) * max(row["x"] for row in points))  # of a logarithmic axis
    gap, height, placed = 0.065 * (high - low), low, []
    for row in front:
        height = max(row["y"], height) + gap
        placed.append({**row, "y": height})
    right = [row for row in placed if row["x"] > middle]
    left = [row for row in placed if row["x"] <= middle]
    return [
        alt.Chart(inline(rows)).mark_text(align=align, dx=dx).encode(x="x:Q", y="y:Q", text="system:N")
        for rows, align, dx in ((left, alt.Align("left"), 8), (right, alt.Align("right"), -8))
    ]


def quality_and_freshness(board: Board) -> Figure | None:
    """Headline metric against intra-prompt freshness."""
    return _against(
        board, "freshness", "freshness",
        "Freshness: share of a further sample's items that no earlier sample of the prompt held. A deterministic model "
        "has 0; random slates are always fresh, so freshness counts only beside relevance.",
    )  # fmt: skip


def quality_and_popularity(board: Board) -> Figure | None:
    """Headline metric against popularity bias."""
    truth = next((s.summary.get("popularity") for s in board.systems if s.label == "ceiling:reference"), None)
    caption = "Popularity: mean log(1 + train slates that hold the item) of the items emitted. Lower is less biased."
    extra = []
    if truth is not None and truth["mean"] is not None:
        rule = alt.Chart(inline([{"x": truth["mean"]}])).mark_rule(strokeDash=[2, 3], color=GREY).encode(x="x:Q")
        extra, caption = [rule], caption + f" Dotted line: the references themselves ({truth['mean']:.2f})."
    caption += " Where test items are mostly new this is confounded: references are unpopular because they are new."
    return _against(board, "popularity", "popularity", caption, extra)


def _against(board: Board, metric: str, name: str, caption: str, extra: Sequence[alt.Chart] = ()) -> Figure | None:
    def mean(system: System) -> float | None:
        return system.summary[metric]["mean"] if metric in system.summary else None

    rows = _points(board, mean)
    share = metric == "freshness"
    drawing = any(row["kind"] == "system" and row["x"] > 0 for row in rows)
    if not rows or (share and not drawing):  # where no system draws, all are equally fresh
        return None
    points, floors = _drawn(rows, short_name(metric))
    scale = alt.Scale(domain=[0, 1]) if share else alt.Scale(zero=False, padding=20)
    x = alt.X("x:Q", title=short_name(metric), scale=scale)
    leader = short_name(leader_of(board))
    table = [[row[key] for key in ("system", "x", "y", "low", "high")] for row in rows]
    return Figure(name, f"{leader} against {short_name(metric)}", caption + floors,
                  _scatter(board, points, x, leader_of(board), extra),
                  plain_rows(["system", short_name(metric), leader, "low", "high"], table))  # fmt: skip


# --- over samples --------------------------------------------------------------------------------------------


def freshness_curve(board: Board) -> Figure | None:
    """Share of new items in the m-th sample."""
    return _over_samples(
        board, "freshness", "Freshness over samples", "new items in sample m",
        "Share of sample m's items that no earlier sample held: a flat, high line means that asking again pays.",
    )  # fmt: skip


def quality_curve(board: Board) -> Figure | None:
    """Headline metric of the m-th sample."""
    leader = leader_of(board)
    return _over_samples(
        board, leader, f"{short_name(leader)} over samples", f"{short_name(leader)} of sample m",
        "Quality of the m-th sample: freshness is only worth something while this stays flat.",
    )  # fmt: skip


def _over_samples(board: Board, metric: str, title: str, axis: str, caption: str) -> Figure | None:
    rows: list[dict[str, Any]] = []
    lines: list[list[str]] = []
    if not any(f"{metric}_m2" in system.summary for system in board.systems if system.kind == "system"):
        return None
    for system in contenders(board):
        found = {int(name.rsplit("_m", 1)[1]): value for name, value in system.summary.items()
                 if name.startswith(f"{metric}_m") and name.rsplit("_m", 1)[1].isdigit()
                 and value["mean"] is not None}  # fmt: skip
        rows += [{"system": named(system), "m": m, "y": value["mean"]} for m, value in sorted(found.items())]
        lines += [[named(system), str(m), with_interval(value)] for m, value in sorted(found.items())]
    return Figure(f"samples-{metric}", title, caption, _lines(board, rows, "m", "sample m", axis),
                  [["system", "m", axis], *lines])  # fmt: skip


def _lines(board: Board, rows: list[dict[str, Any]], x: str, x_title: str, y_title: str) -> dict[str, Any]:
    colour, shape, dash = scales(board, {row["system"] for row in rows})
    base = alt.Chart(inline(rows)).encode(
        x=alt.X(f"{x}:Q", title=x_title, axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False)),
        color=alt.Color("system:N", scale=colour, legend=LEGEND),
    )
    detail = ["seed:N"] if "seed" in rows[0] else []
    line = base.mark_line(strokeWidth=2).encode(
        strokeDash=alt.StrokeDash("system:N", scale=dash, legend=LEGEND), detail=detail
    )
    marks = base.mark_point(filled=True, size=60, opacity=1).encode(
        shape=alt.Shape("system:N", scale=shape, legend=LEGEND),
        tooltip=["system:N", f"{x}:Q", alt.Tooltip("y:Q", title=y_title, format=".4f")],
    )
    return spec_of(alt.layer(line, marks).properties(height=220))


# --- training ------------------------------------------------------------------------------------------------


def _curve(points: Sequence[Sequence[float]]) -> list[tuple[int, float]]:
    """Finite points of a curve, thinned to what a plot can show."""
    finite = [(int(step), float(value)) for step, value in points if value is not None and math.isfinite(float(value))]
    keep = np.unique(np.linspace(0, len(finite) - 1, min(POINTS, len(finite))).astype(int)) if finite else []
    return [finite[i] for i in keep]


def validation_curve(board: Board) -> Figure | None:
    """The score on validation during the fit, all systems that have one."""
    rows = [
        {"system": named(system), "seed": run.spec.seed, "step": step, "y": value}
        for system in contenders(board)
        for run in system.runs
        for step, value in _curve(run.record.fit.get("curves", {}).get("valid", []))
    ]
    if not rows:
        return None
    table = [[row["system"], str(row["seed"]), str(row["step"]), row["y"]] for row in rows]
    return Figure("validation", "Validation score during the fit",
                  "The headline metric on validation requests, by which a fit stops early; a line per seed.",
                  _lines(board, rows, "step", "step", "validation score"),
                  plain_rows(["system", "seed", "step", "validation score"], table))  # fmt: skip


def loss_curves(board: Board) -> list[Figure]:
    """The training loss of each system that has one: losses of two models share no axis."""
    figures = []
    for i, system in enumerate(contenders(board)):
        curves = {run.spec.seed: _curve(run.record.fit.get("curves", {}).get("loss", [])) for run in system.runs}
        rows = [{"seed": f"seed {seed}", "step": s, "y": v} for seed, curve in curves.items() for s, v in curve]
        if not rows:
            continue
        chart = alt.Chart(inline(rows)).mark_line().encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y("y:Q", title="loss", scale=alt.Scale(zero=False)),
            color=alt.Color("seed:N", legend=LEGEND, scale=alt.Scale(range=list(COLOURS))),
            strokeDash=alt.StrokeDash("seed:N", legend=LEGEND),
            tooltip=["seed:N", "step:Q", alt.Tooltip("y:Q", title="loss", format=".4~g")],
        ).properties(height=150)  # fmt: skip
        ends = [[f"seed {seed}", str(c[-1][0]), c[0][1], c[-1][1]] for seed, c in curves.items() if c]
        head = ["seed", "last step", "first loss", "last loss"]
        figures.append(Figure(f"loss-{i}", f"Training loss of {system.label}", "", spec_of(chart),
                              plain_rows(head, ends), small=True))  # fmt: skip
    return figures
