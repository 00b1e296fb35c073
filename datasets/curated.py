"""Any organisation's own data in one documented form: a catalogue and slates, as JSON lines or Parquet.

A folder with two files, each `X.jsonl`, `X.jsonl.gz` or `X.parquet`; one item, one slate a row:

- `catalog`: `id`, `title`; optional `text` (made from title and categories if left out), `categories` (a list of
  paths, each a list of names, root first: `[["Home", "Kitchen"]]`).
- `slates`: `prompt`, `items` (ids, best first if there is an order); optional `request` (a unique id), `group` (rows
  of one group are never split: an editor, a session), `part` (`train`, `valid`, `test`: in all rows or none),
  `seed_items` (given to the model, never to be emitted), `history` (items the user had before).

Without `part` the rows are split 80/10/10 by group, where equal prompts and identical item sets are one group too.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import polars as pl
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from .build import PARTS, build_dataset
from .card import DatasetCard
from .errors import DataError
from .finding import brought_folder
from .reading import MAX_FIELD, each_json_line, read_content, stored_path, unreadable
from .schema import SlateDataset
from .split import connected_groups, grouped_split
from .text import composed, item_text, normalised

MAX_FILE = 8 << 30  # bytes, unpacked


def _seen(text: str) -> str:
    """The text in its one form, of which something must be left."""
    if not normalised(text):
        raise PydanticCustomError("unseen", "Holds no character that can be seen")
    return composed(text).strip()


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_FIELD),
                  AfterValidator(_seen)]  # fmt: skip
_Ids = list[_Text]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


R = TypeVar("R", bound=_Row)


class CatalogRow(_Row):
    """One item."""

    id: _Text
    title: _Text
    text: _Text | None = None
    categories: list[Annotated[list[_Text], Field(min_length=1)]] = []


class SlateRow(_Row):
    """One request with its slate."""

    prompt: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_FIELD), AfterValidator(composed)]
    items: Annotated[_Ids, Field(min_length=1)]
    request: _Text | None = None
    group: _Text | None = None
    part: Literal["train", "valid", "test"] | None = None
    seed_items: _Ids = []
    history: _Ids = []


@dataclass(frozen=True)
class Problem:
    """What is wrong in one row (0: with the file as a whole), and how to mend it."""

    file: str
    row: int
    problem: str
    mend: str

    def __str__(self) -> str:
        place = f"{self.file}, row {self.row}" if self.row else self.file
        return f"{place}: {self.problem}: {self.mend}"


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Load the folder named like the card (or by its option `folder`)."""
    if folder is None:
        raise DataError(f"dataset '{card.name}' needs its files: {card.instructions}")
    catalog, slates, problems = _read(folder / brought_folder(card))
    if problems:
        more = (
            f" (and {len(problems) - 1:,} more: `slatebench datasets check FOLDER` lists them)" if problems[1:] else ""
        )
        raise DataError(f"{problems[0]}{more}")
    items = pl.DataFrame(
        [
            {
                "id": item.id,
                "title": item.title,
                "text": item.text or item_text(item.title, item.categories),
                "categories": item.categories,
            }
            for item in catalog.values()
        ],
        schema_overrides={"categories": pl.List(pl.List(pl.String))},
        infer_schema_length=None,
    )
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
        rows = rows.with_columns(part=grouped_split(rows["group"], split_seed))
    return build_dataset(card, items, rows, split_seed)


def check_curated(folder: Path) -> list[Problem]:
    """Validate a folder of curated data row by row; an empty list means it can be loaded."""
    return _read(folder)[2]


def _read(folder: Path) -> tuple[dict[str, CatalogRow], dict[int, SlateRow], list[Problem]]:
    """Items by id, slates by row number, and all problems."""
    problems: list[Problem] = []
    catalog: dict[str, CatalogRow] = {}
    slates: dict[int, SlateRow] = {}
    first_row: dict[str, int] = {}
    try:
        file, records = _records(folder, "catalog")
        for row, item in _validated(records, CatalogRow, file, problems):
            if item.id in catalog:
                given = f"id '{item.id}' is a duplicate of row {first_row[item.id]}"
                problems.append(Problem(file, row, given, "drop the row or give it another id"))
                continue
            catalog[item.id], first_row[item.id] = item, row
        if not catalog and not problems:
            problems.append(Problem(file, 0, "holds no items", "write one item a row"))
        file, records = _records(folder, "slates")
        for row, slate in _validated(records, SlateRow, file, problems):
            problems.extend(Problem(file, row, *problem) for problem in _slate_problems(slate, catalog))
            slates[row] = slate
    except DataError as error:  # the file as a whole: the rest can't be checked
        name, _, problem = str(error).partition(": ")
        what, _, mend = problem.rpartition(": ")
        return catalog, slates, [*problems, Problem(name, 0, what or problem, mend or "mend the file")]
    problems.extend(_table_problems(slates, file))
    return catalog, slates, problems


def _records(folder: Path, name: str) -> tuple[str, Iterator[tuple[int, dict[str, Any] | str]]]:
    """File name, and the rows of `name`.jsonl(.gz) or `name`.parquet: an object, or what is wrong."""
    lines, table = stored_path(folder, f"{name}.jsonl"), stored_path(folder, f"{name}.parquet")
    if lines and table:
        raise DataError(f"{folder}: holds {lines.name} and {table.name}: keep one of them")
    if lines:
        return str(lines), each_json_line(read_content(lines, MAX_FILE), str(lines))
    if table:
        try:
            frame = pl.read_parquet(table)
        except OSError as error:
            raise unreadable(table, error) from error
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise DataError(f"{table}: not a Parquet file ({str(error).splitlines()[0]}): write it again") from error
        rows = frame.iter_rows(named=True)
        return str(table), ((number, _without_nulls(row)) for number, row in enumerate(rows, start=1))
    raise DataError(f"{folder / name}.jsonl: file is missing (also as .jsonl.gz, .parquet): write it")


def _without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


def _validated(
    records: Iterator[tuple[int, dict[str, Any] | str]], model: type[R], file: str, problems: list[Problem]
) -> Iterator[tuple[int, R]]:
    """Row number and validated row; what is not valid goes to `problems`."""
    for row, record in records:
        if isinstance(record, str):
            what, _, mend = record.rpartition(": ")
            problems.append(Problem(file, row, what, mend))
            continue
        try:
            yield row, model.model_validate(record)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_input=False, include_context=False):
                problems.append(Problem(file, row, *_in_words(problem, model)))


def _in_words(error: Any, model: type[_Row]) -> tuple[str, str]:
    """Problem and mend of a pydantic error."""
    key = ".".join(str(part) for part in error["loc"])
    known = list(model.model_fields)
    if error["type"] == "missing":
        return f"field '{key}' is missing", "add it"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known, n=1)
        return (
            f"unknown field '{key[:80]}'",
            f"rename it to '{near[0]}'" if near else f"drop it (known: {', '.join(known)})",
        )
    return f"field '{key[:80]}': {error['msg'][0].lower()}{error['msg'][1:]}", "mend the value"


def _slate_problems(slate: SlateRow, catalog: dict[str, CatalogRow]) -> Iterator[tuple[str, str]]:
    for name in ("items", "seed_items", "history"):
        ids: list[str] = getattr(slate, name)
        for unknown in [id_ for id_ in ids if id_ not in catalog][:1]:
            yield f"{name}: item '{unknown[:80]}' is not in the catalogue", "add it to the catalogue or drop it here"
    for repeated in [id_ for id_, count in Counter(slate.items).items() if count > 1][:1]:
        yield f"items: '{repeated[:80]}' is given twice", "keep it once"
    for seed in [id_ for id_ in slate.seed_items if id_ in slate.items][:1]:
        yield f"seed item '{seed[:80]}' is in the slate too", "keep it in seed_items or in items"
    if not normalised(slate.prompt) and not slate.seed_items and not slate.history:
        yield "neither prompt nor seed_items nor history", "say what is asked, or drop the row"


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
            given = f"request '{_request(slate, row)[:80]}' is a duplicate of row {first}"
            yield Problem(file, row, given, "give it another id")
        if slate.part is None and len(parts) > 1:
            yield Problem(
                file, row, "field 'part' is missing though other rows have it", "add it, or drop it everywhere"
            )
        if slate.group:
            part, seen = group_part.setdefault(slate.group, (slate.part, row))
            if part != slate.part:
                given = f"group '{slate.group[:80]}' is in part '{slate.part}' here and in '{part}' in row {seen}"
                yield Problem(file, row, given, "keep a group in one part")
    if len(slates) < len(PARTS):
        yield Problem(file, 0, f"holds {len(slates)} valid slates", "at least 3 are needed for train, valid and test")
    elif None not in parts:
        for part in PARTS:
            if part not in parts:
                yield Problem(file, 0, f"part '{part}' has no rows", "give every part rows, or drop the field")
