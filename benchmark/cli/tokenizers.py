"""`slatebench tokenizers`: how well items' semantic ids tell them apart and hold like things together."""

from __future__ import annotations

from typing import Annotated

import typer

from ...datasets.output import say, to_json
from .options import JsonOption, SetOption, SourceOption, parse_set

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
