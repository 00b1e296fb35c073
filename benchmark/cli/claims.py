"""`slatebench claims`: the papers' statements as experiments."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from ...datasets.output import say, to_json
from .options import BudgetOption, DatasetOption, JsonOption, RunsOption, SourceOption, parse_seeds

claims_app = typer.Typer(help="The papers' claims as experiments: list, run, report.", no_args_is_help=True)


@claims_app.command("list", epilog="Example: slatebench claims list")
def list_(json_: JsonOption = False) -> None:
    """All claims, with the published figure, the rule, and whether they can be run here."""
    from ..claims.catalogue import CLAIMS
    from ..claims.run import why_not

    rows = [{key: getattr(claim, key) for key in ("id", "paper", "sentence", "published")}
            | {"statistic": claim.statistic.text, "rule": claim.rule.text, "not_run": why_not(claim)}
            for claim in CLAIMS]  # fmt: skip
    if json_:
        say(to_json({"claims": rows}))
        return
    for row in rows:
        say(f"{row['id']}: {row['sentence']}", f"    {row['paper']}; published: {row['published']}")
        not_run = f"; not run: {row['not_run']}" if row["not_run"] else ""
        say(f"    holds if {row['statistic']} {row['rule']}{not_run}")


@claims_app.command("run", epilog="Example: slatebench claims run dmsg-ndcg-sim --dataset bundle --seeds 0,1,2")
def run(
    dataset: DatasetOption,
    ids: Annotated[list[str] | None, typer.Argument(help="Claims (default: all; `slatebench claims list`).")] = None,
    budget: BudgetOption = "standard",
    seeds: Annotated[str, typer.Option(help="Seeds of all systems.")] = "0,1,2",
    source: SourceOption = "auto",
    jobs: Annotated[int, typer.Option(help="Seeds of a system at a time, each in a process of its own.")] = 1,
    runs: RunsOption = None,
    json_: JsonOption = False,
) -> None:
    """Run claims on a dataset: the systems through `bench`, then the statistic and the verdict."""
    from ..claims.catalogue import CLAIMS
    from ..claims.run import choose, run_claims
    from .screen import GridScreen, Screen

    results, notices = [], []
    for claim in choose(ids or [], CLAIMS):  # each is told as soon as it is known
        screen = GridScreen(jobs) if jobs > 1 else Screen()
        with screen:
            (result,) = run_claims([claim], dataset, budget=budget, seeds=parse_seeds(seeds), source=source, runs=runs,
                                   jobs=jobs, listener=screen)  # fmt: skip
        results.append(asdict(result))
        if not json_:
            span = "" if result.low is None else f" [{result.low:.3f}, {result.high:.3f}]"
            ours = "" if result.value is None else f" | {result.statistic} = {result.value:.3f}{span}"
            say(f"{result.claim}: {result.verdict_line}{ours} | holds if {result.rule}")
        notices += result.notices
    if json_:
        say(to_json({"claims": results}))
    for notice in dict.fromkeys(notices):
        Screen().notice(notice)


@claims_app.command("report", epilog="Example: slatebench claims report --format html --out claims.html")
def report(
    format_: Annotated[Literal["md", "html"], typer.Option("--format", help="Markdown or one HTML page.")] = "md",
    out: Annotated[Path | None, typer.Option(help="Write there instead of to the screen.")] = None,
    runs: RunsOption = None,
) -> None:
    """Every claim with its verdict, the published figure, ours, its interval and the machine."""
    from ...leaderboards.records import runs_folder, write_text
    from ..claims.catalogue import CLAIMS
    from ..claims.report import as_html, as_markdown, pair_up
    from ..claims.results import read_results

    rows = pair_up(CLAIMS, read_results(runs_folder(runs)))
    text = as_html(rows) if format_ == "html" else as_markdown(rows)
    if out is None:
        say(*text.splitlines())
    else:
        write_text(out, text)
        say(out)
