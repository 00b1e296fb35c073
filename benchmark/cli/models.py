"""`slatebench models`: what models there are, what they can be told, and how to add one."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from ...datasets.output import say, to_json
from .options import BudgetOption, DatasetOption, JsonOption, SetOption, SourceOption, parse_set

models_app = typer.Typer(help="List, show, add and test models.", no_args_is_help=True, rich_markup_mode=None)


@models_app.command("list")
def list_(json_: JsonOption = False) -> None:
    """All models: built in and plug-ins."""
    from ...models.registry import model_titles, refused_models

    say(*(f"note: {line}" for line in refused_models()), error=True)
    rows = [{"model": name, "title": title} for name, title in model_titles().items()]
    if json_:
        say(to_json({"models": rows}))
        return
    for row in rows:
        say(f"{row['model']:<16}{row['title']}")


@models_app.command(epilog="Example: slatebench models show bm25 --set k1=1.2")
def show(
    model: Annotated[str, typer.Argument(help="Address, e.g. dense:sampled.")],
    budget: BudgetOption = "standard",
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """A model's card, and every value it would run with and where that comes from."""
    from ...leaderboards.terminal import fitted
    from ...models.describe import describe
    from ...models.registry import model_class, parse_model
    from .printing import output_console

    cls = model_class(parse_model(model)[0])
    rows = describe(model, budget, parse_set(set_))
    if json_:
        say(to_json({"model": model, "values": [row._asdict() for row in rows]}))
        return
    card = cls.card
    say(f"{model}: {card.title} (version {cls.version})", card.summary, f"Paper: {card.paper}")
    say(f"Answers: {', '.join(sorted(card.conditions))}. Presets: {', '.join(sorted(cls.PRESETS)) or 'none'}")
    for departure in card.departures:
        say(f"Departure: {departure}")
    if rows:
        head = ["setting", "value", "from", "kind", "what", "allowed"]
        lines = [[str(cell) for cell in (r.field, r.value, r.origin, r.kind, r.doc, r.type)] for r in rows]
        console = output_console()
        console.print(fitted(head, lines, console.width, keep=2, words=head[4:], left=head))


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
    from ...datasets.registry import load_dataset
    from ...datasets.train_data import train_data
    from ...datasets.vectors.features import make_features
    from ...models.describe import describe
    from ...models.parameters import count_parameters

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
        say(to_json({"dataset": found.name, "budget": budget, "models": rows}))
        return
    _print_parameters(counts, totals, more)


def _print_parameters(counts: dict[str, dict[str, int]], totals: dict[str, int], more: dict[str, float | None]) -> None:
    from ...leaderboards.terminal import fitted
    from .printing import output_console

    parts_of_all = dict.fromkeys(part for parts in counts.values() for part in parts)
    rows = [[part, *(f"{parts[part]:,}" if part in parts else "-" for parts in counts.values())]
            for part in parts_of_all]  # fmt: skip
    rows.append(["total", *(f"{total:,}" for total in totals.values())])
    signs = [f"{percent:+.1f} %" if percent is not None else "-" for percent in more.values()]
    rows.append([f"against {next(iter(counts))}", *signs])
    styles = [*[""] * (len(rows) - 2), "bold", ""]
    console = output_console()
    console.print(fitted(["trained parameters", *counts], rows, console.width, keep=2, styles=styles))


@models_app.command(epilog="Example: slatebench models new my-model --to ~/my-model")
def new(
    name: Annotated[str, typer.Argument(help="Name of the new model.")],
    to: Annotated[Path, typer.Option(help="Folder of the new plug-in package.")] = Path(),
) -> None:
    """Write the skeleton of a new model: a plug-in package that passes the contract suite."""
    from ...models.skeleton import write_skeleton

    folder = write_skeleton(name, to)
    say(f"wrote {folder}", f"next: pip install -e {quote(str(folder))} && slatebench models test {name}")


@models_app.command(epilog="Example: slatebench models test bm25")
def test(model: Annotated[str, typer.Argument(help="Address, e.g. dense:sampled.")], json_: JsonOption = False) -> None:
    """Run the contract suite over a model (also one of your own)."""
    from dataclasses import asdict

    from ...models.testing import run_contract

    checks = run_contract(model)
    if json_:
        say(to_json({"model": model, "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            say(
                f"{'passed' if check.passed else 'FAILED'}  {check.name}{f': {check.message}' if check.message else ''}"
            )
        say(f"{sum(check.passed for check in checks)} of {len(checks)} checks passed")
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


tokenizers_app = typer.Typer(help="Compare tokenizers of items.", no_args_is_help=True, rich_markup_mode=None)


@tokenizers_app.callback()
def _group() -> None:
    """Tokenizers of items: item vector -> semantic id."""


@tokenizers_app.command(epilog="Example: slatebench tokenizers compare --dataset bundle --set codes=64")
def compare(
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Dataset.")],
    seed: Annotated[int, typer.Option(help="Seed of the fits.")] = 0,
    source: SourceOption = "auto",
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Health, time, concentration and consistency by category of each tokenizer, beside the number of groups."""
    from pydantic import ValidationError

    from ...datasets.errors import UsageError, unknown_name
    from ...datasets.registry import load_dataset
    from ...datasets.train_data import train_data
    from ...datasets.vectors.features import make_features
    from ...models.semantic_ids.compare import compare_tokenizers
    from ...models.semantic_ids.tokenizer import TokenizerConfig

    settings = parse_set(set_)
    known = [name for name in TokenizerConfig.model_fields if name not in ("tokenizer", "positives", "allow_collapse")]
    for name in settings:
        if name not in known:
            raise unknown_name("setting of the tokenizers", name, known)
    try:
        TokenizerConfig(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"tokenizers: {first['loc'][0]}={first['input']!r}: {first['msg']}") from error
    data = load_dataset(dataset, source=source)
    rows = list(compare_tokenizers(train_data(data, make_features(data)), settings, seed))
    if json_:
        say(to_json({"dataset": data.name, "seed": seed, "tokenizers": rows}))
        return
    _print_table(rows)


def _print_table(rows: list[dict]) -> None:
    from ...leaderboards.terminal import fitted
    from .printing import output_console

    columns = [
        name for name in max(rows, key=len) if name.split("_")[0] not in ("dead", "entropy", "tokenizer", "most")
    ]
    columns = [name for name in columns if name not in ("positives", "error")]
    names = [f"{r['tokenizer']} {r['positives'] or ''}".strip() for r in rows]
    console = output_console()
    lines = [[name, *(_cell(row.get(name)) for row in rows)] for name in columns]
    console.print(fitted(["", *names], lines, console.width, keep=2))
    say(*(f"{name}: {row['error']}" for name, row in zip(names, rows, strict=True) if "error" in row))
    say(
        "perplexity and codes_used as a share of the codebook; concentration and consistency grow with the number of "
        "groups; slate_pairs_together_1: pairs of a train slate with the same first code"
    )


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value == int(value) and abs(value) > 1 else f"{value:.3f}"
