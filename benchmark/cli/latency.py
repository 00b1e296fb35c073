"""The commands that measure: `latency`, `gate`, `claims`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...datasets.output import say, to_json
from .options import (
    BudgetOption,
    DatasetOption,
    DebugOption,
    JsonOption,
    PartOption,
    RunsOption,
    SetOption,
    SourceOption,
    parse_seeds,
    parse_set,
)

claims_app = typer.Typer(help="The papers' claims as experiments: list, run, report.", no_args_is_help=True)


def add_commands(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command(epilog="Example: slatebench latency popularity bm25 dense prompt2vec --dataset bundle --requests 200")(
        latency
    )
    app.command(epilog="Example: slatebench gate prompt2vec --against bm25 --dataset bundle --margin 0.01")(gate)
    app.add_typer(claims_app, name="claims")


def latency(
    models: Annotated[list[str], typer.Argument(help="Models to time side by side.")],
    dataset: DatasetOption,
    requests: Annotated[int, typer.Option(help="Single requests per model (p99 needs 1,000).")] = 1000,
    source: SourceOption = "auto",
    set_: SetOption = None,
    runs: RunsOption = None,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Time models side by side: a process each, one thread, interleaved request by request."""
    from ..serving.latency import latency as run_latency

    found = run_latency(models, dataset, requests=requests, overrides=parse_set(set_), source=source, runs=runs,
                        report=_progress(), debug=debug)  # fmt: skip
    if json_:
        say(to_json({name: getattr(found, name) for name in ("machine", "dataset", "models", "ratios")}))
    else:
        _print_latency(found)
    say(*(f"note: {note}" for note in found.notes), error=True)


def _progress() -> Any:
    """A line for each tenth of the way, on standard error."""
    last = ""

    def report(phase: str, step: int = 0, total: int = 0, message: str = "") -> None:
        nonlocal last
        line = f"{phase} {message}".strip() + (f" {10 * (10 * step // total)} %" if phase == "requests" else "")
        if line != last:
            last = line
            say(line, error=True)

    return report


def _print_latency(found: Any) -> None:
    from ...leaderboards.terminal import fitted
    from .printing import output_console

    head = ["model", "p50 ms [95 %]", "p95 ms [95 %]", "p99 ms", "slates/s at 32", "at 256", "cold start", "memory",
            "passes"]  # fmt: skip
    rows = []
    for one in found.models:
        spans = [f"{one[f'p{p}_ms']:.2f} [{one[f'p{p}_low']:.2f}, {one[f'p{p}_high']:.2f}]" for p in (50, 95)]
        label = " ".join([one["model"], *(f"{key}={value}" for key, value in one["sampling"].items())])
        rows.append([label, *spans, f"{one['p99_ms']:.2f}{' (rough)' if one['p99_rough'] else ''}",
                     f"{one['throughput_32']:.0f}", f"{one['throughput_256']:.0f}", f"{one['cold_start_s']:.1f} s",
                     f"{one['peak_rss_mib']:.0f} MiB", f"{one['nfe']:g}"])  # fmt: skip
    console = output_console()
    console.print(fitted(head, rows, console.width, keep=2))
    for row in found.ratios:
        spans = [f"p{p} {row[f'p{p}']:.2f} [{row[f'p{p}_low']:.2f}, {row[f'p{p}_high']:.2f}]" for p in (50, 95)]
        say(f"{row['a']} / {row['b']}: {', '.join(spans)}")
    machine = found.machine
    rough = ", rough (200 requests for p95)" if found.models[0]["rough"] else ""
    say(f"{found.requests} requests each, interleaved{rough}; one thread; {machine['cpu']}, {machine['system']}"
          + (f", {machine['gpu']}" if machine["gpu"] else ""))  # fmt: skip


def gate(
    system: Annotated[str, typer.Argument(metavar="A", help="The system that may not be worse.")],
    against: Annotated[str, typer.Option(help="The system that it is held against.")],
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Where both are systems, not run folders.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="The metric (default: the headline of their board).")] = None,
    margin: Annotated[float, typer.Option(help="How much worse is still good enough, in units of the metric.")] = 0.01,
    part: PartOption = "test",
    budget: Annotated[str | None, typer.Option(help="Which budget's runs (default: one that both have).")] = None,
    runs: RunsOption = None,
    json_: JsonOption = False,
) -> None:
    """Exit code 1 when A is worse than the other beyond noise, or nothing can be said: for your own CI."""
    from ..boards.gate import gate as run_gate
    from .screen import Screen

    found = run_gate(
        system, against, dataset=dataset, metric=metric, margin=margin, part=part, budget=budget, runs=runs
    )
    say(to_json(asdict(found)) if json_ else found.line)
    for notice in found.notices:
        Screen().notice(notice)
    if not found.passed:
        raise typer.Exit(1)


@claims_app.command("list", epilog="Example: slatebench claims list")
def list_(json_: JsonOption = False) -> None:
    """All claims, with the published figure, the rule, and whether they can be run here."""
    from ..claims.catalogue import CLAIMS
    from ..claims.run import why_not

    for claim in CLAIMS:
        reason = why_not(claim)
        if json_:
            head = {key: getattr(claim, key) for key in ("id", "paper", "sentence", "published")}
            say(to_json({**head, "statistic": claim.statistic.text, "rule": claim.rule.text, "not_run": reason}))
        else:
            say(f"{claim.id}: {claim.sentence}", f"    {claim.paper}; published: {claim.published}")
            say(f"    holds if {claim.statistic.text} {claim.rule.text}" + (f"; not run: {reason}" if reason else ""))


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
    from .grid_screen import GridScreen
    from .screen import Screen

    notices = []
    for claim in choose(ids or [], CLAIMS):  # each is told as soon as it is known
        screen = GridScreen(jobs) if jobs > 1 else Screen()
        with screen:
            (result,) = run_claims([claim], dataset, budget=budget, seeds=parse_seeds(seeds), source=source, runs=runs,
                                   jobs=jobs, listener=screen)  # fmt: skip
        if json_:
            say(to_json(asdict(result)))
        else:
            span = "" if result.low is None else f" [{result.low:.3f}, {result.high:.3f}]"
            ours = "" if result.value is None else f" | {result.statistic} = {result.value:.3f}{span}"
            say(f"{result.claim}: {result.verdict_line}{ours} | holds if {result.rule}")
        notices += result.notices
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
