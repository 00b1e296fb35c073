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
from ...leaderboards.board import kind_of
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
        whole = _whole(runs, dataset, repeats)
        if whole:
            sections += [f"## {dataset}, items of the history {repeats}", "", *_beside(whole, dataset, repeats), ""]
    if not sections:
        return None
    head = ["# Histories: published figures beside ours", "", made, "",
            "Full ranking over the catalogue, all requests of the test part. Ours: mean [95 % interval over users]; "
            "the seconds of a fit are those that passed, with whatever ran beside. *Refit* rows learnt from the "
            "validation items too, once validation had said for how long: few papers say whether theirs did. A "
            "published figure counts for what its protocol says; its differences are in the row.", ""]  # fmt: skip
    return "\n".join([*head, *sections, *_orders(runs)])


def _whole(runs: Sequence[Run], dataset: str, repeats: Repeats) -> list[Run]:
    """The runs of today that asked all test requests, best first; the newest of each system, refit or not, and seed."""
    frozen = dataset_card(dataset).statistics
    found = {}
    for run in sorted(runs, key=lambda run: run.record.created):
        spec = run.spec
        asked = (spec.dataset, spec.part, spec.repeats, run.record.state) == (dataset, "test", repeats, "done")
        if asked and frozen is not None and spec.requests == frozen.test and kind_of(spec.model) != "ceiling":
            found[_label(run), spec.seed] = run
    stale = today_of(next(iter(found.values()))).stale if found else lambda run: None
    return sorted((run for run in found.values() if stale(run) is None), key=_headline, reverse=True)


def _label(run: Run) -> str:
    return run.record.label + (", refit" if run.spec.refit else "")


def _headline(run: Run) -> float:
    return run.record.metrics["ndcg_at_10"].mean or 0.0


def _beside(runs: list[Run], dataset: str, repeats: Repeats) -> list[str]:
    """Each of our runs, and below a model's best what others published of it."""
    rows, told = [], set()
    theirs = [row for row in published() if (row.dataset, row.repeats) == (dataset, repeats)]
    for run in runs:
        metrics, fit = run.record.metrics, run.record.fit.get("seconds")
        figures = [with_interval(metrics[name].model_dump() if name in metrics else None) for name in METRICS]  # type: ignore[arg-type]
        seconds = "–" if fit is None else f"{fit:,.0f}"
        rows.append((f"**{_label(run)}**", "SlateBench", *figures, str(run.spec.seed), seconds, ""))
        name = parse_model(run.spec.model)[0]
        for row in (row for row in theirs if name in row.systems and name not in told):
            shown = [number(row.metrics[metric], 0, 0.01) if metric in row.metrics else "–" for metric in METRICS]
            rows.append((f"*{row.name}*", row.source, *shown, "–", "–", row.differs))
        told.add(name)
    head = ("system", "source", *(short_name(metric) for metric in METRICS), "seed", "fit s", "differs in")
    spec = runs[0].spec
    return [*table(head, rows), "", f"{spec.requests:,} requests, k={spec.k}, fingerprint {spec.fingerprint}."]


def _orders(runs: Sequence[Run]) -> list[str]:
    """How alike the same systems stand on leave-one-out and on a split by time."""
    lines = []
    for one, other in SAME_DATA:
        first, second = ({run.record.label: _headline(run) for run in _whole(runs, name, "excluded")
                          if not run.spec.refit} for name in (one, other))  # fmt: skip
        both = [label for label in first if label in second]
        if len(both) < COMMON:
            continue
        rank = float(spearmanr([first[x] for x in both], [second[x] for x in both])[0])  # pyright: ignore[reportArgumentType]
        rows = [(label, number(first[label], 0, 0.01), number(second[label], 0, 0.01)) for label in both]
        lines += [f"## {one} and {other}: is it the same order?", "",
                  *table(("system", f"NDCG@10, {one}", f"NDCG@10, {other}"), rows), "",
                  f"Spearman's rank correlation of these {len(both)} systems: {rank:.2f}. Published for settings of "
                  "one system over such pairs of splits: .36 to .88 (Time to Split, RecSys 2025).", ""]  # fmt: skip
    return lines
