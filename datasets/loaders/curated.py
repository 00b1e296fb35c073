"""Any organisation's own data in one documented form: a catalogue and slates, as JSON lines or Parquet.

A folder with two files, each `X.jsonl`, `X.jsonl.gz` or `X.parquet`; one item, one slate a row:

- `catalog`: `id`, `title`; optional `text` (made from title and categories if left out), `categories` (a list of
  paths, each a list of names, root first: `[["Home", "Kitchen"]]`).
- `slates`: `prompt`, `items` (ids, best first if there is an order); optional `request` (a unique id), `group` (rows
  of one group are never split: an editor, a session), `part` (`train`, `valid`, `test`: in all rows or none),
  `seed_items` (given to the model, never to be emitted), `history` (items the user had before).

Without `part` the rows are split 80/10/10 by group, where equal prompts and identical item sets are one group too.
Null, NaN and infinity are missing values; the index columns that pandas writes by itself are no fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import AfterValidator, Field, StringConstraints

from ..build import build_dataset
from ..card import DatasetCard
from ..errors import DataError
from ..files.finding import brought_folder
from ..files.reading import MAX_FIELD
from ..schema import PARTS, SlateDataset
from ..split import connected_groups, grouped_split
from ..text import composed, normalised
from .rows import (
    CatalogRow,
    Problem,
    Row,
    Text,
    float_form,
    folded,
    form,
    item_table,
    read_items,
    read_records,
    refuse,
    validated,
    whole_file,
)

ENDS = ("jsonl", "jsonl.gz", "parquet")
Ids = list[Text]


class SlateRow(Row):
    """One request with its slate."""

    prompt: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_FIELD), AfterValidator(composed)]
    items: Annotated[Ids, Field(min_length=1)]
    request: Text | None = None
    group: Text | None = None
    part: Literal["train", "valid", "test"] | None = None
    seed_items: Ids = Field([])
    history: Ids = Field([])


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Load the folder named like the card (or by its option `folder`)."""
    if folder is None:
        raise DataError(f"dataset '{card.name}' needs its files: {card.instructions}")
    items, rows, problems = _read(folder / brought_folder(card))
    refuse(problems)
    if rows["part"].null_count():
        rows = rows.with_columns(part=grouped_split(rows["group"], split_seed))
    return build_dataset(card, items, rows, split_seed)


def check_curated(folder: Path) -> list[Problem]:
    """Validate a folder of curated data row by row; an empty list means that it can be loaded and split."""
    return _read(folder)[2]


def _read(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, list[Problem]]:
    """Items and slates, `part` null where they are still to be split, and all problems, those of one kind as one."""
    problems: list[Problem] = []
    slates: dict[int, SlateRow] = {}
    items = rows = pl.DataFrame()
    try:
        catalog = read_items(folder, "catalog", ENDS, problems)
        file, records = read_records(folder, "slates", ENDS)
        forms = None if problems else {form(id_): id_ for id_ in catalog}  # of a whole catalogue
        for row, slate in validated(records, SlateRow, file, problems):
            problems.extend(Problem(file, row, *problem) for problem in _slate_problems(slate, catalog, forms))
            slates[row] = slate
        problems.extend(_table_problems(slates, file))
        if not problems and len(slates) < len(PARTS):
            what = f"holds {len(slates)} slates"
            problems.append(Problem(file, 0, what, "at least 3 are needed for train, valid and test"))
        if not problems:
            items, rows = item_table(catalog), _slate_frame(slates)
            problems.extend(_split_problems(rows, len({slate.group for slate in slates.values()} - {None}), file))
    except DataError as error:
        problems.append(whole_file(error))
    return items, rows, folded(problems)


def _slate_frame(slates: dict[int, SlateRow]) -> pl.DataFrame:
    """One row per slate; without parts, all that must not be split is one `group`."""
    lists = {name: pl.List(pl.String) for name in ("items", "seed_items", "history")}
    rows = pl.DataFrame(
        [slate.model_dump() | {"request": _request(slate, row)} for row, slate in slates.items()],
        schema_overrides={**lists, "group": pl.String, "part": pl.String},
        infer_schema_length=None,
    )
    # a prompt alone makes a group; rows without a prompt stand alone
    prompts = pl.Series([normalised(p) or r for p, r in rows.select("prompt", "request").iter_rows()], dtype=pl.String)
    rows = rows.with_columns(group=pl.coalesce("group", prompts))
    if rows["part"].null_count():
        sets = pl.Series(["\n".join(sorted(items)) for items in rows["items"].to_list()], dtype=pl.String)
        number = connected_groups(rows["group"], prompts, sets)
        rows = rows.with_columns(group=pl.col("group").min().over(pl.Series("number", number)))
    return rows


def _split_problems(rows: pl.DataFrame, named: int, file: str) -> Iterator[Problem]:
    """Too few groups for three parts; `named` is how many the field `group` tells apart."""
    groups = rows["group"].n_unique()
    if rows["part"].null_count() and groups < len(PARTS):
        prompts = len({normalised(prompt) for prompt in rows["prompt"]} - {""})
        there = f"{named:,} named groups, " if named else ""
        there += f"{prompts:,} prompts, {rows['items'].list.sort().n_unique():,} item sets"
        made = "1 group" if groups == 1 else f"{groups} groups"
        what = f"{rows.height:,} slates make {made}, and train, valid and test need 3: rows with the same group, "
        what += f"prompt or item set stay together (there are {there})"
        mend = "add slates that share none of these, or give every row its part"
        yield Problem(file, 0, what, mend)


def _slate_problems(
    slate: SlateRow, catalog: dict[str, CatalogRow], forms: dict[str, str] | None
) -> Iterator[tuple[str, str, str]]:
    """Problem, mend and kind of what the catalogue (if it is whole) or another field of the slate contradicts."""
    for name in ("items", "seed_items", "history") if forms is not None else ():
        ids: list[str] = getattr(slate, name)
        for unknown in [id_ for id_ in ids if id_ not in catalog][:1]:
            what, like = f"{name}: item {unknown[:80]!r} is not in the catalogue", (forms or {}).get(form(unknown))
            if like is not None:
                mend = "write an id in the same way in both files"
                yield f"{what} (the catalogue has {like[:80]!r})", mend, f"{name} unlike"
            else:
                yield what, "add it to the catalogue or drop it here", f"{name} unknown"
    for repeated in [id_ for id_, count in Counter(slate.items).items() if count > 1][:1]:
        yield f"items: {repeated[:80]!r} is given twice", "keep it once", "items repeated"
    for seed in [id_ for id_ in slate.seed_items if id_ in slate.items][:1]:
        yield f"seed item {seed[:80]!r} is in the slate too", "keep it in seed_items or in items", "seed in slate"
    if not normalised(slate.prompt) and not slate.seed_items and not slate.history:
        yield "neither prompt nor seed_items nor history", "say what is asked, or drop the row", ""


def _request(slate: SlateRow, row: int) -> str:
    return slate.request or f"row-{row}"


def _table_problems(slates: dict[int, SlateRow], file: str) -> Iterator[Problem]:
    """What only shows over all rows: repeated request ids, parts and groups."""
    requests: dict[str, int] = {}
    group_part: dict[str, tuple[str | None, int]] = {}
    parts = Counter(slate.part for slate in slates.values())
    for row, slate in slates.items():
        first = requests.setdefault(_request(slate, row), row)
        if first != row:
            given = f"request {_request(slate, row)[:80]!r} is a duplicate of row {first}"
            yield Problem(file, row, given, "give it another id", "request duplicate")
        if slate.part is None and len(parts) > 1:
            yield Problem(
                file, row, "field 'part' is missing though other rows have it", "add it, or drop it everywhere"
            )
        if slate.group:
            part, seen = group_part.setdefault(slate.group, (slate.part, row))
            if part != slate.part:
                given = f"group {slate.group[:80]!r} is in part '{slate.part}' here and in '{part}' in row {seen}"
                yield Problem(file, row, given, "keep a group in one part", "group in two parts")
            if (other := float_form(slate.group)) in group_part:
                given = f"group {slate.group[:80]!r} is {other[:80]!r} in row {group_part[other][1]}"
                yield Problem(file, row, given, "write a group in the same way in all rows", "group unlike")
    if slates and None not in parts:
        for part in PARTS:
            if part not in parts:
                yield Problem(file, 0, f"part '{part}' has no rows", "give every part rows, or drop the field")
