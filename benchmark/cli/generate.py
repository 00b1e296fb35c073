"""`slatebench generate`: type a prompt, see slates."""

from __future__ import annotations

from typing import Annotated

import typer

from ...datasets.output import say, to_json
from .options import DatasetOption, JsonOption, RunsOption, SetOption, SourceOption, parse_set


def generate(
    model: Annotated[str, typer.Argument(help="Model, e.g. dense:sampled.")],
    dataset: DatasetOption,
    prompt: Annotated[str, typer.Option(help="What the slate is for.")] = "",
    history: Annotated[
        list[str] | None, typer.Option(help="Id or title of an item that was had; several times, oldest first.")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="Slots (default: the dataset's).")] = None,
    samples: Annotated[int, typer.Option(help="Slates to draw.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    seed_item: Annotated[
        list[str] | None, typer.Option(help="Original id of an item that is part of the question.")
    ] = None,
    source: SourceOption = "auto",
    set_: SetOption = None,
    runs: RunsOption = None,
    json_: JsonOption = False,
) -> None:
    """Type a prompt, or name what was had, see slates with titles (from the newest fitted run, else fits one)."""
    from dataclasses import asdict

    from ..serving.generate import generate as run_generate

    made = run_generate(
        model,
        dataset,
        prompt,
        history=history,
        k=k,
        samples=samples,
        seed=seed,
        seed_items=seed_item,
        overrides=parse_set(set_),
        source=source,
        runs=runs,
    )
    if json_:
        say(to_json(asdict(made)))
        return
    say(f"{made.model}: {made.prompt}")
    for i, slate in enumerate(made.slates, 1):
        say("", *([f"slate {i}"] if len(made.slates) > 1 else []))
        say(*(f"{rank:4d}  {title}" for rank, title in enumerate(slate, 1)))
    freshness = f", freshness {made.freshness:.2f}" if made.freshness is not None else ""
    say("", f"{made.seconds * 1000:.0f} ms a slate{freshness}")
    say(*(f"note: {note}" for note in made.notes), error=True)
