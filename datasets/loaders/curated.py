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

import difflib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import polars as pl
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from ..build import build_dataset
from ..card import DatasetCard
from ..errors import DataError
from ..files.finding import brought_folder
from ..files.reading import MAX_FIELD, each_json_line, is_there, read_content
from ..files.table import read_table
from ..schema import PARTS, SlateDataset
from ..split import connected_groups, grouped_split
from ..text import composed, item_text, normalised

MAX_FILE = 8 << 30  # bytes, unpacked
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+")  # the names that pandas gives to its index
_FEW = 3  # faults of one kind that are told one by one


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
    """What is wrong in one row (0: with the file as a whole), how to mend it, and which rows have the like."""

    file: str
    row: int
    problem: str
    mend: str
    kind: str = ""  # what all faults of this kind have in common, where `problem` names the row's own values
    more: tuple[int, ...] = ()

    def __str__(self) -> str:
        place = f"{self.file}, row {self.row}" if self.row else self.file
        rows = ", ".join(map(str, self.more[:_FEW])) + (", ..." if self.more[_FEW:] else "")
        likewise = f" (likewise in {len(self.more):,} more: rows {rows})" if self.more else ""
        return f"{place}: {self.problem}: {self.mend}{likewise}"


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Load the folder named like the card (or by its option `folder`)."""
    if folder is None:
        raise DataError(f"dataset '{card.name}' needs its files: {card.instructions}")
    items, rows, problems = _read(folder / brought_folder(card))
    if problems:
        more = (
            f" (and {len(problems) - 1:,} more: `slatebench datasets check FOLDER` lists them)" if problems[1:] else ""
        )
        raise DataError(f"{problems[0]}{more}")
    if rows["part"].null_count():
        rows = rows.with_columns(part=grouped_split(rows["group"], split_seed))
    return build_dataset(card, items, rows, split_seed)


def check_curated(folder: Path) -> list[Problem]:
    """Validate a folder of curated data row by row; an empty list means that it can be loaded and split."""
    return _read(folder)[2]


def _read(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, list[Problem]]:
    """Items and slates, `part` null where they are still to be split, and all problems, those of one kind as one."""
    problems: list[Problem] = []
    catalog: dict[str, CatalogRow] = {}
    slates: dict[int, SlateRow] = {}
    items = rows = pl.DataFrame()
    try:
        _read_catalog(folder, catalog, problems)
        file, records = _records(folder, "slates")
        forms = None if problems else {_form(id_): id_ for id_ in catalog}  # of a whole catalogue
        for row, slate in _validated(records, SlateRow, file, problems):
            problems.extend(Problem(file, row, *problem) for problem in _slate_problems(slate, catalog, forms))
            slates[row] = slate
        problems.extend(_table_problems(slates, file))
        if not problems and len(slates) < len(PARTS):
            what = f"holds {len(slates)} slates"
            problems.append(Problem(file, 0, what, "at least 3 are needed for train, valid and test"))
        if not problems:
            items, rows = _item_frame(catalog), _slate_frame(slates)
            problems.extend(_split_problems(rows, len({slate.group for slate in slates.values()} - {None}), file))
    except DataError as error:  # a file as a whole: the rest can't be checked
        name, _, problem = str(error).partition(": ")
        what, _, mend = problem.rpartition(": ")
        problems.append(Problem(name, 0, what or problem, mend or "mend the file"))
    return items, rows, _folded(problems)


def _read_catalog(folder: Path, catalog: dict[str, CatalogRow], problems: list[Problem]) -> None:
    """Fill `catalog` by id."""
    file, records = _records(folder, "catalog")
    first_row: dict[str, int] = {}
    for row, item in _validated(records, CatalogRow, file, problems):
        same = next((id_ for id_ in (item.id, _float_form(item.id)) if id_ in catalog), None)
        if same is not None:
            what = f"is a duplicate of row {first_row[same]}" + ("" if same == item.id else f", id {same!r}")
            mend = "drop the row or give it another id"
            problems.append(Problem(file, row, f"id {item.id[:80]!r} {what}", mend, "id duplicate"))
            continue
        catalog[item.id], first_row[item.id] = item, row
    if not catalog and not problems:
        problems.append(Problem(file, 0, "holds no items", "write one item a row"))


def _float_form(id_: str) -> str:
    """`3.0` for `3` and the other way round: pandas turns whole numbers into floats where one of them is missing."""
    return id_.removesuffix(".0") if id_.endswith(".0") else f"{id_}.0"


def _form(id_: str) -> str:
    """What two files that write one id in two ways (`7`, `7.0`, `007`; `b7`, `B7`) still have in common."""
    return id_.casefold().removesuffix(".0").lstrip("0")


def _folded(problems: list[Problem]) -> list[Problem]:
    """A fault that is there again and again as one problem that names the further rows."""
    by_kind: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        by_kind[problem.file, problem.kind or problem.problem].append(problem)
    folded = []
    for alike in by_kind.values():
        if len(alike) <= _FEW and len({problem.problem for problem in alike}) > 1:
            folded += alike
        else:
            rows = list(dict.fromkeys(problem.row for problem in alike))
            folded.append(replace(alike[0], more=tuple(rows[1:])))
    return folded


def _item_frame(catalog: dict[str, CatalogRow]) -> pl.DataFrame:
    return pl.DataFrame(
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


def _records(folder: Path, name: str) -> tuple[str, Iterator[tuple[int, dict[str, Any] | str]]]:
    """File name, and the rows of `name`.jsonl(.gz) or `name`.parquet: an object, or what is wrong."""
    there = [path for end in ("jsonl", "jsonl.gz", "parquet") if is_there(path := folder / f"{name}.{end}")]
    if not there:
        raise DataError(f"{folder / name}.jsonl: file is missing (also as .jsonl.gz, .parquet): write it")
    if len(there) > 1:
        raise DataError(f"{folder}: holds {' and '.join(path.name for path in there)}: keep one of them")
    if there[0].suffix == ".parquet":
        rows = read_table(there[0], "write it again").iter_rows(named=True)
        return str(there[0]), enumerate(rows, start=1)
    return str(there[0]), each_json_line(read_content(there[0], MAX_FILE, "make it again"), str(there[0]))


def _given(record: dict[str, Any]) -> dict[str, Any]:
    """The fields that hold a value."""
    fields = {key: _finite(value) for key, value in record.items() if not _INDEX.fullmatch(key)}
    return {key: value for key, value in fields.items() if value is not None}


def _finite(value: Any) -> Any:
    """The value with None for NaN and infinities, which tables write where something is missing."""
    if isinstance(value, list):
        return [one if type(one) is str else _finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _validated(
    records: Iterator[tuple[int, dict[str, Any] | str]], model: type[R], file: str, problems: list[Problem]
) -> Iterator[tuple[int, R]]:
    """Row number and validated row; what is not valid goes to `problems`."""
    for row, record in records:
        if isinstance(record, str):
            what, _, mend = record.rpartition(": ")
            problems.append(Problem(file, row, what, mend, what.partition(" (")[0]))
            continue
        given = _given(record)
        try:
            yield row, model.model_validate(given)
        except ValidationError as error:
            if unknown := [key for key in given if key not in model.model_fields]:
                problems.append(Problem(file, row, *_unknown_fields(unknown, list(model.model_fields))))
            for problem in error.errors(include_url=False, include_input=False, include_context=False):
                if problem["type"] != "extra_forbidden":
                    problems.append(Problem(file, row, *_in_words(problem)))


def _unknown_fields(unknown: list[str], known: list[str]) -> tuple[str, str]:
    """Problem and mend of fields that nobody reads."""
    if len(unknown) == 1:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        mend = f"rename it to '{near[0]}'" if near else f"drop it (known: {', '.join(known)})"
        return f"unknown field {unknown[0][:80]!r}", mend
    named = ", ".join(repr(key[:80]) for key in unknown[:_FEW])
    more = f" and {len(unknown) - _FEW:,} more" if unknown[_FEW:] else ""
    return f"unknown fields {named}{more}", f"drop or rename them (known: {', '.join(known)})"


def _in_words(error: Any) -> tuple[str, str, str]:
    """Problem, mend and kind of a pydantic error."""
    key = ".".join(str(part) for part in error["loc"])
    kind = f"{error['type']} {[part for part in error['loc'] if isinstance(part, str)]}"
    if error["type"] == "missing":
        return f"field '{key}' is missing", "add it", kind
    return f"field '{key}': {error['msg'][0].lower()}{error['msg'][1:]}", "mend the value", kind


def _slate_problems(
    slate: SlateRow, catalog: dict[str, CatalogRow], forms: dict[str, str] | None
) -> Iterator[tuple[str, str, str]]:
    """Problem, mend and kind of what the catalogue (if it is whole) or another field of the slate contradicts."""
    for name in ("items", "seed_items", "history") if forms is not None else ():
        ids: list[str] = getattr(slate, name)
        for unknown in [id_ for id_ in ids if id_ not in catalog][:1]:
            what, like = f"{name}: item {unknown[:80]!r} is not in the catalogue", (forms or {}).get(_form(unknown))
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
            if (other := _float_form(slate.group)) in group_part:
                given = f"group {slate.group[:80]!r} is {other[:80]!r} in row {group_part[other][1]}"
                yield Problem(file, row, given, "write a group in the same way in all rows", "group unlike")
    if slates and None not in parts:
        for part in PARTS:
            if part not in parts:
                yield Problem(file, 0, f"part '{part}' has no rows", "give every part rows, or drop the field")
