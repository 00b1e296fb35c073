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
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from ..card import DatasetCard
from ..errors import DataError, SlateBenchError, UsageError
from ..files.finding import brought_folder
from ..files.reading import is_there, read_content
from ..schema import CATALOG_SCHEMA, SlateDataset
from .log_checks import checked
from .log_columns import LogSettings, read_columns
from .rows import (
    MAX_FILE,
    Problem,
    find_table,
    folded,
    item_table,
    read_items,
    refuse,
    unknown_fields,
    whole_file,
)
from .sequences import build_sequences

ENDS = ("csv", "csv.gz", "tsv", "tsv.gz", "jsonl", "jsonl.gz", "parquet")
SETTINGS = "interactions.toml"
_NUMBERS = {
    "leave-one-out": (),
    "next-k": ("k", "history"),
    "basket": ("gap",),
    "global-time": ("quantile", "history", "target"),
}  # what each rule of a split asks for


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
    there = {key: value for key, value in (kept | dict(given)).items() if value is not None}
    # a JSON value of these kinds is a TOML value
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in there.items()]
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
    words = ", ".join([settings.kind, *(f"{key} {rule[key]}" for key in _NUMBERS[settings.kind] if key in rule)])
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
    items, rows, log = pl.DataFrame(), pl.DataFrame(), folder
    try:
        catalog = None
        if any(is_there(folder / f"items.{end}") for end in ENDS):
            catalog = read_items(folder, "items", ENDS, problems, ignored=settings.ignore)
        known = None if catalog is None or problems else (find_table(folder, "items", ENDS).name, list(catalog))
        log = find_table(folder, "interactions", ENDS)
        columns = {"user": settings.user, "item": settings.item, "time": settings.time}
        rows = checked(read_columns(log, settings, problems), columns, str(log), known, problems)
        if rows.is_empty() and not problems:
            problems.append(Problem(str(log), 0, "holds no interactions", "write one a row"))
        if not problems:
            items = _id_items(rows["item"]) if catalog is None else item_table(catalog)
    except DataError as error:
        problems.append(whole_file(error))
    return items, rows, sorted(folded(problems), key=lambda problem: (problem.file == str(log), problem.row))


def _id_items(ids: pl.Series) -> pl.DataFrame:
    """Items of which nothing but the id is known."""
    id_ = pl.col("id")
    found = ids.unique(maintain_order=True).alias("id").to_frame()
    return found.select(id_, title=id_, text=id_, categories=pl.lit([], CATALOG_SCHEMA["categories"]))
