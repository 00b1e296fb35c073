"""What the report's plots share: figures with their tables, colours and shapes of systems, specs of Vega-Lite."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt

from ..board import Board, System

# Colours of Okabe and Ito that can be told apart on white and on black; with shapes and dashes for 48 systems.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
GREY = "#8a8a8a"  # floors
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
STEPS = ("steps", "beam", "passes")  # settings that a statement about speed must name


@dataclass(frozen=True)
class Figure:
    """A plot: its spec, and the same figures as rows of text (the first row is the head)."""

    name: str
    title: str
    caption: str
    spec: dict[str, Any]
    table: list[list[str]]
    small: bool = False


@dataclass(frozen=True)
class Group:
    """Plots that stand together."""

    title: str
    figures: list[Figure] = field(default_factory=list)


def leader_of(board: Board) -> str:
    """The metric that orders the board."""
    return board.systems[0].runs[0].spec.headline


def contenders(board: Board) -> list[System]:
    """Systems and floors."""
    return [system for system in board.systems if system.kind != "ceiling"]


def scales(board: Board, shown: Collection[str]) -> tuple[alt.Scale, alt.Scale, alt.Scale]:
    """Colour, shape and dash of the systems `shown`: a system has the same in every plot."""
    looks: dict[str, tuple[str, str, list[int]]] = {}
    place = 0
    for i, system in enumerate(contenders(board)):
        floor = system.kind == "floor"
        mark = i if floor else place
        colour = GREY if floor else COLOURS[place % len(COLOURS)]
        looks[named(system)] = (colour, SHAPES[mark % len(SHAPES)], DASHES[(mark // len(COLOURS)) % len(DASHES)])
        place += not floor
    names = [name for name in looks if name in shown]
    colour, shape, dash = (alt.Scale(domain=names, range=[looks[name][part] for name in names]) for part in range(3))
    return colour, shape, dash


def named(system: System) -> str:
    """The system's label with the sampling settings that its speed hangs on.

    A speed claim states its step count (docs/protocol.md, section 5).
    """
    sampling = system.runs[0].spec.sampling
    settings = [f"{name} {sampling[name]}" for name in STEPS if sampling.get(name)]  # passes=0: the model's own number
    return f"{system.label} ({', '.join(settings)})" if settings else system.label


def spec_of(chart: Any) -> dict[str, Any]:
    """A chart's spec, as wide as the page gives it room, in the page's colours."""
    spec = chart.properties(width="container").to_dict()
    spec.pop("config", None)
    spec.pop("$schema", None)
    return spec


def inline(rows: Sequence[dict[str, Any]]) -> alt.InlineData:
    """Rows as data that stand in the spec."""
    return alt.InlineData(values=[dict(row) for row in rows])


LEGEND = alt.Legend(title=None, orient="bottom")
