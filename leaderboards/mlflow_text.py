"""What MLflow's pages call things: names of metrics, tags, descriptions of experiments and runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..datasets.errors import SlateBenchError
from ..datasets.registry import dataset_card
from ..metrics.evaluate import Summary
from ..metrics.registry import metric_info
from .board import CEILING, FLOORS, headline, main_metrics
from .command import bench_command
from .records import Run
from .schema import Record

COSTS = {  # what stands beside the board's metrics -> its words
    "latency_p50_ms": "milliseconds of one request, median; one thread, timed alone",
    "latency_p99_ms": "milliseconds of one request, 99th percentile; one thread, timed alone",
    "fit_seconds": "seconds of the fit",
    "parameters": "trained parameters",
    "network_evaluations": "sequential network evaluations of one slate",
    "memory_mib": "peak resident memory while timed",
}
SECTIONS = {  # MLflow makes a section of charts of what stands before the slash
    "more": "all other metrics",
    "interval": "95 % intervals of the board's metrics (a system's: over seeds and groups of requests)",
    "over_samples": "a metric after each further sample of the same request (the step is the number of samples)",
    "fit": "training curves",
    "health": "semantic-id health",
    "latency": "all latency figures",
    "cost": "costs that a model adds",
    "seconds": "seconds of each phase",
}
_OVER_SAMPLES = re.compile(r"(.+)_m(\d+)")

Value = tuple[str, float, int]  # name, value, step


def quality(summary: Mapping[str, Summary], cutoffs: Sequence[int]) -> Iterator[Value]:
    """A summary's figures: the board's metrics by their own names, the rest in sections.

    >>> one = Summary(mean=.2, low=.1, high=.3, n=9, sd_over_seeds=None)
    >>> [name for name, *_ in quality({"ndcg_at_10": one, "ndcg_at_5": one, "freshness_m3": one}, [10])]
    ['ndcg_at_10', 'interval/ndcg_at_10_low', 'interval/ndcg_at_10_high', 'more/ndcg_at_5', 'over_samples/freshness']
    """
    board = _board(cutoffs)
    for name, value in summary.items():
        if over := _OVER_SAMPLES.fullmatch(name):
            yield from _finite(f"over_samples/{over[1]}", value["mean"], int(over[2]))
        elif name in board:
            yield from _finite(name, value["mean"])
            yield from _finite(f"interval/{name}_low", value["low"])
            yield from _finite(f"interval/{name}_high", value["high"])
        else:
            yield from _finite(f"more/{name}", value["mean"])


def _board(cutoffs: Sequence[int]) -> list[str]:
    """The metrics that stand by their own names."""
    return [*main_metrics(cutoffs), "bertscore_f1"]


def costs(record: Record) -> Iterator[Value]:
    """What a run cost: time, memory, parameters, health of its semantic ids."""
    latency, cost = record.latency or {}, record.cost
    yield from _finite("latency_p50_ms", latency.get("p50_ms"))
    yield from _finite("latency_p99_ms", latency.get("p99_ms"))
    yield from _finite("fit_seconds", record.fit.get("seconds"))
    yield from _finite("parameters", cost.get("parameters"))
    yield from _finite("network_evaluations", cost.get("nfe"))
    yield from _finite("memory_mib", latency.get("peak_rss_mib"))
    sections = {"latency": latency, "cost": cost, "seconds": record.timings, "health": record.fit.get("health", {})}
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


def kind(run: Run) -> str:
    """system, floor or ceiling."""
    model = run.spec.model
    return "ceiling" if model.startswith(CEILING) else "floor" if model in FLOORS else "system"


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
    apart += ["older version"] if old else []
    return run.record.label + (f" ({', '.join(apart)})" if apart else "")


def system_note(runs: Sequence[Run], summary: Mapping[str, Summary]) -> str:
    """Description of a system's run, in Markdown."""
    first, card = runs[0], runs[0].record.model_card
    seeds = ",".join(str(run.spec.seed) for run in runs)
    lines = [f"**{card['title']}**: {card['summary']}  ", f"Paper: {card['paper']}", ""] if card else []
    leader = headline(first.spec.cutoffs)
    if (found := summary.get(leader)) and found["mean"] is not None and found["low"] is not None:
        lines += [f"{leader} {found['mean']:.4f}, 95 % [{found['low']:.4f}, {found['high']:.4f}], seeds {seeds}.", ""]
    lines += [f"Seed {run.spec.seed}: {run.record.state}: {run.record.reason}" for run in runs if run.record.reason]
    if not first.spec.model.startswith(CEILING):
        lines += [f"`{bench_command(runs)}`"]
    if card and card.get("departures"):
        lines += ["", "Departures from the paper:", *(f"- {departure}" for departure in card["departures"])]
    return "\n".join(lines)


def experiment_note(dataset: str, cutoffs: Sequence[int]) -> str:
    """Description of a dataset's experiment: what its metrics mean, in Markdown."""
    board = _board(cutoffs)
    lines = [f"One run per system on **{dataset}** with a nested run per seed; a view of SlateBench's records.",
             "", "| metric | better | what it is |", "|---|---|---|"]  # fmt: skip
    for name in board:
        metric = metric_info(name)
        better = {True: "higher", False: "lower", None: ""}[metric.higher_is_better]
        leads = " (orders the board)" if name == headline(cutoffs) else ""
        lines.append(f"| {name}{leads} | {better} | {metric.summary.replace('|', '/')} |")
    lines += [f"| {name} | {'' if name == 'parameters' else 'lower'} | {words} |" for name, words in COSTS.items()]
    lines += ["", "Sections:", *(f"- `{name}/`: {words}" for name, words in SECTIONS.items())]
    return "\n".join(lines)


def board_view(cutoffs: Sequence[int]) -> str:
    """State of MLflow's table and chart pages, as its "share" button would store it: the board's columns and charts.

    Systems only (a nested run has no tag `seeds`), the best first; sections of charts in the order of their interest.
    """
    shown = [f"metrics.`{name}`" for name in (*_board(cutoffs), *COSTS)]
    folded = ("interval", "more", "latency", "cost", "seconds")
    order = ("Model metrics", "over_samples", "fit", "health", *folded)
    sections = [{"uuid": name, "name": name, "display": name not in folded, "isReordered": True, "deleted": False,
                 "isGenerated": True} for name in order]  # fmt: skip
    return json.dumps({
        "selectedColumns": ["tags.`seeds`", "tags.`kind`", *shown],
        "searchFilter": "tags.seeds LIKE '%'",
        "orderByKey": f"metrics.`{headline(cutoffs)}`",
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
