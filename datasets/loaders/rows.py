"""A user's own files, row by row: rows that are validated, and what is wrong with them, a line for each kind of fault.

Null, NaN and infinity are missing values; the index columns that pandas writes by itself are no fields.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import polars as pl
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from ..errors import DataError
from ..files.reading import MAX_FIELD, csv_batches, each_json_line, is_there, read_content
from ..files.table import read_table
from ..text import composed, item_text, normalised

MAX_FILE = 8 << 30  # bytes, unpacked
INDEX = re.compile(r"(__index_level_\d+__|Unnamed: \d+)?")  # the names that pandas gives to its index
FEW = 3  # faults of one kind that are told one by one
SEPARATORS = {".csv": ",", ".tsv": "\t"}


def _seen(text: str) -> str:
    """The text in its one form, of which something must be left."""
    if not normalised(text):
        raise PydanticCustomError("unseen", "Holds no character that can be seen")
    return composed(text).strip()


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_FIELD),
                  AfterValidator(_seen)]  # fmt: skip


class Row(BaseModel):
    """One row of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


R = TypeVar("R", bound=Row)


class CatalogRow(Row):
    """One item."""

    id: Text
    title: Text
    text: Text | None = None
    categories: list[Annotated[list[Text], Field(min_length=1)]] = []


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
        rows = ", ".join(map(str, self.more[:FEW])) + (", ..." if self.more[FEW:] else "")
        likewise = f" (likewise in {len(self.more):,} more: rows {rows})" if self.more else ""
        return f"{place}: {self.problem}: {self.mend}{likewise}"


def whole_file(error: DataError) -> Problem:
    """The problem of a file as a whole: the rest can't be checked."""
    name, _, problem = str(error).partition(": ")
    what, _, mend = problem.rpartition(": ")
    return Problem(name, 0, what or problem, mend or "mend the file")


def row_problem(file: str, row: int, faulty: str) -> Problem:
    """The problem of a row that can't be read: `what: mend`."""
    what, _, mend = faulty.rpartition(": ")
    return Problem(file, row, what, mend, what.partition(" (")[0])


def refuse(problems: list[Problem]) -> None:
    """Raise the first problem, if there is one, and say how many more there are."""
    if problems:
        rest = len(problems) - 1
        more = f" (and {rest:,} more: `slatebench datasets check FOLDER` lists them)" if rest else ""
        raise DataError(f"{problems[0]}{more}")


def folded(problems: list[Problem]) -> list[Problem]:
    """A fault that is there again and again as one problem that names the further rows."""
    by_kind: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        by_kind[problem.file, problem.kind or problem.problem].append(problem)
    folded = []
    for alike in by_kind.values():
        if len(alike) <= FEW and len({problem.problem for problem in alike}) > 1:
            folded += alike
        else:
            rows = list(dict.fromkeys(row for problem in alike for row in (problem.row, *problem.more)))
            folded.append(replace(alike[0], more=tuple(rows[1:])))
    return folded


def read_items(
    folder: Path, name: str, ends: Collection[str], problems: list[Problem], *, ignored: Collection[str] = ()
) -> dict[str, CatalogRow]:
    """The items of the file `name`, by id."""
    catalog: dict[str, CatalogRow] = {}
    file, records = read_records(folder, name, ends)
    first_row: dict[str, int] = {}
    for row, item in validated(records, CatalogRow, file, problems, ignored=ignored):
        same = next((id_ for id_ in (item.id, float_form(item.id)) if id_ in catalog), None)
        if same is not None:
            what = f"is a duplicate of row {first_row[same]}" + ("" if same == item.id else f", id {same!r}")
            mend = "drop the row or give it another id"
            problems.append(Problem(file, row, f"id {item.id[:80]!r} {what}", mend, "id duplicate"))
            continue
        catalog[item.id], first_row[item.id] = item, row
    if not catalog and not problems:
        problems.append(Problem(file, 0, "holds no items", "write one item a row"))
    return catalog


def item_table(catalog: dict[str, CatalogRow]) -> pl.DataFrame:
    """The items as loaders hand them on."""
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


def float_form(id_: str) -> str:
    """`3.0` for `3` and the other way round: pandas turns whole numbers into floats where one of them is missing."""
    return id_.removesuffix(".0") if id_.endswith(".0") else f"{id_}.0"


def form(id_: str) -> str:
    """What two files that write one id in two ways (`7`, `7.0`, `007`; `b7`, `B7`) still have in common."""
    return id_.casefold().removesuffix(".0").lstrip("0")


def find_table(folder: Path, name: str, ends: Collection[str]) -> Path:
    """The one file of that name with one of these ends.

    Raises:
        DataError: there is none, or more than one.
    """
    there = [path for end in ends if is_there(path := folder / f"{name}.{end}")]
    if not there:
        first, *others = ends
        more = ", ".join(f".{end}" for end in others)
        raise DataError(f"{folder / name}.{first}: file is missing (also as {more}): write it")
    if len(there) > 1:
        raise DataError(f"{folder}: holds {' and '.join(path.name for path in there)}: keep one of them")
    return there[0]


def separator(path: Path) -> str | None:
    """What stands between the fields of the file; None where it is no table of text."""
    return SEPARATORS.get(Path(path.name.removesuffix(".gz")).suffix)


def read_records(
    folder: Path, name: str, ends: Collection[str]
) -> tuple[str, Iterator[tuple[int, dict[str, Any] | str]]]:
    """File name, and the rows of the file: an object, or what is wrong."""
    path = find_table(folder, name, ends)
    if path.suffix == ".parquet":
        return str(path), enumerate(read_table(path, "write it again").iter_rows(named=True), start=1)
    content = read_content(path, MAX_FILE, "make it again")
    if between := separator(path):
        return str(path), _csv_records(content, between, str(path))
    return str(path), each_json_line(content, str(path))


def _csv_records(content: bytes, between: str, file: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of a table of text; an empty field is a missing one."""
    names: list[str] = []
    for first, rows in csv_batches(content, between, file):
        for number, row in enumerate(rows, first):
            if isinstance(row, str):
                yield number, row
            elif not row:  # an empty line
                continue
            elif not names:
                names = header(row, file)
            elif len(row) != len(names):
                yield number, ragged(row, names)
            else:
                record: dict[str, Any] = {name: value for name, value in zip(names, row, strict=True) if value.strip()}
                if "categories" in record:
                    record["categories"] = _paths(record["categories"])
                yield number, record


def header(row: list[str], file: str) -> list[str]:
    """The names of a table's columns.

    Raises:
        DataError: a name is given twice.
    """
    names = [name.strip() for name in row]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{file}, row 1: column {twice[:80]!r} is given twice: keep it once")
    return names


def ragged(row: list[str], names: list[str]) -> str:
    """What is wrong with a row of another length than the header's."""
    return f"row has {len(row)} fields ({len(names)} in the header): mend the row"


def _paths(cell: str) -> Any:
    """Category paths of one field: JSON, or `Home > Kitchen | Sale`.

    >>> _paths("Home > Kitchen | Sale")
    [['Home', 'Kitchen'], ['Sale']]
    """
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell  # no list: the row's fault
    return [[name.strip() for name in path.split(">")] for path in cell.split("|")]


def _given(record: dict[str, Any]) -> dict[str, Any]:
    """The fields that hold a value."""
    fields = {key: finite(value) for key, value in record.items() if not INDEX.fullmatch(key)}
    return {key: value for key, value in fields.items() if value is not None}


def finite(value: Any) -> Any:
    """The value with None for NaN and infinities, which tables write where something is missing."""
    if isinstance(value, list):
        return [one if type(one) is str else finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def validated(
    records: Iterator[tuple[int, dict[str, Any] | str]],
    model: type[R],
    file: str,
    problems: list[Problem],
    *,
    ignored: Collection[str] = (),
) -> Iterator[tuple[int, R]]:
    """Row number and validated row; what is not valid goes to `problems`."""
    for row, record in records:
        if isinstance(record, str):
            problems.append(row_problem(file, row, record))
            continue
        given = {key: value for key, value in _given(record).items() if key not in ignored}
        try:
            yield row, model.model_validate(given)
        except ValidationError as error:
            if unknown := [key for key in given if key not in model.model_fields]:
                problems.append(Problem(file, row, *unknown_fields(unknown, list(model.model_fields))))
            for problem in error.errors(include_url=False, include_input=False, include_context=False):
                if problem["type"] != "extra_forbidden":
                    problems.append(Problem(file, row, *_in_words(problem)))


def unknown_fields(unknown: list[str], known: list[str]) -> tuple[str, str]:
    """Problem and mend of fields that nobody reads."""
    if len(unknown) == 1:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        mend = f"rename it to '{near[0]}'" if near else f"drop it (known: {', '.join(known)})"
        return f"unknown field {unknown[0][:80]!r}", mend
    named = ", ".join(repr(key[:80]) for key in unknown[:FEW])
    more = f" and {len(unknown) - FEW:,} more" if unknown[FEW:] else ""
    return f"unknown fields {named}{more}", f"drop or rename them (known: {', '.join(known)})"


def _in_words(error: Any) -> tuple[str, str, str]:
    """Problem, mend and kind of a pydantic error."""
    key = ".".join(str(part) for part in error["loc"])
    kind = f"{error['type']} {[part for part in error['loc'] if isinstance(part, str)]}"
    if error["type"] == "missing":
        return f"field '{key}' is missing", "add it", kind
    return f"field '{key}': {error['msg'][0].lower()}{error['msg'][1:]}", "mend the value", kind
