"""The claims and what came of them, as Markdown or one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from .claims import Claim, Result, Verdict, why_not

HEAD = ("claim", "data", "published", "ours", "95 % interval", "holds if", "verdict", "where")
COLOURS: dict[Verdict, str] = {
    "held": "#1a7f37",
    "not held": "#b42318",
    "inconclusive": "#9a6700",
    "not run": "#667085",
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; color: #1d2939 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .5rem }
tr { border-bottom: 1px solid #d0d5dd } small { color: #667085 } th { border-bottom: 2px solid #667085 }
"""


def pair_up(claims: Sequence[Claim], results: Sequence[Result]) -> list[tuple[Claim, Result]]:
    """Every claim with its results; one that has none stands as not run, with the reason."""
    rows = []
    for claim in claims:
        found = [result for result in results if result.claim == claim.id]
        reason = why_not(claim) or f"`slatebench claims run {claim.id} --dataset NAME` runs it"
        rows += [(claim, result) for result in found] or [(claim, Result(claim.id, "", "not run", reason))]
    return rows


def claim_cells(claim: Claim, result: Result) -> list[str]:
    """A row of the report, under HEAD."""
    ours = "" if result.value is None else f"{result.value:.3f} ({claim.statistic.text})"
    return [
        f"{claim.id}: {claim.sentence}" + (f" ({claim.note})" if claim.note else ""),
        result.dataset,
        claim.published,
        "; ".join(
            [ours, *(f"beside: {one['value']:.3f} {_interval(one)} ({one['statistic']})" for one in result.beside)]
        ),
        _interval(asdict(result)),
        f"{claim.statistic.text} {claim.rule.text}",
        result.verdict_line,
        _where(result),
    ]


def _interval(figure: dict[str, Any]) -> str:
    low, high = figure["low"], figure["high"]
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def _where(result: Result) -> str:
    if result.value is None or not result.machine:
        return ""
    machine: dict[str, Any] = result.machine
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    seeds = ",".join(str(seed) for seed in result.seeds)
    where = f"{machine['cpu']}, {machine['threads']} thread(s){gpu}"
    return f"{where}; budget {result.budget}, seeds {seeds}, {result.created}"


def _by_paper(rows: Sequence[tuple[Claim, Result]]) -> dict[str, list[tuple[Claim, Result]]]:
    papers: dict[str, list[tuple[Claim, Result]]] = {}
    for claim, result in rows:
        papers.setdefault(claim.paper, []).append((claim, result))
    return papers


def _count(rows: Sequence[tuple[Claim, Result]]) -> str:
    return ", ".join(f"{sum(r.verdict == verdict for _, r in rows)} {verdict}" for verdict in COLOURS)


INTRODUCTION = (
    "Statements of papers as experiments; the rule of each was fixed before anything was run. Held: the whole 95 % "
    "interval satisfies the rule; not held: none of it does; inconclusive: it spans the rule."
)


def as_markdown(rows: Sequence[tuple[Claim, Result]]) -> str:
    """The report as Markdown."""
    lines = ["# Claims", "", INTRODUCTION, "", f"{_count(rows)}."]
    for paper, members in _by_paper(rows).items():
        lines += ["", f"## {paper}", "", "| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD)]
        lines += ["| " + " | ".join(_plain(cell) for cell in claim_cells(*member)) + " |" for member in members]
    notices = dict.fromkeys(notice for _, result in rows for notice in result.notices)
    lines += ["", *(f"- NOTE: {_plain(notice)}" for notice in notices)] if notices else []
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def as_html(rows: Sequence[tuple[Claim, Result]]) -> str:
    """The report as one page without any other file."""
    parts = [f"<h1>Claims</h1><p>{escape(INTRODUCTION)}</p><p>{escape(_count(rows))}.</p>"]
    for paper, members in _by_paper(rows).items():
        parts.append(
            f"<h2>{escape(paper)}</h2><table><tr>" + "".join(f"<th>{escape(head)}</th>" for head in HEAD) + "</tr>"
        )
        for claim, result in members:
            cells = [escape(cell) for cell in claim_cells(claim, result)]
            cells[6] = f'<b style="color:{COLOURS[result.verdict]}">{cells[6]}</b>'
            cells[7] = f"<small>{cells[7]}</small>"
            parts.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        parts.append("</table>")
    parts += [f"<p>NOTE: {escape(notice)}</p>" for notice in dict.fromkeys(n for _, r in rows for n in r.notices)]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Claims</title><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )
