"""What MLflow's pages call things: names of metrics, tags, descriptions of experiments and runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...datasets.errors import SlateBenchError
from ...datasets.registry import dataset_card
from ...metrics.evaluate import Summary
from ...metrics.registry import metric_info
from ..board import kind_of
from ..command import bench_command
from ..records import Run
from ..schema import Record, RunSpec

COSTS = {  # what stands beside the board's metrics -> its words
    "latency_p50_ms": "milliseconds of one request, median; one thread, timed alone",
    "latency_p99_ms": "milliseconds of one request, 99th percentile; one thread, timed alone",
    "fit_seconds": "seconds of the fit",
    "parameters": "trained parameters",
    "network_evaluations": "sequential network evaluations of one slate",
    "memory_mib": "peak resident memory while timed",
}
SECTIONS = {  # MLflow makes a section of charts of what stands before the slash
    # Its compare page sorts all names in one list: these come after the board's metrics and the costs, not among them.
    "uncertainty": "95 % intervals of the board's metrics (a system's: over seeds and groups of requests)",
    "various": "all other metrics",
    "vitals": "semantic-id health",
    "wall_latency": "all latency figures",
    "wall_seconds": "seconds of each phase",
    "with_samples": "a metric after each further sample of the same request (the step is the number of samples)",
    "work": "costs that a model adds",
    "fit": "training curves (of single seeds)",
}
MACHINERY = {"device", "devices", "strategy", "precision", "compile"}  # where a fit ran: no setting to compare
_OVER_SAMPLES = re.compile(r"(.+)_m(\d+)")

Value = tuple[str, float, int]  # name, value, step


def quality(summary: Mapping[str, Summary], main: Sequence[str]) -> Iterator[Value]:
    """A summary's figures: the board's metrics first and by their own names, the rest in sections.

    >>> one = Summary(mean=.2, low=.1, high=.3, n=9, sd_over_seeds=None)
    >>> [name for name, *_ in quality({"ndcg_at_5": one, "freshness_m3": one, "ndcg_at_10": one}, ["ndcg_at_10"])][:2]
    ['ndcg_at_10', 'uncertainty/ndcg_at_10_low']
    >>> [name for name, *_ in quality({"ndcg_at_5": one, "freshness_m3": one}, ["ndcg_at_10"])]
    ['various/ndcg_at_5', 'with_samples/freshness']
    """
    board = _board(main)
    first = [name for name in board if name in summary]  # MLflow's compare page plots what was logged first
    for name in (*first, *(name for name in summary if name not in board)):
        value = summary[name]
        if over := _OVER_SAMPLES.fullmatch(name):
            yield from _finite(f"with_samples/{over[1]}", value["mean"], int(over[2]))
        elif name in board:
            yield from _finite(name, value["mean"])
            yield from _finite(f"uncertainty/{name}_low", value["low"])
            yield from _finite(f"uncertainty/{name}_high", value["high"])
        else:
            yield from _finite(f"various/{name}", value["mean"])


def _board(main: Sequence[str]) -> list[str]:
    """The metrics that stand by their own names: the main ones of the task, and BERTScore."""
    return [*main, "bertscore_f1"]


def costs(record: Record) -> Iterator[Value]:
    """What a run cost: time, memory, parameters, health of its semantic ids."""
    latency, cost = record.latency or {}, record.cost
    yield from _finite("latency_p50_ms", latency.get("p50_ms"))
    yield from _finite("latency_p99_ms", latency.get("p99_ms"))
    yield from _finite("fit_seconds", record.fit.get("seconds"))
    yield from _finite("parameters", cost.get("parameters"))
    yield from _finite("network_evaluations", cost.get("nfe"))
    yield from _finite("memory_mib", latency.get("peak_rss_mib"))
    sections = {"wall_latency": latency, "work": cost, "wall_seconds": record.timings,
                "vitals": record.fit.get("health", {})}  # fmt: skip
    for section, values in sections.items():
        for name, value in values.items():
            if name not in ("parameters", "nfe"):
                yield from _finite(f"{section}/{name}", value)


def curves(record: Record) -> Iterator[Value]:
    """Training curves."""
    for name, curve in record.fit.get("curves", {}).items():
        for step, value in curve:
            yield from _finite(f"fit/{name}", value, int(step))


def _finite(name: str, value: Any, step: int = 0) -> Iterator[Value]:
    """Never NaN or infinity: they break MLflow's pages."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name, float(value), step


def system_name(run: Run, old: bool = False) -> str:
    """Name of a system's run: its label, and what sets it apart from the usual board.

    Args:
        run: one of its runs.
        old: a newer version of the same system is there.
    """
    spec = run.spec
    apart = [spec.budget] if spec.budget != "standard" else []
    apart += [spec.part] if spec.part != "test" else []
    apart += [f"split {spec.split_seed}"] if spec.split_seed else []
    apart += [f"{spec.train_share:.3g} of train"] if spec.train_share < 1 else []
    # a floor's or ceiling's label leaves out the vectors that it does not see, but its scores are of another board
    vectors = f"item_vectors={spec.item_vectors}"
    apart += [vectors] if spec.item_vectors and vectors not in run.record.label else []
    apart += ["older version"] if old else []
    return run.record.label + (f" ({', '.join(apart)})" if apart else "")


def system_note(runs: Sequence[Run], summary: Mapping[str, Summary]) -> str:
    """Description of a system's run, in Markdown."""
    first, card = runs[0], runs[0].record.model_card
    seeds = ",".join(str(run.spec.seed) for run in runs)
    lines = [f"**{card['title']}**: {card['summary']}  ", f"Paper: {card['paper']}", ""] if card else []
    leader = first.spec.headline
    if (found := summary.get(leader)) and found["mean"] is not None and found["low"] is not None:
        lines += [f"{leader} {found['mean']:.4f}, 95 % [{found['low']:.4f}, {found['high']:.4f}], seeds {seeds}.", ""]
    lines += [f"Seed {run.spec.seed}: {run.record.state}: {run.record.reason}" for run in runs if run.record.reason]
    if kind_of(first.spec.model) != "ceiling":
        lines += [f"`{bench_command(runs)}`"]
    if card and card.get("departures"):
        lines += ["", "Departures from the paper:", *(f"- {departure}" for departure in card["departures"])]
    return "\n".join(lines)


def experiment_note(spec: RunSpec) -> str:
    """Description of the experiment of a spec's dataset: what its metrics mean, in Markdown."""
    board = _board(spec.main_metrics)
    lines = [f"One run per system on **{spec.dataset}** with a nested run per seed; a view of SlateBench's records.",
             "", "| metric | better | what it is |", "|---|---|---|"]  # fmt: skip
    for name in board:
        metric = metric_info(name)
        better = {True: "higher", False: "lower", None: ""}[metric.higher_is_better]
        leads = " (orders the board)" if name == spec.headline else ""
        lines.append(f"| {name}{leads} | {better} | {metric.summary.replace('|', '/')} |")
    lines += [f"| {name} | {'' if name == 'parameters' else 'lower'} | {words} |" for name, words in COSTS.items()]
    lines += ["", "Sections:", *(f"- `{name}/`: {words}" for name, words in SECTIONS.items())]
    return "\n".join(lines)


def board_view(spec: RunSpec) -> str:
    """State of MLflow's table and chart pages, as its "share" button would store it: the board's columns and charts.

    Systems only (a nested run has no tag `seeds`), the best first; sections of charts in the order of their interest.
    """
    tags = ["tags.`seeds`", "tags.`kind`"]
    shown = [f"metrics.`{name}`" for name in (*_board(spec.main_metrics), *COSTS)]
    folded = ("uncertainty", "various", "wall_latency", "work", "wall_seconds")
    order = ("Model metrics", "with_samples", "fit", "vitals", *folded)
    sections = [{"uuid": name, "name": name, "display": name not in folded, "isReordered": True, "deleted": False,
                 "isGenerated": True} for name in order]  # fmt: skip
    return json.dumps({
        "selectedColumns": [*tags, *shown],
        "columnOrder": [*shown, *tags],  # else by the alphabet, with the headline out of sight
        "searchFilter": "tags.seeds LIKE '%'",
        "orderByKey": f"metrics.`{spec.headline}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [],
        "compareRunSections": sections,
        "isAccordionReordered": True,
    })  # fmt: skip


def dataset_source(dataset: str) -> dict[str, str]:
    """Where a dataset comes from, as MLflow shows it."""
    try:
        card = dataset_card(dataset)
    except SlateBenchError:  # of a plug-in that is not there any more
        return {"source": "unknown"}
    return {"url": str(card.homepage)} if card.source == "real" and card.homepage else {"source": card.title}
