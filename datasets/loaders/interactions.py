"""Any organisation's own log: who had which item, and when; histories are cut from it by any rule of a split.

A folder with `interactions.csv` (or `.tsv`, `.jsonl`, each also as `.gz`, or `.parquet`), one interaction a row:

- `user`, `item`: ids, text or whole numbers.
- `time`: unix seconds (milli-, micro- and nanoseconds are known by their size), ISO dates or date-times (UTC where no
  zone is named), or numbers of an order (1, 2, 3, ...); one form in the whole file. Without the column the rows of a
  user stand in order already. Ties keep the order of the file.

Beside it, if you have it, `items` in one of the same forms: `id`, `title`; optional `text`, `categories` (in `.csv` and
`.tsv` as `Home > Kitchen | Sale`). Without it an item's title is its id, and all that reads texts reads nothing.

And `interactions.toml`, for what is otherwise than usual (`datasets check FOLDER --set split=next-k --keep` writes it):

    user = "customer"        # names of the columns
    time = "bought_at"
    ignore = ["price"]       # columns that are not read
    split = "next-k"         # leave-one-out (usual), next-k, basket, global-time
    k = 5                    # and history, gap, quantile, target: docs/protocol.md
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from ..card import DatasetCard
from ..errors import DataError, SlateBenchError, UsageError
from ..files.finding import brought_folder
from ..files.reading import csv_batches, each_json_line, is_there, read_content
from ..files.table import read_table
from ..schema import CATALOG_SCHEMA, SlateDataset
from .log_checks import checked
from .rows import (
    MAX_FILE,
    Problem,
    find_table,
    finite,
    folded,
    header,
    item_table,
    ragged,
    read_items,
    refuse,
    separator,
    unknown_fields,
    whole_file,
)
from .sequences import SplitRule, build_sequences

ENDS = ("csv", "csv.gz", "tsv", "tsv.gz", "jsonl", "jsonl.gz", "parquet")
SETTINGS = "interactions.toml"
BATCH = 100_000  # JSON lines made into columns at a time
_SCHEMA = {"row": pl.UInt32, "user": pl.String, "item": pl.String, "time": pl.String}


def _names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class LogSettings(SplitRule):
    """How a log is read and split: names of its columns, columns that are not read, the rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["leave-one-out", "next-k", "basket", "global-time"] = Field("leave-one-out", alias="split")
    user: str = "user"
    item: str = "item"
    time: str = "time"
    ignore: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()

    @property
    def rule(self) -> dict[str, Any]:
        """The rule of the split, as a card's option `split` has it."""
        return self.model_dump(include=set(SplitRule.model_fields), exclude_unset=True) | {"kind": self.kind}


@dataclass(frozen=True)
class LogCheck:
    """What `check_log` found: problems, and, where there are none, what a person should know."""

    problems: list[Problem]
    notes: list[str]


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Load the folder named like the card (or by its option `folder`)."""
    if folder is None:
        raise DataError(f"dataset '{card.name}' needs its files: {card.instructions}")
    place = folder / brought_folder(card)
    settings = log_settings(place, card)
    items, rows, problems = _read(place, settings)
    refuse(problems)
    return _built(card, settings, items, rows, split_seed)


def is_log(folder: Path) -> bool:
    """Whether the folder holds a log of interactions, in whatever form."""
    return any(os.path.lexists(folder / f"interactions.{end}") for end in ENDS)


def check_log(folder: Path, card: DatasetCard, given: Mapping[str, Any] | None = None) -> LogCheck:
    """Validate a log, and split it.

    Args:
        folder: with the files.
        card: of the dataset.
        given: settings that go before those of the folder.

    Raises:
        UsageError: a setting that is none, or an impossible value.
    """
    try:
        settings = log_settings(folder, card, given)
        items, rows, problems = _read(folder, settings)
        if problems:
            return LogCheck(problems, [])
        dataset = _built(card, settings, items, rows, 0)
    except DataError as error:
        return LogCheck([whole_file(DataError(str(error).replace(f"dataset '{card.name}'", str(folder))))], [])
    return LogCheck([], list(_notes(dataset, settings, rows)))


def log_settings(folder: Path, card: DatasetCard, given: Mapping[str, Any] | None = None) -> LogSettings:
    """The settings of the card's options, those of the folder's `interactions.toml`, and those given.

    Raises:
        DataError: the file is no TOML, or holds a setting that is none.
        UsageError: the same of what is given.
    """
    path, kept = folder / SETTINGS, {}
    if is_there(path):
        try:
            kept = tomllib.loads(read_content(path, MAX_FILE).decode("utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not valid TOML ({error}): mend it") from error
    own = {key: value for key, value in card.options.items() if key not in ("folder", "split")}
    rule = dict(card.options.get("split", {}))
    values = own | ({"split": rule.pop("kind")} if "kind" in rule else {}) | rule
    _valid(values | kept, str(path), DataError)
    return _valid(values | kept | dict(given or {}), "--set", UsageError)


def keep_settings(folder: Path, given: Mapping[str, Any]) -> Path:
    """Write these settings (valid ones) into the folder's file, over those of the same names."""
    path = folder / SETTINGS
    kept = tomllib.loads(read_content(path, MAX_FILE).decode("utf-8-sig")) if is_there(path) else {}
    # a JSON value of these kinds is a TOML value
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in (kept | dict(given)).items()]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _valid(values: Mapping[str, Any], where: str, kind: type[SlateBenchError]) -> LogSettings:
    try:
        return LogSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            known = ["split" if key == "kind" else key for key in LogSettings.model_fields]
            what, mend = unknown_fields([name], known)
            raise kind(f"{where}: {what.replace('field', 'setting')}: {mend}") from error
        raise kind(f"{where}: setting '{name}': {first['msg'][0].lower()}{first['msg'][1:]}: mend it") from error


def _built(
    card: DatasetCard, settings: LogSettings, items: pl.DataFrame, rows: pl.DataFrame, split_seed: int
) -> SlateDataset:
    rule = settings.rule
    words = ", ".join([rule["kind"], *(f"{key} {value}" for key, value in rule.items() if key != "kind")])
    card = card.model_copy(update={"options": card.options | {"split": rule}, "split": words})
    return build_sequences(card, items, rows, split_seed)


def _notes(dataset: SlateDataset, settings: LogSettings, rows: pl.DataFrame) -> Iterator[str]:
    """What was found, and what is right but may be a surprise."""
    users, asked = rows["user"].n_unique(), dataset.test.requests["group"].n_unique()
    yield (
        f"{rows.height:,} interactions of {users:,} users with {len(dataset.catalog):,} items; "
        f"split {dataset.card.split}: {len(dataset.valid):,} requests of validation, {len(dataset.test):,} of test"
    )
    if asked < users:
        yield f"{users - asked:,} of {users:,} users have no test request: too short a history for '{settings.kind}'"
    if rows["time"].null_count():
        yield "no times: the rows of a user are taken to stand in order"
    if dataset.catalog.ids == dataset.catalog.titles:
        yield (
            "titles are ids (no items file): nothing can be read from texts, so text vectors and BM25 mean little; "
            "item vectors are made of who had what (Word2Vec, PPMI)"
        )


# --- reading -----------------------------------------------------------------------------------------


def _read(folder: Path, settings: LogSettings) -> tuple[pl.DataFrame, pl.DataFrame, list[Problem]]:
    """Items, interactions (`user`, `item`, `time`), and all problems, those of one kind as one."""
    problems: list[Problem] = []
    items = rows = pl.DataFrame()
    try:
        catalog = None
        if any(is_there(folder / f"items.{end}") for end in ENDS):
            catalog = read_items(folder, "items", ENDS, problems, ignored=settings.ignore)
        known = None if catalog is None or problems else (find_table(folder, "items", ENDS).name, list(catalog))
        path = find_table(folder, "interactions", ENDS)
        columns = {"user": settings.user, "item": settings.item, "time": settings.time}
        rows = checked(_columns(path, settings, problems), columns, str(path), known, problems)
        if rows.is_empty() and not problems:
            problems.append(Problem(str(path), 0, "holds no interactions", "write one a row"))
        if not problems:
            items = _id_items(rows["item"]) if catalog is None else item_table(catalog)
    except DataError as error:
        problems.append(whole_file(error))
    return items, rows, folded(problems)


def _id_items(ids: pl.Series) -> pl.DataFrame:
    """Items of which nothing but the id is known."""
    id_ = pl.col("id")
    found = ids.unique(maintain_order=True).alias("id").to_frame()
    return found.select(id_, title=id_, text=id_, categories=pl.lit([], CATALOG_SCHEMA["categories"]))


def _columns(path: Path, settings: LogSettings, problems: list[Problem]) -> pl.DataFrame:
    """`row`, `user`, `item`, `time` as the file has them; ids are text."""
    if path.suffix == ".parquet":
        return _of_parquet(path, settings, problems)
    content = read_content(path, MAX_FILE, "make it again")
    between = separator(path)
    if between is None:
        batches = _of_json(content, path, settings, problems)
    else:
        batches = _of_text(content, between, path, settings, problems)
    return pl.concat([pl.DataFrame(schema=_SCHEMA), *batches])


def _known_columns(names: list[str], settings: LogSettings, file: str, row: int, problems: list[Problem]) -> None:
    """Tell columns that nobody reads.

    Raises:
        DataError: there is none with the users, the items, or the times that the settings name.
    """
    wanted = [settings.user, settings.item]
    wanted += [settings.time] if "time" in settings.model_fields_set else []
    named = {getattr(settings, key): key for key in ("user", "item", "time")}
    place = f"{file}, row {row}" if row else file
    for name in wanted:
        if name not in names:
            there = ", ".join(repr(one[:80]) for one in names[:8]) or "none"
            mend = f"name the columns in the first row, or say which it is (--set {named[name]}=NAME)"
            raise DataError(f"{place}: column {name[:80]!r} is missing (there are {there}): {mend}")
    if unknown := [name for name in names if name not in (*named, *settings.ignore)]:
        what, mend = unknown_fields(unknown, list(named))
        problems.append(Problem(file, row, what, f"{mend}, or name it in the setting 'ignore'"))


def _of_text(
    content: bytes, between: str, path: Path, settings: LogSettings, problems: list[Problem]
) -> Iterator[pl.DataFrame]:
    file, names = str(path), list[str]()
    for first, rows in csv_batches(content, between, file):
        start = 0
        while not names and start < len(rows):
            head, start = rows[start], start + 1
            if isinstance(head, str):
                raise DataError(f"{file}, row {first + start - 1}: {head}")
            if head:
                names = header(head, file)
                _known_columns(names, settings, file, first + start - 1, problems)
        bad = {i for i in range(start, len(rows)) if isinstance(rows[i], str) or len(rows[i]) != len(names)}
        for i in sorted(bad):
            row = rows[i]
            if row:  # else an empty line
                faulty = row if isinstance(row, str) else ragged(row, names)
                problems.append(_row_problem(file, first + i, faulty))
        good = [i for i in range(start, len(rows)) if i not in bad] if bad else range(start, len(rows))
        columns = zip(*(rows[i] for i in good), strict=True)
        fields = dict(zip(names, columns, strict=False))  # no columns where there is no row
        found = {key: fields.get(getattr(settings, key)) for key in ("user", "item", "time")}
        yield _frame([first + i for i in good], found)


def _of_json(content: bytes, path: Path, settings: LogSettings, problems: list[Problem]) -> Iterator[pl.DataFrame]:
    file = str(path)
    lines = each_json_line(content, file)
    wanted = (settings.user, settings.item, settings.time)
    seen: dict[str, None] = {}
    while batch := list(islice(lines, BATCH)):
        numbers, columns = list[int](), tuple(list[Any]() for _ in wanted)
        for row, record in batch:
            if isinstance(record, str):
                problems.append(_row_problem(file, row, record))
                continue
            if record.keys() - seen.keys():
                seen |= dict.fromkeys(record)
            numbers.append(row)
            for name, column in zip(wanted, columns, strict=True):
                column.append(record.get(name))
        texts = {key: _texts(column, name, numbers, file, problems)
                 for key, name, column in zip(("user", "item", "time"), wanted, columns, strict=True)}  # fmt: skip
        yield _frame(numbers, texts)
    if seen:
        _known_columns(list(seen), settings, file, 0, problems)


def _of_parquet(path: Path, settings: LogSettings, problems: list[Problem]) -> pl.DataFrame:
    file, table = str(path), read_table(path, "write it again")
    index = [name for name in table.columns if name.startswith("__index_level_")]
    table = table.drop(index)
    _known_columns(table.columns, settings, file, 0, problems)
    ids = {key: _ids(table[name], name, file) for key, name in (("user", settings.user), ("item", settings.item))}
    time = table[settings.time] if settings.time in table.columns else pl.Series([None] * table.height, dtype=pl.String)
    row = pl.int_range(1, table.height + 1, dtype=pl.UInt32, eager=True)
    return pl.DataFrame({"row": row, **ids, "time": time})


def _frame(numbers: list[int], columns: Mapping[str, Any]) -> pl.DataFrame:
    """A column that is not there holds nothing."""
    values = {key: [None] * len(numbers) if column is None else column for key, column in columns.items()}
    return pl.DataFrame({"row": numbers, **values}, schema=_SCHEMA)


def _row_problem(file: str, row: int, faulty: str) -> Problem:
    what, _, mend = faulty.rpartition(": ")
    return Problem(file, row, what, mend, what.partition(" (")[0])


def _texts(values: list[Any], name: str, numbers: list[int], file: str, problems: list[Problem]) -> list[str | None]:
    """JSON values as text; numbers that are none are missing."""
    texts: list[str | None] = []
    for row, value in zip(numbers, values, strict=True):
        if type(value) is str:
            texts.append(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            texts.append(None if finite(value) is None else str(value))
        else:
            texts.append(None)
            if value is not None:
                what = f"field {name!r} is {json.dumps(value)[:80]}"
                problems.append(Problem(file, row, what, "write text or a number", f"{name} no text"))
    return texts


def _ids(column: pl.Series, name: str, file: str) -> pl.Series:
    """Ids of a Parquet file as text.

    Raises:
        DataError: a column of another kind, or of numbers that have lost digits.
    """
    if column.dtype.is_float():
        column = column.set(~column.is_finite(), None)
        if (column.abs() >= 2**53).any():
            raise DataError(f"{file}: column {name!r} holds floats too large to be exact: write ids as text")
    elif not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise DataError(f"{file}: column {name!r} is {column.dtype}: write text or whole numbers")
    return column.cast(pl.String)
