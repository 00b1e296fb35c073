"""A comparison for the terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from itertools import zip_longest

from rich.console import Console

from ...datasets.output import say, to_json
from ...leaderboards.tables import number, short_name
from ...leaderboards.terminal import fitted
from ..boards.compare import Comparison, Example
from .printing import output_console


def comparison_json(found: Comparison) -> str:
    """The comparison as one JSON object, full precision."""
    head = {key: getattr(found, key) for key in ("a", "b", "dataset", "requests", "groups", "notices")}
    best = {key: [asdict(example) for example in getattr(found, key)] for key in ("best_of_a", "best_of_b")}
    return to_json({**head, "metrics": found.table.to_dicts(), **best})


def print_comparison(found: Comparison) -> None:
    """Table of paired differences, then the requests on which each side wins most."""
    console = output_console()
    say(f"{found.a} against {found.b} on {found.dataset}: {found.requests} requests in {found.groups} groups, paired")
    rows, styles = [], []
    for row in found.table.iter_rows(named=True):
        low, high = row["low"], row["high"]
        interval = f" [{_signed(low)}, {_signed(high)}]" if low is not None else ""
        rows.append([
            short_name(row["metric"]),
            _signed(row["difference"]) + interval,
            str(row["n"]),
            number(row["a"], low, high),
            number(row["b"], low, high),
            *("–" if p is None else f"{p:.4f}" for p in (row["p"], row["p_holm"])),
            f"{row['wins']}/{row['ties']}/{row['losses']}",
        ])  # fmt: skip
        styles.append("bold" if row["p_holm"] is not None and row["p_holm"] < 0.05 else "")
    head = ["metric", "difference [95 %]", "n", found.a, found.b, "p", "p (Holm)", "wins/ties/losses"]
    console.print(fitted(head, rows, console.width, keep=2, styles=styles))
    say("n: requests on which both have a value; without an interval they are of fewer than two groups")
    say("bold: the difference is beyond chance (permutation test, Holm over the metrics shown, .05)")
    for name, examples in ((found.a, found.best_of_a), (found.b, found.best_of_b)):
        for example in examples:
            _print_example(console, found, name, example)


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _print_example(console: Console, found: Comparison, winner: str, example: Example) -> None:
    head = ["", f"{found.a} ({example.a:.3f})", f"{found.b} ({example.b:.3f})"]
    slates = zip_longest(example.slate_a, example.slate_b, fillvalue="")
    rows = [[str(i), *titles] for i, titles in enumerate(slates, 1)]
    say("", f"{winner} wins: {example.prompt}")
    console.print(fitted(head, rows, console.width, keep=3, words=head[1:]))
