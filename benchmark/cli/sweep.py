"""`slatebench sweep`: search a model's settings. Imports nothing heavy."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from ...datasets.errors import SlateBenchError, UsageError
from ...datasets.output import say, to_json
from .options import (
    BudgetOption,
    DatasetOption,
    DebugOption,
    EncoderOption,
    ItemVectorsOption,
    JsonOption,
    RunsOption,
    SetOption,
    SourceOption,
    TrainShareOption,
    parse_set,
)

SHOWN = 10  # trials of a table, unless they are a grid's
FIGURES = ("ndcg_sim_at_10", "ndcg_at_10", "freshness", "latency_p50_ms", "nfe")


def sweep(
    dataset: DatasetOption,
    models: Annotated[list[str] | None, typer.Argument(help="Models, e.g. dmsg or dmsg:prior.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every model that has something to tune.")] = False,
    trials: Annotated[int | None, typer.Option(help="Trials per model (default 30, or all points of a grid).")] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(help="Field and values: steps=2,5,10 or guidance=1:5[:step|:log] (default: the model's own)."),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="Metric, latency_p50_ms, latency_p95_ms or nfe; several: a Pareto front."),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="tpe, nsga2, random, grid, or axes: one field at a time from the defaults.")
    ] = None,
    fit: Annotated[bool, typer.Option(help="Config fields too: a fit for each of their values.")] = False,
    pruner: Annotated[Literal["median", "hyperband", "none"], typer.Option(help="Of fits that lag behind.")] = "median",
    seed: Annotated[int, typer.Option(help="Of the fit, the slates and the search.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes on one study.")] = 1,
    test: Annotated[bool, typer.Option(help="Measure the winner in full on test.")] = True,
    latency: Annotated[bool, typer.Option(help="The winner's latency too, last and alone.")] = True,
    budget: BudgetOption = "standard",
    source: SourceOption = "auto",
    train_share: TrainShareOption = 1.0,
    encoder: EncoderOption = None,
    item_vectors: ItemVectorsOption = None,
    set_: SetOption = None,
    rerun: Annotated[bool, typer.Option(help="Forget the study's earlier trials.")] = False,
    runs: RunsOption = None,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Search a model's settings on one fit and validation requests; bench the winner; go on where it stopped."""
    from ..sweeps.space import parse_over
    from ..sweeps.sweep import sweep as run_sweep
    from .screen import Screen

    if bool(models) == all_:
        raise UsageError("name models, or take --all")
    options: dict[str, Any] = {
        "over": parse_over(over), "objectives": objective or [], "trials": trials, "sampler": sampler, "fit": fit,
        "any_field": all_, "pruner": None if pruner == "none" else pruner, "seed": seed, "workers": workers,
        "budget": budget, "source": source, "train_share": train_share, "encoder": encoder,
        "item_vectors": item_vectors, "overrides": parse_set(set_), "test": test, "latency": latency, "runs": runs,
        "rerun": rerun, "debug": debug,
    }  # fmt: skip
    found, failed = [], []
    screen = Screen()
    with screen:
        for model in models or _tunable(screen):
            try:
                found.append(run_sweep(model, dataset, listener=screen, **options))
            except SlateBenchError as error:
                if not all_ or isinstance(error, UsageError):
                    raise
                failed.append(model)
                screen.line(f"{model}: {error}", style="red")
    for one in found:
        if json_:
            say(_json(one))
        else:
            _print(one)
        say(*(f"note: {notice}" for notice in one.notices), error=True)
    if failed or not all(one.ok for one in found):
        raise typer.Exit(1)


def _tunable(screen: Any) -> list[str]:
    """All models with a search space; says who has none."""
    from ...models.registry import model_class, model_names

    names = [name for name in model_names() if model_class(name).SPACE]
    without = [name for name in model_names() if name not in names]
    screen.line(f"nothing to tune: {', '.join(without)}")
    return names


def _json(found: Any) -> str:
    spec = found.spec
    return to_json({
        "dataset": spec.dataset, "model": spec.model, "study": spec.hash, "folder": str(found.folder),
        "objectives": spec.objectives, "sampler": spec.sampler, "seed": spec.seed, "trials": found.trials.height,
        "settings": found.settings, "best": [_row(found, row) for row in found.best], "command": found.command,
        "plots": [str(path) for path in found.plots], "run": str(found.run.folder) if found.run else None,
    })  # fmt: skip


def _row(found: Any, row: dict[str, Any]) -> dict[str, Any]:
    """One trial with its settings and figures."""
    from ...leaderboards.sweeps import figures_of

    return {"trial": row["trial"], "settings": json.loads(row["settings"]), "figures": figures_of(row, found.spec)}


def _print(found: Any) -> None:
    from ..sweeps.study import LISTED
    from .printing import output_console

    spec, console = found.spec, output_console()
    several = len(spec.objectives) > 1
    rows = found.trials.to_dicts()
    if several:
        rows, title = found.best, f"Pareto front, {len(found.best)} of {found.trials.height} trials"
    elif spec.sampler["name"] in LISTED:
        title = f"{len(rows)} trials"
    else:
        highest = spec.directions[0] == "maximize"
        done = found.trials.filter(state="complete").sort(spec.objectives[0], descending=highest, maintain_order=True)
        distinct = done.unique("settings", keep="first", maintain_order=True)  # a search comes back to what was best
        rows = distinct.head(SHOWN).to_dicts()
        title = f"best {len(rows)} settings of {found.trials.height} trials"
    about = f"{spec.model} on {spec.dataset}, {spec.requests} validation requests: {title}"
    console.print(_table(found, rows, about, console.width))
    sampler = ", ".join(f"{key} {value}" for key, value in spec.sampler.items())
    say(f"sampler: {sampler}, seed {spec.seed}", f"study {spec.hash}: {found.folder}")
    say(f"plots: {found.folder / 'plots'}", f"winner: {found.command}")


def _table(found: Any, rows: list[dict[str, Any]], title: str, width: int) -> Any:
    from ...leaderboards.tables import number
    from ...leaderboards.terminal import fitted

    spec = found.spec
    names = [*spec.objectives, *(n for n in FIGURES if n in found.trials.columns and n not in spec.objectives)]
    lines, styles = [], []
    best = {row["trial"] for row in found.best}
    for row in rows:
        cells = []
        for name in names:
            low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
            if name in spec.objectives and low is not None and row[name] is not None:
                cells.append(f"{number(row[name], low, high)} [{number(low, low, high)}, {number(high, low, high)}]")
            elif name == "nfe" or row[name] is None:
                cells.append("–" if row[name] is None else f"{row[name]:.0f}")
            else:
                cells.append(number(row[name], low, high))
        values = [f"{row[n]:.4g}" if isinstance(row[n], float) else str(row[n]) for n in spec.space]
        note = "" if row["state"] == "complete" else f" {row['state']}"
        lines.append([f"{row['trial']}{note}", cells[0], *values, *cells[1:]])
        styles.append("bold" if row["trial"] in best else "")
    head = ["trial", names[0], *spec.space, *names[1:]]
    return fitted(head, lines, width, keep=2, left=spec.space, styles=styles, title=title)
