"""`slatebench models`: what models there are, what they can be told, and how to add one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import BudgetOption, DatasetOption, JsonOption, SetOption, SourceOption, parse_set

models_app = typer.Typer(help="List, show, add and test models.", no_args_is_help=True, rich_markup_mode=None)


@models_app.command("list")
def list_(json_: JsonOption = False) -> None:
    """All models: built in and plug-ins."""
    from ..models.registry import model_titles, refused_models

    for line in refused_models():
        print(f"note: {line}", file=sys.stderr)
    rows = [{"model": name, "title": title} for name, title in model_titles().items()]
    if json_:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['model']:<16}{row['title']}")


@models_app.command(epilog="Example: slatebench models show bm25 --set k1=1.2")
def show(
    model: Annotated[str, typer.Argument(help="Address, e.g. dense:sampled.")],
    budget: BudgetOption = "standard",
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """A model's card, and every value it would run with and where that comes from."""
    from rich.table import Table

    from ..models.describe import describe
    from ..models.registry import model_class, parse_model
    from .screen import output_console

    cls = model_class(parse_model(model)[0])
    rows = describe(model, budget, parse_set(set_))
    if json_:
        print(json.dumps({"model": model, "values": [row._asdict() for row in rows]}, default=str))
        return
    card = cls.card
    print(f"{model}: {card.title} (version {cls.version})\n{card.summary}\nPaper: {card.paper}")
    print(f"Answers: {', '.join(sorted(card.conditions))}. Presets: {', '.join(sorted(cls.PRESETS)) or 'none'}")
    for departure in card.departures:
        print(f"Departure: {departure}")
    if rows:
        table = Table("value", "", "from", "kind", "allowed", "what", header_style="bold")
        for row in rows:
            table.add_row(*(str(getattr(row, key)) for key in ("field", "value", "origin", "kind", "type", "doc")))
        output_console().print(table, markup=False)


@models_app.command(epilog="Example: slatebench models parameters s2s:sids higr higr:parallel --dataset bundle")
def parameters(
    models: Annotated[list[str], typer.Argument(help="Models; the first is the one to compare with.")],
    dataset: DatasetOption,
    budget: BudgetOption = "standard",
    source: SourceOption = "auto",
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Trained parameters of models side by side, part by part, without training them."""
    from ..datasets.features import make_features
    from ..datasets.registry import load_dataset
    from ..datasets.schema import train_data
    from ..models.describe import describe
    from ..models.parameters import count_parameters

    settings = parse_set(set_)
    for model in models:
        describe(model, budget, settings)  # a mistake is told before anything is loaded
    found = load_dataset(dataset, source=source)
    data = train_data(found, make_features(found))
    counts = {model: count_parameters(model, data, budget, settings) for model in models}
    totals = {model: sum(parts.values()) for model, parts in counts.items()}
    first = totals[models[0]]
    more = {model: 100 * (total / first - 1) if first else None for model, total in totals.items()}
    if json_:
        rows = [
            {"model": m, "parts": counts[m], "parameters": totals[m], "difference_percent": more[m]} for m in counts
        ]
        print(json.dumps({"dataset": found.name, "budget": budget, "models": rows}))
        return
    _print_parameters(counts, totals, more)


def _print_parameters(counts: dict[str, dict[str, int]], totals: dict[str, int], more: dict[str, float | None]) -> None:
    from rich.table import Table

    from .screen import output_console

    table = Table("trained parameters", header_style="bold")
    for model in counts:
        table.add_column(model, justify="right")
    for part in dict.fromkeys(part for parts in counts.values() for part in parts):
        table.add_row(part, *(f"{parts[part]:,}" if part in parts else "-" for parts in counts.values()))
    table.add_row("total", *(f"{total:,}" for total in totals.values()), style="bold")
    signs = [f"{percent:+.1f} %" if percent is not None else "-" for percent in more.values()]
    table.add_row(f"against {next(iter(counts))}", *signs)
    output_console().print(table)


@models_app.command(epilog="Example: slatebench models new my-model --to ~/my-model")
def new(
    name: Annotated[str, typer.Argument(help="Name of the new model.")],
    to: Annotated[Path, typer.Option(help="Folder of the new plug-in package.")] = Path(),
) -> None:
    """Write the skeleton of a new model: a plug-in package that passes the contract suite."""
    from ..models.skeleton import write_skeleton

    folder = write_skeleton(name, to)
    print(f"wrote {folder}\nnext: pip install -e {folder} && slatebench models test {name}")


@models_app.command(epilog="Example: slatebench models test bm25")
def test(model: Annotated[str, typer.Argument(help="Address, e.g. dense:sampled.")], json_: JsonOption = False) -> None:
    """Run the contract suite over a model (also one of your own)."""
    from dataclasses import asdict

    from ..models.testing import run_contract

    checks = run_contract(model)
    if json_:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        for check in checks:
            print(
                f"{'passed' if check.passed else 'FAILED'}  {check.name}{f': {check.message}' if check.message else ''}"
            )
        print(f"{sum(check.passed for check in checks)} of {len(checks)} checks passed")
    if not all(check.passed for check in checks):
        raise typer.Exit(1)
