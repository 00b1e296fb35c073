"""The claims and what came of them, as Markdown or one self-contained HTML page: an overview, then how it was found."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from .claim import Claim, Verdict
from .results import Result
from .run import why_not

COLOURS: dict[Verdict, str] = {
    "held": "#1a7f37",
    "not held": "#b42318",
    "inconclusive": "#9a6700",
    "not run": "#667085",
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; color: #1d2939 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .5rem }
tr { border-bottom: 1px solid #d0d5dd } small, li { color: #667085 } th { border-bottom: 2px solid #667085 }
"""
INTRODUCTION = (
    "Statements of papers as experiments; the rule of each was fixed before anything was run. Held: the whole 95 % "
    "interval satisfies the rule; not held: none of it does; inconclusive: it spans the rule."
)

Rows = Sequence[tuple[Claim, Result]]


def pair_up(claims: Sequence[Claim], results: Sequence[Result]) -> list[tuple[Claim, Result]]:
    """Every claim with its results; one that has none stands as not run, with the reason.

    Results that were measured by another statistic or rule, before the claim got its present form, are left out.
    """
    rows = []
    for claim in claims:
        form = (claim.id, claim.statistic.text, claim.rule.text)
        found = [result for result in results if (result.claim, result.statistic, result.rule) == form]
        reason = why_not(claim) or f"`slatebench claims run {claim.id} --dataset NAME` runs it"
        rows += [(claim, result) for result in found] or [(claim, Result(claim.id, "", "not run", reason))]
    return rows


HEAD = ("claim", "published", "ours", "holds if", "verdict", "where")


def claim_cells(claim: Claim, result: Result) -> list[str]:
    """A row of a table of one data set's results, under HEAD."""
    ours = "; ".join([_figure(result.value, result.low, result.high), *_beside(result)])
    note = f" ({claim.note})" if claim.note else ""
    return [
        f"{claim.id}: {claim.sentence}{note}", claim.published, ours, f"{claim.statistic.text} {claim.rule.text}",
        result.verdict_line, _where(result),
    ]  # fmt: skip


# --- what all forms say ------------------------------------------------------------------------------------


def _papers(rows: Rows) -> dict[str, dict[str, tuple[Claim, list[Result]]]]:
    """By paper and claim: the claim and its results."""
    papers: dict[str, dict[str, tuple[Claim, list[Result]]]] = {}
    for claim, result in rows:
        papers.setdefault(claim.paper, {}).setdefault(claim.id, (claim, []))[1].append(result)
    return papers


def _datasets(claims: dict[str, tuple[Claim, list[Result]]]) -> list[str]:
    """The data sets on which any of the claims was run."""
    return sorted({result.dataset for _, results in claims.values() for result in results if result.dataset})


def _count(rows: Rows) -> str:
    return ", ".join(f"{sum(r.verdict == verdict for _, r in rows)} {verdict}" for verdict in COLOURS)


def _figure(value: float | None, low: float | None, high: float | None) -> str:
    """A figure with its interval, as far as there is one."""
    if value is None:
        return ""
    return f"{value:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")


def _beside(result: Result) -> list[str]:
    """What else was measured."""
    return [
        f"beside: {one['statistic']} " + (_figure(one["value"], one["low"], one["high"]) or f"({one.get('reason')})")
        for one in result.beside
    ]


def _rule(claim: Claim) -> str:
    return f"Holds if {claim.statistic.text} {claim.rule.text}. {claim.note}".rstrip()


def _found(result: Result) -> str:
    """A result in a line: figure, verdict, what else was measured, and where."""
    figure = _figure(result.value, result.low, result.high)
    parts = [f"{result.dataset}: " * bool(result.dataset) + " ".join(filter(None, [figure, result.verdict_line]))]
    parts += [*_beside(result), _where(result), *(f"NOTE: {notice}" for notice in result.notices)]
    return "; ".join(filter(None, parts))


def _where(result: Result) -> str:
    if result.value is None or not result.machine:
        return ""
    machine: dict[str, Any] = result.machine
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    seeds = ",".join(str(seed) for seed in result.seeds)
    where = f"{machine['cpu']}, {machine['threads']} thread(s){gpu}"
    return f"budget {result.budget}, seeds {seeds}, {where}, {result.created[:10]}"


def _smoke(result: Result) -> str:
    return " (smoke)" if result.budget == "smoke" and result.value is not None else ""


# --- Markdown -------------------------------------------------------------------------------------------------


def as_markdown(rows: Rows) -> str:
    """The report as Markdown."""
    lines = ["# Claims", "", INTRODUCTION, "", f"{_count(rows)}."]
    for paper, claims in _papers(rows).items():
        datasets = _datasets(claims)
        head = ["claim", "published", *datasets]
        lines += ["", f"## {paper}", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        for claim, results in claims.values():
            of = {result.dataset: result for result in results}
            cells = [f"{_plain(claim.sentence)} [`{claim.id}`](#{claim.id})", _plain(claim.published)]
            cells += [_verdict(of[name]) if name in of else "–" for name in datasets]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## How each was found"]
    for claim, results in (member for claims in _papers(rows).values() for member in claims.values()):
        lines += ["", f'<a id="{claim.id}"></a>**{claim.id}** {_plain(_rule(claim))}', ""]
        lines += [f"- {_plain(_found(result))}" for result in results]
    return "\n".join(lines) + "\n"


def _verdict(result: Result) -> str:
    return f"**{result.verdict}**{_smoke(result)} {_figure(result.value, result.low, result.high)}".rstrip()


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# --- HTML -----------------------------------------------------------------------------------------------------


def as_html(rows: Rows) -> str:
    """The report as one page without any other file."""
    parts = [f"<h1>Claims</h1><p>{escape(INTRODUCTION)}</p><p>{escape(_count(rows))}.</p>"]
    for paper, claims in _papers(rows).items():
        datasets = _datasets(claims)
        head = "".join(f"<th>{escape(name)}</th>" for name in ("claim", "published", *datasets))
        parts.append(f"<h2>{escape(paper)}</h2><table><tr>{head}</tr>")
        for claim, results in claims.values():
            of = {result.dataset: result for result in results}
            cells = [
                f'{escape(claim.sentence)} <small><a href="#{claim.id}">{claim.id}</a></small>',
                escape(claim.published),
            ]
            cells += [_coloured(of[name]) if name in of else "–" for name in datasets]
            parts.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        parts.append("</table>")
    parts.append("<h2>How each was found</h2>")
    for claim, results in (member for claims in _papers(rows).values() for member in claims.values()):
        found = "".join(f"<li>{escape(_found(result))}</li>" for result in results)
        parts.append(f'<p id="{claim.id}"><b>{claim.id}</b> {escape(_rule(claim))}</p><ul>{found}</ul>')
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Claims</title><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _coloured(result: Result) -> str:
    figure = escape(_figure(result.value, result.low, result.high))
    return f'<b style="color:{COLOURS[result.verdict]}">{result.verdict}</b>{_smoke(result)} {figure}'
