"""`slatebench leaderboard`: boards from the records on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ...datasets.output import say
from .options import AblationsOption, DatasetOption, PartOption, RunsOption

leaderboard_app = typer.Typer(help="Boards from the records.", no_args_is_help=True, rich_markup_mode=None)


@leaderboard_app.command(epilog="Example: slatebench leaderboard show --dataset bundle --metric ndcg_at_10 --format md")
def show(
    dataset: DatasetOption,
    part: PartOption = "test",
    budget: Annotated[str | None, typer.Option(help="By default that of the newest run.")] = None,
    k: Annotated[int | None, typer.Option("-k", help="By default that of the newest run.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Metrics to show; may be given several times.")] = None,
    ablations: AblationsOption = True,
    format_: Annotated[Literal["table", "md", "csv", "json"], typer.Option("--format")] = "table",
    runs: RunsOption = None,
) -> None:
    """Systems from best to worst, with intervals, rank bands, floors and ceilings."""
    from ...leaderboards import tables
    from ..boards.show import leaderboard
    from .printing import output_console

    shown = metric if metric or format_ in ("csv", "json") else ()
    board = leaderboard(dataset, part=part, budget=budget, k=k, ablations=ablations, metrics=shown, runs=runs)  # type: ignore[arg-type]
    if format_ != "table":
        write = {"md": tables.as_markdown, "csv": tables.as_csv, "json": tables.as_json}[format_]
        say(*write(board, metric).split("\n"))
        return
    console = output_console()
    console.print(tables.as_table(board, metric, console.width))
    say(*tables.caption(board, metric))


@leaderboard_app.command(epilog="Example: slatebench leaderboard publish bundle claims --out docs/results")
def publish(
    pages: Annotated[
        list[str] | None, typer.Argument(help="Pages, e.g. bundle, bundle-sweeps, claims (default: all).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the pages.")] = Path("docs/results"),
    runs: RunsOption = None,
) -> None:
    """Results pages from the records, as Markdown with pictures: boards, costs, paired differences, sweeps, claims."""
    from ..boards.pages import publish as write_pages

    for path in write_pages(out, runs, pages or ()):
        say(path)


@leaderboard_app.command()
def rebuild(runs: RunsOption = None) -> None:
    """Make the MLflow view again from nothing: of all records, and of all finished sweeps."""
    from rich.console import Console
    from rich.text import Text

    from ...datasets.output import shown
    from ...leaderboards.mlflow_view.runs import rebuild as rebuild_view
    from ...leaderboards.mlflow_view.store import place, put_damaged_aside, tracking_uri
    from ...leaderboards.mlflow_view.sweeps import rebuild_sweeps
    from ...leaderboards.records import list_runs, runs_folder

    folder = runs_folder(runs).resolve()
    found, problems = list_runs(folder)
    if aside := put_damaged_aside(folder):
        say(f"the store was damaged: it is {aside} now, and a new one is made", error=True)
    with Console(stderr=True).status(f"logging {len(found)} records") as status:

        def report(line: str) -> None:
            status.update(Text(shown(line)))

        count = rebuild_view(found, folder, report)
        sweeps, damaged = rebuild_sweeps(folder, report)
    say(f"{count} records and {sweeps} sweeps logged to {place(tracking_uri(folder))}")
    say(*(f"left out: {problem}" for problem in problems + damaged))


@leaderboard_app.command(epilog="Example: slatebench leaderboard html --dataset bundle --out report.html")
def html(
    dataset: DatasetOption,
    out: Annotated[
        Path | None, typer.Option(help="The file (default: report-DATASET.html in the runs folder).")
    ] = None,
    part: PartOption = "test",
    budget: Annotated[str | None, typer.Option(help="By default that of the newest run.")] = None,
    k: Annotated[int | None, typer.Option("-k", help="By default that of the newest run.")] = None,
    ablations: AblationsOption = True,
    runs: RunsOption = None,
) -> None:
    """Board, plots, prompt explorer and cards as one offline HTML file."""
    from ..boards.report import report

    path = report(dataset, out, part=part, budget=budget, k=k, ablations=ablations, runs=runs)  # type: ignore[arg-type]
    say(f"{path} ({path.stat().st_size / 1e6:.1f} MB): opens from disk")
