"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...datasets.errors import UsageError
from ...datasets.output import is_text
from ..limits import check_seeds

DatasetOption = Annotated[str, typer.Option("--dataset", "-d", help="Dataset (`slatebench datasets list`).")]
BudgetOption = Annotated[
    Literal["smoke", "standard", "paper"], typer.Option(help="smoke: seconds, standard: minutes, paper: for a GPU.")
]
PartOption = Annotated[Literal["test", "valid"], typer.Option(help="valid while something is still being chosen.")]
SourceOption = Annotated[
    Literal["auto", "real", "synthetic"], typer.Option(help="auto: real data, else the synthetic twin.")
]
TrainShareOption = Annotated[float, typer.Option(help="Share of the train slates; below 1 another board.")]
EncoderOption = Annotated[str | None, typer.Option(help="Text encoder: minilm, lsa or a sentence-transformers name.")]
ItemVectorsOption = Annotated[
    str | None, typer.Option(help="What makes item vectors: word2vec or an encoder (default: as the card says).")
]
RepeatsOption = Annotated[
    Literal["excluded", "allowed"],
    typer.Option(help="May items of a request's history be emitted again? Another board."),
]
RequestsOption = Annotated[
    str | None, typer.Option(help="Requests asked of the part, or all (default: by task and budget). Another board.")
]
RefitOption = Annotated[
    bool, typer.Option("--refit", help="Fit once more, on train and validation items. Another board.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A model's setting, e.g. --set guidance=2 (`models show`)."),
]
RunsOption = Annotated[Path | None, typer.Option(help="Folder of the records (default: SLATEBENCH_RUNS or ./runs).")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")]
DebugOption = Annotated[bool, typer.Option(help="Show tracebacks and what the cells print.")]


def parse_set(pairs: list[str] | None) -> dict[str, Any]:
    """Values of `--set name=value`: numbers, true, false, null, lists as in JSON; anything else is text.

    >>> parse_set(["k1=1.2", "document=both", "residual=true"])
    {'k1': 1.2, 'document': 'both', 'residual': True}

    Raises:
        UsageError: no `=`, or a name given twice.
    """
    values: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"--set {pair}: write it as name=value, e.g. --set guidance=2")
        if name in values:
            raise UsageError(f"--set {name}: given twice")
        if not is_text(pair):
            raise UsageError(f"--set {pair}: not UTF-8 text")
        try:
            values[name] = json.loads(text)
        except (ValueError, RecursionError):  # thousands of digits or brackets too
            values[name] = text
    return values


def parse_seeds(text: str) -> list[int]:
    """Seeds from `0,1,2`.

    Raises:
        UsageError: not whole numbers, or one given twice.
    """
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {text}: write whole numbers with commas, e.g. --seeds 0,1,2") from error
    check_seeds(seeds, "--seeds")
    return seeds


def parse_requests(text: str | None) -> int | str | None:
    """A number of requests, or `all`.

    Raises:
        UsageError: neither.
    """
    if text is None or text == "all":
        return text
    if not text.isdecimal():
        raise UsageError(f"--requests {text}: write a whole number, or all")
    return int(text)


AblationsOption = Annotated[bool, typer.Option(help="Show systems with settings set by hand too.")]
