"""A comparison for the terminal and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from ..leaderboards.tables import number, short_name
from .compare import Comparison, Example
from .screen import output_console


def comparison_json(found: Comparison) -> str:
    """The comparison as one JSON object, full precision."""
    head = {key: getattr(found, key) for key in ("a", "b", "dataset", "requests", "groups", "notices")}
    best = {key: [asdict(example) for example in getattr(found, key)] for key in ("best_of_a", "best_of_b")}
    return json.dumps({**head, "metrics": found.table.to_dicts(), **best})


def print_comparison(found: Comparison) -> None:
    """Table of paired differences, then the requests on which each side wins most."""
    console = output_console()
    print(f"{found.a} against {found.b} on {found.dataset}: {found.requests} requests in {found.groups} groups, paired")
    table = Table(header_style="bold")
    for head in ("metric", "n", found.a, found.b, "difference [95 %]", "p", "p (Holm)", "wins/ties/losses"):
        table.add_column(head, justify="left" if head == "metric" else "right")
    for row in found.table.iter_rows(named=True):
        low, high = row["low"], row["high"]
        gap = _signed(row["difference"]) + (f" [{_signed(low)}, {_signed(high)}]" if low is not None else "")
        table.add_row(
            short_name(row["metric"]),
            str(row["n"]),
            number(row["a"], low, high),
            number(row["b"], low, high),
            gap,
            *("–" if p is None else f"{p:.4f}" for p in (row["p"], row["p_holm"])),
            f"{row['wins']}/{row['ties']}/{row['losses']}",
            style="bold" if row["p_holm"] is not None and row["p_holm"] < 0.05 else "",
        )
    console.print(table)
    print("n: requests on which both have a value; without an interval they are of fewer than two groups")
    print("bold: the difference is beyond chance (permutation test, Holm over the metrics shown, .05)")
    for name, examples in ((found.a, found.best_of_a), (found.b, found.best_of_b)):
        for example in examples:
            _print_example(console, found, name, example)


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _print_example(console: Console, found: Comparison, winner: str, example: Example) -> None:
    table = Table(title_justify="left", header_style="bold", width=min(console.width, 160))
    table.add_column("")
    table.add_column(f"{found.a} ({example.a:.3f})", ratio=1)
    table.add_column(f"{found.b} ({example.b:.3f})", ratio=1)
    for i in range(max(len(example.slate_a), len(example.slate_b))):
        cells = [slate[i] if i < len(slate) else "" for slate in (example.slate_a, example.slate_b)]
        table.add_row(str(i + 1), *(cell.replace("[", "\\[") for cell in cells))
    console.print(f"\n{winner} wins: {example.prompt}", markup=False)
    console.print(table)
