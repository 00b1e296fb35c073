"""The report's plots of sweeps: the headline metric on validation against the settings searched, and against time."""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import polars as pl

from ..board import Board
from ..tables import short_name
from .plot import COLOURS, LEGEND, SHAPES, Figure, Group, inline, leader_of, spec_of
from .table import plain_rows

FIRST = ("steps", "guidance", "eta")  # the settings of diffusion samplers stand first
SETTINGS_SHOWN = 9
LATENCY = "latency_p50_ms"
WIDE = 10  # times the smallest value: beyond it the axis is logarithmic


def sweep_plots(board: Board, trials: pl.DataFrame) -> list[Group]:
    """A plot per searched setting that is a number, and one of quality and speed, over all studies on the board's data.

    Args:
        board: its fingerprint and headline metric count.
        trials: as `leaderboards.sweeps.read_sweeps` gives them.
    """
    leader = leader_of(board)
    if leader not in trials.columns:
        return []
    kept = trials.filter((pl.col("fingerprint") == board.fingerprint) & pl.col(leader).is_finite())
    searched = dict.fromkeys(name for row in kept["settings"].to_list() for name in json.loads(row))
    numeric = [name for name in searched if kept.schema[name].is_numeric()]
    names = [*(name for name in FIRST if name in numeric), *(name for name in numeric if name not in FIRST)]
    names = names[:SETTINGS_SHOWN]
    if LATENCY in kept.columns and kept[LATENCY].is_not_null().any():
        names.append(LATENCY)
    figures = [_plot(kept.filter(pl.col(name).is_not_null()), name, leader) for name in names]
    return [Group("Sweeps", figures)] if figures else []


def _plot(trials: pl.DataFrame, setting: str, leader: str) -> Figure:
    rows: list[dict[str, Any]] = []
    for trial in trials.sort("model", "study", "trial").iter_rows(named=True):
        low, high = (
            trial[leader] if (end := trial.get(f"{leader}_{side}")) is None else end for side in ("low", "high")
        )
        rows.append({"study": f"{trial['model']} ({trial['budget']}, {trial['study'][:6]})", "x": trial[setting],
                     "y": trial[leader], "low": low, "high": high, "best": bool(trial["best"]),
                     "settings": trial["settings"]})  # fmt: skip
    studies = list(dict.fromkeys(row["study"] for row in rows))
    colour = alt.Scale(domain=studies, range=[COLOURS[i % len(COLOURS)] for i in range(len(studies))])
    shape = alt.Scale(domain=studies, range=[SHAPES[i % len(SHAPES)] for i in range(len(studies))])
    y_title = f"{short_name(leader)} on validation"
    low, high = min(row["x"] for row in rows), max(row["x"] for row in rows)
    kind = "log" if 0 < WIDE * low < high else "linear"
    scale = alt.Scale(type=kind, zero=False, nice=False, padding=12)
    base = alt.Chart(inline(rows)).encode(
        x=alt.X("x:Q", title=setting, scale=scale),
        color=alt.Color("study:N", scale=colour, legend=LEGEND),
    )
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False))
    bars = base.mark_rule(opacity=0.25).encode(y=alt.Y("low:Q", title=y_title), y2="high:Q")
    points = base.mark_point(filled=True, opacity=1).encode(
        y=y,
        shape=alt.Shape("study:N", scale=shape, legend=LEGEND),
        size=alt.condition("datum.best", alt.value(170), alt.value(45)),
        tooltip=["study:N", alt.Tooltip("settings:N"), alt.Tooltip("y:Q", title=y_title, format=".4f")],
    )
    table = [[r["study"], str(r["x"]), r["y"], r["low"], r["high"], "yes" if r["best"] else ""] for r in rows]
    return Figure(
        f"sweep-{setting}",
        f"{short_name(leader)} against {setting}",
        "A point per trial of a sweep, on validation requests; large: the winner, or the Pareto front of several "
        "objectives. Trials may differ in other settings too.",
        spec_of(alt.layer(bars, points).properties(height=220)),
        plain_rows(["study", setting, y_title, "low", "high", "best"], table),
    )
