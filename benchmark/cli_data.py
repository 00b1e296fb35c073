"""`slatebench datasets`: what data there are, whether they are whole, whether they leak."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption, SourceOption

datasets_app = typer.Typer(help="List, show, fetch, verify, audit, check and export data.", no_args_is_help=True,
                           rich_markup_mode=None)  # fmt: skip
Name = Annotated[str, typer.Argument(help="Dataset, e.g. bundle.")]


@datasets_app.command("list")
def list_(json_: JsonOption = False) -> None:
    """All datasets, and whether their data are here."""
    from ..datasets.errors import DataError
    from ..datasets.finding import find_folder
    from ..datasets.registry import dataset_card, dataset_names, refused_datasets

    rows, unusable = [], refused_datasets()
    for name in dataset_names():
        try:
            card = dataset_card(name)
        except DataError as error:  # a plug-in that is broken hides no other dataset
            unusable.append(str(error))
            continue
        here = "embedded" if card.source == "synthetic" else "here" if find_folder(card) else "not here"
        rows.append({"dataset": name, "task": card.task, "data": here, "title": card.title})
    for line in unusable:
        print(f"note: {line}", file=sys.stderr)
    if json_:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['dataset']:<20}{row['task']:<16}{row['data']:<10}{row['title']}")


@datasets_app.command()
def show(name: Name, json_: JsonOption = False) -> None:
    """A dataset's card (for `curated` also the form of the files)."""
    from ..datasets.registry import card_loader, dataset_card

    card = dataset_card(name)
    if json_:
        print(card.model_dump_json())
        return
    for key, value in card.model_dump().items():
        if value not in (None, [], {}):
            print(f"{key}: {json.dumps(value, indent=1) if isinstance(value, dict | list) else value}")
    print(f"\nHow it is read:\n{inspect.getdoc(inspect.getmodule(card_loader(card)))}")


@datasets_app.command()
def fetch(name: Name) -> None:
    """Download a dataset into the user's cache (checked by sha256), or say how to get it."""
    from ..datasets.finding import find_files
    from ..datasets.registry import dataset_card

    card = dataset_card(name)
    print("embedded: nothing to fetch" if card.source == "synthetic" else f"{name} is in {find_files(card)}")


@datasets_app.command()
def verify(name: Name) -> None:
    """Check the files (bytes, sha256), the counts and the fingerprint of a dataset against its card."""
    from ..datasets.verify import verify as run_verify

    found = run_verify(name)
    for line in found.checked:
        print(f"ok      {line}")
    for problem in found.problems:
        print(f"WRONG   {problem}")
    if not found.ok:
        raise typer.Exit(1)


@datasets_app.command()
def audit(name: Name, source: SourceOption = "auto", json_: JsonOption = False) -> None:
    """Leak report: duplicate slates over the parts, prompts that recur, test items seen in train, ceilings."""
    from ..datasets.audit import audit as run_audit
    from ..datasets.registry import find_dataset, load_found
    from .screen import frame_table, output_console

    found = find_dataset(name, source)
    report = run_audit(load_found(found))
    if found.notice:
        print(found.notice, file=sys.stderr)
    if json_:
        tables = {"overall": report.overall.to_dicts(), "parts": report.parts.to_dicts()}
        print(json.dumps({"dataset": report.name, "fingerprint": report.fingerprint, **tables}))
        return
    print(f"{report.name}, fingerprint {report.fingerprint}")
    for frame in (report.overall, report.parts):
        output_console().print(frame_table(frame))


@datasets_app.command()
def check(folder: Annotated[Path, typer.Argument(help="Folder with catalog.* and slates.*")]) -> None:
    """Check your own prompt -> slate data row by row (form: `slatebench datasets show curated`)."""
    from ..datasets.curated import check_curated

    problems = check_curated(folder)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"{folder}: well formed")


@datasets_app.command(epilog="Example: slatebench datasets export bundle --to exported")
def export(
    name: Name,
    to: Annotated[Path, typer.Option(help="Folder for catalog, train, valid and test (parquet, original ids).")],
    source: SourceOption = "auto",
    split_seed: Annotated[int, typer.Option(help="Another split.")] = 0,
) -> None:
    """Write catalogue and parts as parquet with original ids, so that anybody can re-score a run."""
    from ..datasets.export import export as run_export
    from ..datasets.registry import find_dataset, load_found

    found = find_dataset(name, source)
    run_export(load_found(found, split_seed=split_seed), to)
    if found.notice:
        print(found.notice, file=sys.stderr)
    print(f"wrote catalog, train, valid and test of {found.name} to {to}")
