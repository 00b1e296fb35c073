"""What reads two runs or scores them again: `compare`, `gate`, `rescore`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ...datasets.output import say, to_json
from .options import JsonOption, PartOption, RunsOption
from .printing import runs_json


def compare(
    a: Annotated[str, typer.Argument(help="A system (e.g. bm25) or a run folder.")],
    b: Annotated[str, typer.Argument(help="The system or run folder to compare it with.")],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Where a and b are systems.")] = None,
    part: PartOption = "test",
    budget: Annotated[str | None, typer.Option(help="Which budget's runs (default: one that both have).")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Metrics; may be given several times.")] = None,
    examples: Annotated[int, typer.Option(help="Prompts to show for each side.")] = 3,
    runs: RunsOption = None,
    json_: JsonOption = False,
) -> None:
    """Paired comparison of two systems: differences with intervals and p values, and where each wins most."""
    from ..boards.compare import compare as run_compare
    from .compare_text import comparison_json, print_comparison
    from .screen import Screen

    found = run_compare(a, b, dataset=dataset, part=part, budget=budget, metrics=metric, examples=examples, runs=runs)
    if json_:
        say(comparison_json(found))
    else:
        print_comparison(found)
    for notice in found.notices:
        Screen().notice(notice)


def rescore(
    folders: Annotated[list[Path], typer.Argument(help="Run folders.")],
    bertscore: Annotated[
        str | None, typer.Option(help="Also measure BERTScore with this model or model@layer.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Compute the metrics of finished runs again from their slates, without a new fit."""
    from ...leaderboards.records import read_run
    from ..boards.rescore import rescore as run_rescore

    done = run_rescore([read_run(folder) for folder in folders], bertscore=bertscore)
    if json_:
        say(runs_json(done))
        return
    for run in done:
        say(f"{run.record.label} seed {run.spec.seed}: {run.folder}")


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
