"""`slatebench datasets`: what data there are, whether they are whole, whether they leak."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from ...datasets.errors import UsageError
from ...datasets.output import say, to_json
from .options import JsonOption, SourceOption, parse_set

datasets_app = typer.Typer(help="List, show, fetch, verify, audit, check and export data.", no_args_is_help=True,
                           rich_markup_mode=None)  # fmt: skip
Name = Annotated[str, typer.Argument(help="Dataset, e.g. bundle.")]


@datasets_app.command("list")
def list_(json_: JsonOption = False) -> None:
    """All datasets, and whether their data are here."""
    from ...datasets.errors import DataError
    from ...datasets.files.finding import find_folder
    from ...datasets.registry import dataset_card, dataset_names, refused_datasets

    rows, unusable = [], refused_datasets()
    for name in dataset_names():
        try:
            card = dataset_card(name)
        except DataError as error:  # a plug-in that is broken hides no other dataset
            unusable.append(str(error))
            continue
        here = "embedded" if card.source == "synthetic" else "here" if find_folder(card) else "not here"
        rows.append({"dataset": name, "task": card.task, "data": here, "title": card.title})
    say(*(f"note: {line}" for line in unusable), error=True)
    if json_:
        say(to_json({"datasets": rows}))
        return
    for row in rows:
        say(f"{row['dataset']:<20}{row['task']:<16}{row['data']:<10}{row['title']}")


@datasets_app.command()
def show(name: Name, json_: JsonOption = False) -> None:
    """A dataset's card (for `curated` and `interactions` also the form of the files)."""
    from ...datasets.registry import card_loader, dataset_card

    card = dataset_card(name)
    if json_:
        say(to_json(card.model_dump(mode="json")))
        return
    for key, value in card.model_dump(mode="json").items():
        if value not in (None, [], {}):
            text = to_json(value, indent=1) if isinstance(value, dict | list) else str(value)
            say(*f"{key}: {text}".split("\n"))
    say("", "How it is read:", *(inspect.getdoc(inspect.getmodule(card_loader(card))) or "").split("\n"))


@datasets_app.command()
def fetch(name: Name) -> None:
    """Download a dataset into the user's cache (checked by sha256), or say how to get it."""
    from ...datasets.files.finding import find_files
    from ...datasets.registry import dataset_card

    card = dataset_card(name)
    say("embedded: nothing to fetch" if card.source == "synthetic" else f"{name} is in {find_files(card)}")


@datasets_app.command()
def verify(name: Name) -> None:
    """Check the files (bytes, sha256), the counts and the fingerprint of a dataset against its card."""
    from ...datasets.checks.verify import verify as run_verify

    found = run_verify(name)
    for line in found.checked:
        say(f"ok      {line}")
    for problem in found.problems:
        say(f"WRONG   {problem}")
    if not found.ok:
        raise typer.Exit(1)


@datasets_app.command()
def audit(name: Name, source: SourceOption = "auto", json_: JsonOption = False) -> None:
    """Leak report: duplicate slates over the parts, prompts that recur, test items seen in train, ceilings; and how
    much of the texts no word, no piece and no vector is made of."""
    import polars as pl

    from ...datasets.checks.audit import audit as run_audit
    from ...datasets.health import health_lines, text_health
    from ...datasets.registry import find_dataset, load_found
    from ...datasets.vectors.evaluation import evaluation_embedding
    from ...datasets.vectors.features import make_features
    from .printing import frame_table, output_console

    found = find_dataset(name, source)
    dataset = load_found(found)
    report = run_audit(dataset)
    health = text_health(dataset, evaluation_embedding(dataset), make_features(dataset).text_encoder)
    if found.notice:
        say(found.notice, error=True)
    if json_:
        tables = {"overall": report.overall.to_dicts(), "parts": report.parts.to_dicts(), "texts": health}
        say(to_json({"dataset": report.name, "fingerprint": report.fingerprint, **tables}))
        return
    say(f"{report.name}, fingerprint {report.fingerprint}")
    texts = pl.DataFrame({"measure": [*health], "value": [*health.values()]}, strict=False)
    console = output_console()
    for frame in (report.overall, report.parts, texts):
        console.print(frame_table(frame, console.width))
    say(*health_lines(health))


@datasets_app.command(epilog="Example: slatebench datasets check my/interactions --set split=next-k --set k=5 --keep")
def check(
    folder: Annotated[Path, typer.Argument(help="Folder with catalog.* and slates.*, or with interactions.*")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="How a log is read and split, e.g. --set split=next-k."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Write these settings beside the log, for `bench`.")] = False,
) -> None:
    """Check your own data row by row: prompt -> slate (form: `slatebench datasets show curated`), or a log of who had
    what (`slatebench datasets show interactions`)."""
    from ...datasets.loaders.interactions import is_log

    if is_log(folder):
        _check_log(folder, parse_set(set_), keep)
    elif set_ or keep:
        raise UsageError(f"{folder}: holds no interactions.*: --set and --keep are for logs")
    else:
        _check_curated(folder)


def _check_curated(folder: Path) -> None:
    from ...datasets.health import health_lines, text_health
    from ...datasets.loaders.curated import check_curated, load
    from ...datasets.registry import dataset_card
    from ...datasets.vectors.evaluation import evaluation_embedding

    problems = check_curated(folder)
    say(*problems)
    if problems:
        raise typer.Exit(1)
    say(f"{folder}: well formed")
    dataset = load(dataset_card("curated").model_copy(update={"options": {"folder": "."}}), folder, 0)
    say(*(f"note: {line}" for line in health_lines(text_health(dataset, evaluation_embedding(dataset)))))


def _check_log(folder: Path, given: dict[str, Any], keep: bool) -> None:
    from ...datasets.loaders.interactions import check_log, keep_settings
    from ...datasets.registry import dataset_card

    found = check_log(folder, dataset_card("interactions"), given)
    say(*found.problems)
    if found.problems:
        raise typer.Exit(1)
    say(f"{folder}: well formed", *(f"note: {line}" for line in found.notes))
    if keep:
        say(f"wrote {keep_settings(folder, given)}")


@datasets_app.command(epilog="Example: slatebench datasets export bundle --to exported")
def export(
    name: Name,
    to: Annotated[Path, typer.Option(help="Folder for the parquet files.")],
    source: SourceOption = "auto",
    split_seed: Annotated[int, typer.Option(help="Another split.")] = 0,
) -> None:
    """Write catalogue, parts and sequences as parquet with original ids, so that anybody can re-score a run."""
    from ...datasets.checks.export import export as run_export
    from ...datasets.registry import find_dataset, load_found

    found = find_dataset(name, source)
    files = run_export(load_found(found, split_seed=split_seed), to)
    if found.notice:
        say(found.notice, error=True)
    say(f"wrote {', '.join(file.stem for file in files)} of {found.name} to {to}")
