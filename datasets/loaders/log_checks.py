"""What can be wrong in the rows of a log; all rows are looked at together, for a log may hold millions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from ..build import composed_frame
from ..text import normalised
from .rows import Problem, float_form, form
from .times import read_times

NOTHING = ["", "nan", "NaN", "null", "NULL", "none", "None", "<NA>"]  # what programs write where a value is missing

Say = Callable[[dict[str, Any]], tuple[str, str]]  # problem and mend of a row


class _Log:
    """Rows, those that are right so far, and what is wrong with the others."""

    def __init__(self, rows: pl.DataFrame, file: str, problems: list[Problem]) -> None:
        self.rows, self.file, self.problems = rows, file, problems

    def refuse(self, wrong: pl.Expr, kind: str, say: Say) -> None:
        """Take out the rows of that fault, and tell the first."""
        faulty = self.rows.filter(wrong)
        if faulty.is_empty():
            return
        what, mend = say(faulty.row(0, named=True))
        self.problems.append(Problem(self.file, faulty["row"][0], what, mend, kind, tuple(faulty["row"][1:])))
        self.rows = self.rows.filter(~wrong.fill_null(False))

    def first_row(self, **values: Any) -> int:
        """The number of the first row that holds these values."""
        return self.rows.filter(**values)["row"][0]


def checked(
    rows: pl.DataFrame,
    names: dict[str, str],
    file: str,
    catalog: tuple[str, list[str]] | None,
    problems: list[Problem],
) -> pl.DataFrame:
    """The rows that are right, as `build_sequences` takes them; the others go to `problems`.

    Args:
        rows: `row` (its number in the file), `user`, `item` (text), `time` (anything).
        names: what the file calls these columns.
        file: its name.
        catalog: name of the file of the items and their ids, where there is one and it is right.
        problems: filled.
    """
    stripped = rows.with_columns(pl.col("user", "item").str.strip_chars())
    log = _Log(composed_frame(stripped, ["user", "item"]), file, problems)
    for key in ("user", "item"):
        _ids(log, key, names[key])
    if catalog is not None:
        _items(log, names["item"], *catalog)
    _times(log, names["time"])
    return log.rows.select("user", "item", "time")


def _ids(log: _Log, key: str, name: str) -> None:
    """Ids that are missing, can't be seen, or are written in two ways."""
    column = pl.col(key)
    log.refuse(
        column.is_null() | column.is_in(NOTHING),
        f"{key} missing",
        lambda row: (f"{name!r} is empty" if not row[key] else f"{name!r} is {row[key]!r}", "add it, or drop the row"),
    )
    log.refuse(
        column.str.contains("\0", literal=True),
        f"{key} NUL",
        lambda row: (f"{name} {row[key][:80]!r} holds a NUL byte", "mend the value"),
    )
    ids = log.rows[key].unique()
    signs = ids.filter(ids.str.len_bytes() != ids.str.len_chars())
    unseen = signs.filter(pl.Series([not normalised(id_) for id_ in signs], dtype=pl.Boolean))
    log.refuse(
        column.is_in(unseen.implode()),
        f"{key} unseen",
        lambda row: (f"{name} {row[key][:80]!r} holds no character that can be seen", "mend the value"),
    )
    # pandas turns whole numbers into floats where one of them is missing
    whole = ids.filter(ids.str.ends_with(".0")).str.strip_suffix(".0")
    twice = whole.filter(whole.is_in(ids.implode())) + ".0"
    log.refuse(
        column.is_in(twice.implode()),
        f"{key} in two forms",
        lambda row: (
            f"{name} {row[key][:80]!r} is the {float_form(row[key])[:80]!r} of other rows "
            f"(row {log.first_row(**{key: float_form(row[key])})})",
            "write an id in the same way in all rows",
        ),
    )


def _items(log: _Log, name: str, file: str, ids: list[str]) -> None:
    """Items that the catalogue does not have, or has in another form."""
    found = log.rows["item"].unique()
    unknown = found.filter(~found.is_in(pl.Series(ids, dtype=pl.String).implode()))
    if unknown.is_empty():
        return
    forms = {form(id_): id_ for id_ in ids}
    unlike = unknown.filter(pl.Series([form(id_) in forms for id_ in unknown], dtype=pl.Boolean))
    log.refuse(
        pl.col("item").is_in(unlike.implode()),
        "item unlike",
        lambda row: (
            f"{name} {row['item'][:80]!r} is not in {file} (it has {forms[form(row['item'])][:80]!r})",
            "write an id in the same way in both files",
        ),
    )
    log.refuse(
        pl.col("item").is_in(unknown.implode()),
        "item unknown",
        lambda row: (f"{name} {row['item'][:80]!r} is not in {file}", "add it there, or drop the row"),
    )


def _times(log: _Log, name: str) -> None:
    """Times that are missing in some rows, can't be read, can be no times, or are written in two forms; rows twice."""
    given = log.rows["time"]
    if given.dtype.is_float():
        given = given.fill_nan(None)
    if given.dtype == pl.String:
        given = given.str.strip_chars()
        given = given.set(given.is_in(NOTHING), None)
    log.rows = log.rows.with_columns(given=given).drop("time").hstack(read_times(given))
    if given.null_count() == len(given):  # no times at all
        log.rows = log.rows.with_columns(time=pl.lit(None, pl.Int64))
        return

    def shown(row: dict[str, Any]) -> str:
        return f"{name} {str(row['given'])[:80]!r}"

    log.refuse(
        pl.col("given").is_null(),
        "time missing",
        lambda row: (f"{name!r} is empty though other rows have it", "add it, or drop the row (or the column)"),
    )
    log.refuse(
        pl.col("seconds").is_null(),
        "time unreadable",
        lambda row: (f"{shown(row)} is no time", "write unix seconds, or 2024-03-01T10:00:00"),
    )
    log.refuse(
        pl.col("form").is_null() & (pl.col("seconds") < 0),
        "time negative",
        lambda row: (f"{shown(row)} lies before 1970", "mend it, or drop the row"),
    )
    log.refuse(
        pl.col("form").is_null(),
        "time absurd",
        lambda row: (f"{shown(row)} lies after 2099 in any unit", "mend it, or drop the row"),
    )
    forms = log.rows["form"].value_counts().sort("count", "form", descending=True)["form"].to_list()
    for other in forms[1:]:
        log.refuse(
            pl.col("form") == other,
            f"time {other}",
            lambda row: (
                f"{shown(row)} reads as {row['form']}, most rows as {forms[0]} (row {log.first_row(form=forms[0])})",
                "write all times in one form",
            ),
        )
    log.rows = log.rows.rename({"seconds": "time"})
    key = ["user", "item", "time"]
    log.refuse(
        ~pl.struct(key).is_first_distinct(),
        "row twice",
        lambda row: (
            f"is the same as row {log.first_row(**{name: row[name] for name in key})}",
            "keep it once",
        ),
    )
