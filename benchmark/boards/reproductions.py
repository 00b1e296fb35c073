"""Published figures beside our own: the page `histories` of the results, made from records and `published.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from scipy.stats import spearmanr

from ...datasets.registry import dataset_card
from ...datasets.schema import Repeats
from ...leaderboards.board import Board, NoRuns, System, build_board
from ...leaderboards.records import Run
from ...leaderboards.tables import number, short_name, table, with_interval
from ...models.registry import parse_model
from ..today import today_of

METRICS = ("recall_at_5", "ndcg_at_5", "recall_at_10", "ndcg_at_10")
SAME_DATA = (("amazon-beauty", "amazon-beauty-time"), ("amazon-toys", "amazon-toys-time"), ("ml-1m", "ml-1m-time"))
COMMON = 4  # systems that two boards must share before their orders are compared


class Published(BaseModel):
    """What somebody published of a system on a dataset, and where the protocol is not ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    repeats: Repeats
    name: str
    systems: list[str]  # our models beside which it stands
    source: str
    metrics: dict[str, float]
    differs: str


@cache
def published() -> list[Published]:
    """All rows of `published.toml`, their sources in full."""
    content = tomllib.loads((Path(__file__).parent / "published.toml").read_text(encoding="utf-8"))
    return [Published(**row | {"source": content["sources"][row["source"]]}) for row in content["row"]]


def reproductions(runs: Sequence[Run], made: str) -> str | None:
    """The page as Markdown; None where no run asked all requests of a dataset that somebody has published figures of.

    Args:
        runs: records of any datasets.
        made: the line that says how the page was made.
    """
    sections = []
    keys: dict[tuple[str, Repeats], None] = dict.fromkeys((row.dataset, row.repeats) for row in published())
    for dataset, repeats in keys:
        board = _board(runs, dataset, repeats)
        if board is not None:
            sections += [f"## {dataset}, items of the history {repeats}", "", *_beside(board, dataset, repeats), ""]
    if not sections:
        return None
    head = ["# Histories: published figures beside ours", "", made, "",
            "Full ranking over the catalogue, all requests of the test part. Ours: mean [95 % interval over users]; "
            "the seconds of a fit are those of one core. A published figure counts for what its protocol says: "
            "what it does otherwise stands in its row.", ""]  # fmt: skip
    return "\n".join([*head, *sections, *_orders(runs)])


def _board(runs: Sequence[Run], dataset: str, repeats: Repeats) -> Board | None:
    """The newest board of all test requests with (or without) items of the history."""
    frozen = dataset_card(dataset).statistics
    whole = [
        run
        for run in runs
        if run.spec.dataset == dataset
        and run.record.state == "done"
        and (run.spec.part, run.spec.repeats) == ("test", repeats)
        and frozen is not None
        and run.spec.requests == frozen.test
    ]
    if not whole:
        return None
    try:
        return build_board(whole, dataset, stale=today_of(whole[0]).stale)
    except NoRuns:
        return None


def _beside(board: Board, dataset: str, repeats: Repeats) -> list[str]:
    """Each of our systems, and below it what others published of it; then our systems of which nobody did."""
    rows = []
    theirs = [row for row in published() if (row.dataset, row.repeats) == (dataset, repeats)]
    for system in (system for system in board.systems if system.kind != "ceiling"):
        rows.append(_ours(system))
        name = parse_model(system.runs[0].spec.model)[0]
        for row in (row for row in theirs if name in row.systems and system.label == _first(board, name)):
            figures = [number(row.metrics[metric], 0, 0.01) if metric in row.metrics else "–" for metric in METRICS]
            rows.append((f"*{row.name}*", row.source, *figures, "–", "–", row.differs))
    head = ("system", "source", *(short_name(metric) for metric in METRICS), "seeds", "fit s", "differs in")
    caption = f"{len(board.groups):,} requests, k={board.k}, budget {board.budget}, fingerprint {board.fingerprint}."
    return [*table(head, rows), "", caption]


def _first(board: Board, name: str) -> str:
    """Label of the model's best row: the published ones stand below that."""
    return next(one.label for one in board.systems if parse_model(one.runs[0].spec.model)[0] == name)


def _ours(system: System) -> tuple[str, ...]:
    fit = system.seconds("fit")
    figures = [with_interval(system.summary.get(metric)) for metric in METRICS]
    seeds = ", ".join(map(str, system.seeds))
    return (f"**{system.label}**", "SlateBench", *figures, seeds, "–" if fit is None else f"{fit:,.0f}", "")


def _orders(runs: Sequence[Run]) -> list[str]:
    """How alike the same systems stand on leave-one-out and on a split by time."""
    lines = []
    for one, other in SAME_DATA:
        boards = [_board(runs, name, "excluded") for name in (one, other)]
        if None in boards:
            continue
        values = [
            {
                system.label: system.summary["ndcg_at_10"]["mean"] or 0.0
                for system in board.systems
                if system.kind != "ceiling"
            }
            for board in boards
            if board is not None
        ]
        both = [label for label in values[0] if label in values[1]]
        if len(both) < COMMON:
            continue
        first, second = ([found[label] for label in both] for found in values)
        rank = float(spearmanr(first, second)[0])  # pyright: ignore[reportArgumentType]
        rows = [
            (label, number(a, 0, 0.01), number(b, 0, 0.01)) for label, a, b in zip(both, first, second, strict=True)
        ]
        lines += [f"## {one} and {other}: is it the same order?", "",
                  *table(("system", f"NDCG@10, {one}", f"NDCG@10, {other}"), rows), "",
                  f"Spearman's rank correlation of these {len(both)} systems: {rank:.2f}. Published for settings of "
                  "one system over such pairs of splits: .36 to .88 (Time to Split, RecSys 2025).", ""]  # fmt: skip
    return lines
