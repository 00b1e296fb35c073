"""`slatebench leaderboard html`: the report as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...datasets.output import say
from .leaderboard import leaderboard_app
from .options import AblationsOption, DatasetOption, PartOption, RunsOption


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
