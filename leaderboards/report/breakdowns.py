"""The headline metric over kinds of requests: by domain, by length of the history, by what the target is.

What a request is stands in requests.parquet and in the dataset; no model is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import altair as alt
import numpy as np
import polars as pl

from ...datasets.checks.audit_histories import tie_free
from ...datasets.schema import SlateDataset
from ...metrics.statistics import bootstrap_intervals
from ..board import Board, per_request
from ..checked import requests_of
from ..tables import short_name
from .plot import COLOURS, GREY, LEGEND, Figure, contenders, inline, leader_of, spec_of
from .table import plain_rows

DOMAINS = 8  # more are no plot
FEWEST = 5  # requests that a kind must have to be shown
LENGTHS = (5, 10, 20, 50)  # ends of the buckets of history lengths
INTERVALS = f"Each with its number of requests ({FEWEST} at least); 95 % intervals over groups."


@dataclass(frozen=True)
class Breakdown:
    """Requests told apart.

    Attributes:
        name: of its figure.
        by: the title's last words.
        caption: what the kinds are.
        kinds: which requests are of each kind, bool [P]; a request may be of several.
    """

    name: str
    by: str
    caption: str
    kinds: dict[str, np.ndarray]


def breakdowns(board: Board, dataset: SlateDataset | None) -> Iterator[Figure]:
    """A figure for each way to tell the board's requests apart that leaves at least two kinds of them."""
    requests = requests_of(board.systems[0].runs[0])
    found = [_domains(requests)]
    if "history" in requests.columns and (requests["history"].list.len() > 0).any():
        found += [_lengths(requests), _targets(board, dataset, requests), _ties(requests)]
    for breakdown in found:
        kinds = (
            {kind: inside for kind, inside in breakdown.kinds.items() if inside.sum() >= FEWEST} if breakdown else {}
        )
        if breakdown and len(kinds) > 1:
            yield _figure(board, breakdown, kinds)


def _domains(requests: pl.DataFrame) -> Breakdown | None:
    """By what stands before the slash of the request's id (`food/12`)."""
    asked = requests["request"].to_list()
    domain_of = np.array([request.partition("/")[0] if "/" in request else "" for request in asked])
    domains = list(dict.fromkeys(domain_of.tolist()))
    if "" in domains or len(domains) > DOMAINS:
        return None
    return Breakdown("domains", "domain", "Domains from the request ids.", {d: domain_of == d for d in domains})


def _lengths(requests: pl.DataFrame) -> Breakdown:
    length = requests["history"].list.len().to_numpy()
    starts = [0, *(end + 1 for end in LENGTHS)]
    kinds = {f"{low}-{high}" if low else f"up to {high}": (low <= length) & (length <= high)
             for low, high in zip(starts, LENGTHS, strict=False)}  # fmt: skip
    kinds[f"over {LENGTHS[-1]}"] = length > LENGTHS[-1]
    return Breakdown("lengths", "history length", "How many items the user had before.", kinds)


def _targets(board: Board, dataset: SlateDataset | None, requests: pl.DataFrame) -> Breakdown | None:
    if dataset is None:
        return None
    references = dataset.part(board.part).references  # type: ignore[arg-type]
    lists = requests.select("request").join(references, on="request", how="left", maintain_order="left")["items"]
    n = lists.list.len().to_numpy()
    seen = dataset.catalog.train_count[lists.explode().to_numpy()] > 0
    hits = np.bincount(np.repeat(np.arange(len(n)), n), seen, minlength=len(n))
    return Breakdown(
        "targets", "what train holds of the target",
        "Seen: the items that the user took next are among the train items of some user; unseen: none of them is.",
        {"seen": hits == n, "some seen": (hits > 0) & (hits < n), "unseen": hits == 0},
    )  # fmt: skip


def _ties(requests: pl.DataFrame) -> Breakdown | None:
    """By whether the data say that the target came after the history, or only that both bear one time."""
    if not {"history_times", "request_time"} <= set(requests.columns):
        return None
    free = tie_free(requests)
    kinds = {"all": np.ones(requests.height, bool), "tie-free": free.fill_null(False).to_numpy(),
             "tied": (~free).fill_null(False).to_numpy()}  # fmt: skip
    if not kinds["tie-free"].any() or not kinds["tied"].any():
        return None
    return Breakdown(
        "ties", "ties in time",
        "Tied: the target bears the same time as the last item of the history, so their order is the file's alone.",
        kinds,
    )  # fmt: skip


def _figure(board: Board, breakdown: Breakdown, kinds: dict[str, np.ndarray]) -> Figure:
    leader, systems = leader_of(board), contenders(board)
    values = np.stack([per_request(system.scores, leader) for system in systems], axis=1)  # [P, systems]
    rows = []
    for kind, inside in kinds.items():
        of_group = [group for group, there in zip(board.groups, inside, strict=True) if there]
        mean, low, high = bootstrap_intervals(values[inside], groups=of_group, resamples=2000)
        for i, system in enumerate(systems):
            if np.isfinite(mean[i]):
                ends = [float(end) if np.isfinite(end) else float(mean[i]) for end in (low[i], high[i])]
                rows.append({"system": system.label, "kind": f"{kind} ({inside.sum()})", "y": float(mean[i]),
                             "low": ends[0], "high": ends[1]})  # fmt: skip
    names = list(dict.fromkeys(row["kind"] for row in rows))
    order = [system.label for system in systems]
    colour = alt.Color("kind:N", legend=LEGEND, scale=alt.Scale(domain=names, range=list(COLOURS[: len(names)])))
    base = alt.Chart(inline(rows)).encode(
        y=alt.Y("system:N", sort=order, title=None, axis=alt.Axis(labelLimit=140)),
        yOffset=alt.YOffset("kind:N", scale=alt.Scale(domain=names)),
    )
    bars = base.mark_bar().encode(
        x=alt.X("y:Q", title=short_name(leader)), color=colour,
        tooltip=["system:N", "kind:N", alt.Tooltip("y:Q", format=".4f", title=short_name(leader))],
    )  # fmt: skip
    limits = base.mark_rule(color=GREY).encode(x="low:Q", x2="high:Q")
    height = 14 * len(names) * len(order) + 30
    table = [[row[key] for key in ("system", "kind", "y", "low", "high")] for row in rows]
    return Figure(breakdown.name, f"{short_name(leader)} by {breakdown.by}", f"{breakdown.caption} {INTERVALS}",
                  spec_of(alt.layer(bars, limits).properties(height=height)),
                  plain_rows(["system", breakdown.by, short_name(leader), "low", "high"], table))  # fmt: skip
