"""Boards as text: a table for the terminal, Markdown, CSV or JSON. Printed digits follow the interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType

from ..datasets.health import TOLD_FROM
from ..datasets.output import to_json
from ..metrics.evaluate import Summary
from ..metrics.registry import metric_info
from .board import Board, System, timed_on
from .records import Run
from .terminal import drawn, fits, left_out, title_line

SHORT = {"ndcg": "NDCG", "map": "MAP", "mrr": "MRR", "sim": "Sim", "train seen share": "train-seen"}
NAMED = 3  # systems that a line names before it counts


def number(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A figure with as many decimals as its interval supports (two digits of the half width, at most 4 decimals).

    >>> number(0.45123, 0.4301, 0.4722), number(0.00052, 0.0001, 0.0012), number(None)
    ('.451', '.0005', '–')
    """
    if value is None:
        return "–"
    decimals = 3
    if low is not None and high is not None and high > low:
        decimals = min(4, max(1, 1 - math.floor(math.log10((high - low) / 2))))
    text = f"{value:.{decimals}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def with_interval(summary: Summary | None) -> str:
    """A figure with its interval: `.451 [.430, .472]`."""
    if summary is None:
        return "–"
    mean, low, high = summary["mean"], summary["low"], summary["high"]
    if low is None or high is None:
        return number(mean)
    return f"{number(mean, low, high)} [{number(low, low, high)}, {number(high, low, high)}]"


def short_name(metric: str) -> str:
    """The column head of a metric.

    >>> short_name("ndcg_sim_at_10"), short_name("map_at_10"), short_name("train_seen_share")
    ('NDCGSim@10', 'MAP@10', 'train-seen')
    """
    name = metric.replace("_sim_at_", "Sim@").replace("_at_", "@").replace("_", " ")
    for word, short in SHORT.items():
        name = name.replace(word, short)
    return name


def columns_of(board: Board, metrics: Sequence[str] | None = None) -> list[str]:
    """Metrics to show: those asked for, else the main ones that the board has."""
    for name in metrics or ():
        metric_info(name)  # a misspelt name is an error
    have = {name for system in board.systems for name in system.summary}
    return [name for name in metrics or board.systems[0].runs[0].spec.main_metrics if name in have]


def _rank(system: System) -> str:
    if system.band is None:
        return ""
    rank, best = system.band
    return str(rank) if rank == best else f"{rank} ({best})"


FACTS = ("seeds", "beats")
COSTS = ("p50", "fit", "p99", "parameters", "memory")  # the first ones stay longest where there is no room


def _cells(board: Board, system: System, columns: Sequence[str], intervals: int, costs: Sequence[str],
           facts: Sequence[str] = FACTS) -> list[str]:  # fmt: skip
    """One row; the first `intervals` metrics with their intervals, the rest as plain figures."""
    about = {"seeds": str(len(system.seeds)), "beats": _beaten(board, system)}
    cells = [_rank(system), system.label, *(about[name] for name in facts)]
    for i, name in enumerate(columns):
        value = system.summary.get(name)
        if i < intervals or value is None:
            cell = with_interval(value)
        else:
            cell = number(value["mean"], value["low"], value["high"])
        cells.append(f"{cell} *" if system.label in board.best(name) else cell)
    return cells + [_cost(board, system, name) for name in costs]


def _cost(board: Board, system: System, name: str) -> str:
    if name == "parameters":
        return _parameters(system)
    if name == "fit":
        return with_unit(system.seconds("fit"), "s")
    if name == "memory":
        return with_unit(system.latency("peak_rss_mib", board.machine), "MiB")
    return with_unit(system.latency(f"{name}_ms", board.machine), "ms")


def _beaten(board: Board, system: System) -> str:
    """Ranks of the systems that this one is significantly better than, as ranges: `4-6, 9`."""
    ranks = sorted(other.band[0] for other in board.systems if other.band and other.label in system.better_than)
    runs: list[list[int]] = []
    for rank in dict.fromkeys(ranks):
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _parameters(system: System) -> str:
    """How many numbers were fitted: `1.05 M`."""
    count = system.runs[0].record.cost.get("parameters")
    if count is None or system.kind == "ceiling":
        return "–"
    return short_count(count)


def short_count(count: float) -> str:
    """A count with three significant digits.

    >>> short_count(0), short_count(812), short_count(147840), short_count(6_012_345)
    ('0', '812', '148 k', '6.01 M')
    """
    unit, name = next(((u, n) for u, n in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if count >= u), (1, ""))
    return f"{float(f'{count / unit:.3g}'):g}{name}"


def with_unit(value: float | None, unit: str) -> str:
    """A time or size with three significant digits."""
    return "–" if value is None else f"{float(f'{value:.3g}'):g} {unit}"


def _head(columns: Sequence[str], costs: Sequence[str], facts: Sequence[str] = FACTS) -> list[str]:
    return ["rank", "system", *facts, *(short_name(name) for name in columns), *costs]


def _floors(board: Board) -> list[str]:
    """Which systems are floors, in the order of the board; nothing where there is none."""
    names = [system.label for system in board.systems if system.kind == "floor"]
    if not names:
        return []
    return [f"{', '.join(names[:-1])} and {names[-1]} are floors" if names[1:] else f"{names[0]} is a floor"]


def caption(board: Board, metrics: Sequence[str] | None = None) -> list[str]:
    """What a reader must know to read the table of these metrics."""
    lines = [
        "[95 % interval over groups of requests]; * best of its column; rank 3 (1): third, but not separated from the "
        "first; beats 5-7: significantly better than those ranks (headline metric, paired test, Holm).",
        "; ".join([*_floors(board), "ceiling rows know the references."]),
    ]
    if any(system.label == "reference:oracle" for system in board.systems):
        lines.append("reference:oracle knows how the data were made, not the references.")
    if board.systems[0].runs[0].spec.repeats == "allowed":
        lines.append("Items of a request's history may be emitted again.")
    if board.systems[0].runs[0].spec.refit:
        lines.append("Fitted once more, on train and validation items, for as long as validation had said.")
    lines += [
        f"failed: {run.record.label} seed {run.spec.seed}: {run.record.state}, {run.record.reason}"
        for run in board.failed
    ]
    for system in board.systems:
        reasons = {reason for run in system.runs if (reason := (run.record.latency or {}).get("failed"))}
        lines += [f"no latency: {reason}" for reason in sorted(reasons)]
        elsewhere = {place for run in system.runs if (place := timed_on(run)) not in (None, board.machine)}
        lines += [f"latency not shown: {system.label} was timed on {place}" for place in sorted(elsewhere)]
    lines += _rough_latency(board)
    baselines = {line for system in board.systems for run in system.runs if (line := _baseline(run))}
    lines += sorted(baselines)
    if {"popularity", "popularity_ratio"} & {*columns_of(board, metrics)} and _mostly_new(board):
        lines.append("popularity is confounded where test items are mostly new: see `slatebench datasets audit`")
    return [*lines, *_not_comparable(board), *(f"NOTE: {notice}" for notice in board.notices)]


def _not_comparable(board: Board) -> list[str]:
    """Why runs do not stand here, a line for each reason with the first of those it holds for."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for label, reason in dict.fromkeys(board.not_comparable):
        by_reason[reason].append(label)
    more = {reason: f" and {len(labels) - NAMED} more" * (len(labels) > NAMED) for reason, labels in by_reason.items()}
    return [f"not comparable: {', '.join(labels[:NAMED])}{more[reason]}: {reason}"
            for reason, labels in by_reason.items()]  # fmt: skip


def _rough_latency(board: Board) -> list[str]:
    timed = [(system.label, run.record.latency or {}) for system in board.systems for run in system.runs
             if timed_on(run) is not None and timed_on(run) == board.machine]  # fmt: skip
    rough = {label: found["requests"] for label, found in timed if found.get("rough")}
    if not rough:
        return []
    whose = "" if len(rough) == len({label for label, _ in timed}) else f" of {', '.join(rough)}"
    return [f"latency{whose} is rough: {min(rough.values())} requests, where 200 are needed for p95"]


def _baseline(run: Run) -> str | None:
    """What BERTScore a slate reaches by chance, in words; None where the run has none."""
    found = run.record.bertscore or {}
    by_chance = found.get("baseline", {}).get("bertscore_f1")
    if by_chance is None:
        return None
    return (
        f"BERTScore ({found['model']}, layer {found['layer']}): random slate pairs reach F1 {number(by_chance)}, "
        "so read it against that" + _unknown_to_bertscore(found)
    )


def _unknown_to_bertscore(found: dict[str, Any]) -> str:
    texts, unknown = found.get("texts", 0), found.get("unknown_texts", 0)
    if unknown <= TOLD_FROM * texts:
        return ""
    return f"; {unknown:,} of {texts:,} item texts are mostly unknown to its model: equal to it, whatever they say"


def _mostly_new(board: Board) -> bool:
    """Do train slates hold less than half of what fills a reference slate? True where the board can't tell."""
    hits = {name: system.summary["precision_at_10"]["mean"] for system in board.systems
            for name in ("reference", "train-seen")
            if system.label.startswith(f"ceiling:{name}") and "precision_at_10" in system.summary}  # fmt: skip
    seen, all_hits = hits.get("train-seen"), hits.get("reference")
    return seen is None or not all_hits or seen / all_hits < 0.5


def title(board: Board) -> str:
    """The board in one line."""
    return (
        f"{board.dataset} ({board.source}, {board.part} part, {len(board.groups)} requests in "
        f"{len(set(board.groups))} groups, k={board.k}, budget {board.budget}, fingerprint {board.fingerprint})"
    )


def as_table(
    board: Board, metrics: Sequence[str] | None = None, width: int = 100, all_in: str = "--format json"
) -> RenderableType:
    """The board for a terminal `width` characters wide: what does not fit loses its intervals, then its column.

    Rank, system and the first metric with its whole interval always stay. `all_in`: the option that shows everything.
    """
    columns = columns_of(board, metrics)
    every = len(_head(columns, COSTS))
    intervals, facts, costs = len(columns), FACTS, COSTS
    while True:
        head = _head(columns, costs, facts)
        rows = [_cells(board, system, columns, intervals, costs, facts) for system in board.systems]
        if fits(head, rows, width) or (len(columns) <= 1 and not facts and not costs):
            break
        if intervals > 1:
            intervals -= 1
        elif len(columns) > 4 or (len(columns) > 1 and len(costs) == 2):
            columns = columns[:-1]
        elif costs:
            costs = costs[:-1]
        else:
            facts = facts[:-1]
    styles = ["" if system.kind == "system" else "dim" for system in board.systems]
    table = drawn(head, rows, width, left=["system"], styles=styles)
    return Group(title_line(title(board)), table, *left_out(every - len(head), all_in))


def as_markdown(board: Board, metrics: Sequence[str] | None = None) -> str:
    """The board as a Markdown table with its title and caption."""
    lines = (f"- {line}" for line in caption(board, metrics))
    return "\n".join([f"**{title(board)}**", "", markdown_table(board, metrics), "", *lines])


def markdown_table(board: Board, metrics: Sequence[str] | None = None) -> str:
    """The systems of the board as a Markdown table."""
    columns = columns_of(board, metrics)
    rows = [_cells(board, system, columns, len(columns), COSTS) for system in board.systems]
    head = _head(columns, COSTS)
    rows = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def as_csv(board: Board, metrics: Sequence[str] | None = None) -> str:
    """The board in long form (one row per system and metric), full precision."""
    frame = board.frame
    if metrics:
        frame = frame.filter(frame["metric"].is_in(columns_of(board, metrics)))
    return frame.write_csv()


def as_json(board: Board, metrics: Sequence[str] | None = None) -> str:
    """The board as one JSON object, full precision."""
    wanted = set(columns_of(board, metrics)) if metrics else None
    systems = [
        {
            "system": system.label,
            "kind": system.kind,
            "rank": system.band[0] if system.band else None,
            "best_rank": system.band[1] if system.band else None,
            "better_than": system.better_than,
            "seeds": system.seeds,
            "metrics": {
                name: dict(value) for name, value in system.summary.items() if wanted is None or name in wanted
            },
            "fit_seconds": system.seconds("fit"),
            "latency": {
                name: system.latency(name, board.machine) for name in ("p50_ms", "p95_ms", "p99_ms", "peak_rss_mib")
            },
            "cost": system.runs[0].record.cost,
        }
        for system in board.systems
    ]
    failed = [
        {"system": run.record.label, "seed": run.spec.seed, "state": run.record.state, "reason": run.record.reason}
        for run in board.failed
    ]
    head = {key: getattr(board, key) for key in ("dataset", "source", "fingerprint", "part", "k", "budget", "notices")}
    apart = [{"system": label, "reason": reason} for label, reason in board.not_comparable]
    return to_json({**head, "systems": systems, "failed": failed, "not_comparable": apart}, indent=1)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table, a line each; bars and line ends in cells are harmless.

    >>> table(("a", "b"), [("1|2", "3")])
    ['| a | b |', '| --- | --- |', '| 1\\\\|2 | 3 |']
    """
    cells = [[" ".join(str(cell).split()).replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows]
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in cells),
    ]
