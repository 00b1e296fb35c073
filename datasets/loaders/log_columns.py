"""The columns of a log: users, items and times as a file has them, in whatever form it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BeforeValidator, ConfigDict, Field

from ..errors import DataError
from ..files.reading import csv_batches, each_json_line, read_content
from ..files.table import read_plain, read_table
from ..output import is_text
from .rows import INDEX, MAX_FILE, Problem, finite, header, ragged, row_problem, separator, unknown_fields
from .sequences import SplitRule

KEYS = ("user", "item", "time")
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


def read_columns(path: Path, settings: LogSettings, problems: list[Problem]) -> pl.DataFrame:
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
    named = {getattr(settings, key): key for key in KEYS}
    place = f"{file}, row {row}" if row else file
    for name in wanted:
        if name not in names:
            there = ", ".join(repr(one[:80]) for one in names[:8]) or "none"
            mend = f"rename a column, or say which it is (--set {named[name]}=NAME)"
            raise DataError(f"{place}: column {name[:80]!r} is missing (there are {there}): {mend}")
    known = (*named, *settings.ignore)
    if unknown := [name for name in names if name not in known and not INDEX.fullmatch(name)]:
        what, mend = unknown_fields(unknown, list(named))
        problems.append(Problem(file, row, what, f"{mend}, or name it in the setting 'ignore'"))


def _of_text(
    content: bytes, between: str, path: Path, settings: LogSettings, problems: list[Problem]
) -> Iterator[pl.DataFrame]:
    file, names = str(path), list[str]()
    if plain := read_plain(content, between):
        names, table = header(plain[0], file), plain[1]
        _known_columns(names, settings, file, 1, problems)
        found = {key: table.to_series(names.index(name)) for key in KEYS if (name := getattr(settings, key)) in names}
        yield _frame(range(2, table.height + 2), found)
        return
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
                problems.append(row_problem(file, first + i, faulty))
        good = [i for i in range(start, len(rows)) if i not in bad] if bad else range(start, len(rows))
        columns = zip(*(rows[i] for i in good), strict=True)
        fields = dict(zip(names, columns, strict=False))  # no columns where there is no row
        found = {key: fields[name] for key in KEYS if (name := getattr(settings, key)) in fields}
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
                problems.append(row_problem(file, row, record))
                continue
            if record.keys() - seen.keys():
                seen |= dict.fromkeys(record)
            numbers.append(row)
            for name, column in zip(wanted, columns, strict=True):
                column.append(record.get(name))
        told = len(problems)
        texts = {key: _texts(column, name, numbers, file, problems)
                 for key, name, column in zip(KEYS, wanted, columns, strict=True)}  # fmt: skip
        faulty = [problem.row for problem in problems[told:]]
        yield _frame(numbers, texts).filter(~pl.col("row").is_in(faulty))
    if seen:
        _known_columns(list(seen), settings, file, 0, problems)


def _of_parquet(path: Path, settings: LogSettings, problems: list[Problem]) -> pl.DataFrame:
    file, table = str(path), read_table(path, "write it again")
    _known_columns(table.columns, settings, file, 0, problems)
    ids = {key: _ids(table[name], name, file) for key, name in (("user", settings.user), ("item", settings.item))}
    time = table[settings.time] if settings.time in table.columns else pl.Series([None] * table.height, dtype=pl.String)
    row = pl.int_range(1, table.height + 1, dtype=pl.UInt32, eager=True)
    return pl.DataFrame({"row": row, **ids, "time": time})


def _frame(numbers: Sequence[int], found: Mapping[str, Any]) -> pl.DataFrame:
    """Rows of these numbers; a column that is not found holds nothing."""
    columns = [pl.Series(key, values, _SCHEMA[key]) for key, values in {"row": numbers, **found}.items()]
    lacking = [pl.lit(None, _SCHEMA[key]).alias(key) for key in KEYS if key not in found]
    return pl.DataFrame(columns).with_columns(lacking).select(*_SCHEMA)


def _texts(values: list[Any], name: str, numbers: list[int], file: str, problems: list[Problem]) -> list[str | None]:
    """JSON values as text; numbers that are none are missing."""
    texts: list[str | None] = []
    for row, value in zip(numbers, values, strict=True):
        if type(value) is str and (value.isascii() or is_text(value)):
            texts.append(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            texts.append(None if finite(value) is None else str(value))
        else:
            texts.append(None)
            if value is not None:
                what = f"field {name!r} is {ascii(value)[:80]}"
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
