"""Amazon reviews 2014, 5-core, in the sequence files of S3-Rec: what generative recommenders are compared on.

Three files per domain: the sequences (`user item item ...`, a line per user, oldest first), the items (a table with
ASIN, title and categories), and, where there are any, the days of the interactions.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from ..card import CardFile, DatasetCard
from ..errors import DataError
from ..files.reading import decode, read_card_file
from ..schema import SlateDataset
from ..text import clean, item_text
from .sequences import build_sequences


def load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset:
    """Load the domain whose files the card names.

    The order of a sequence is the file's: it is that of time, and within a day that of the ASIN. Users whose days are
    unknown keep it as well.
    """
    if folder is None:
        raise DataError(f"dataset '{card.name}' needs its files: {card.instructions}")
    files = {Path(file.path).stem: file for file in card.files}
    times = files.pop("timestamps", None)
    table = files.pop("items")
    (sequences,) = files.values()
    rows = _sequences(folder, sequences)
    if times is not None:
        known = _table(folder, times, ["user_id", "item_id", "unix_time"]).select(
            user="user_id", item="item_id", time=pl.col("unix_time").cast(pl.Int64, strict=False)
        )
        rows = rows.join(known, on=["user", "item"], how="left", maintain_order="left")
    else:
        rows = rows.with_columns(time=pl.lit(None, pl.Int64))
    items = _table(folder, table, ["item_id", "asin", "title", "categories", "llm_keywords"])
    ids = dict(items.select("item_id", "asin").iter_rows())
    rows = rows.with_columns(item=pl.col("item").replace_strict(ids, default=None, return_dtype=pl.String))
    if rows["item"].null_count():
        raise DataError(f"{sequences.path}: an item that {table.path} does not know: take both from the same place")
    return build_sequences(card, _items(items, table.path), rows, split_seed)


def _sequences(folder: Path, file: CardFile) -> pl.DataFrame:
    """User and item of every interaction, in the file's order."""
    rows = []
    for number, line in enumerate(decode(read_card_file(folder, file), file.path).split("\n"), start=1):
        if not line.strip():
            continue
        user, *items = line.split()
        if not items:
            raise DataError(f"{file.path}, row {number}: a user without items: fetch the file again")
        rows += [(user, item) for item in items]
    return pl.DataFrame(rows, schema={"user": pl.String, "item": pl.String}, orient="row")


def _table(folder: Path, file: CardFile, columns: list[str]) -> pl.DataFrame:
    """These columns of a tab-separated file with a header, all strings; empty fields are empty strings."""
    head, *rows = [line.split("\t") for line in decode(read_card_file(folder, file), file.path).split("\n") if line]
    if not set(columns) <= set(head) or any(len(row) != len(head) for row in rows):
        raise DataError(f"{file.path}: not the expected table with columns {', '.join(columns)}: fetch the file again")
    return pl.DataFrame(rows, schema=dict.fromkeys(head, pl.String), orient="row").select(columns)


def _items(table: pl.DataFrame, file: str) -> pl.DataFrame:
    """The catalogue: without a title, the keywords that others have drawn from it stand in, else the ASIN."""
    rows = []
    for number, (asin, title, paths, keywords) in enumerate(
        table.select("asin", "title", "categories", "llm_keywords").iter_rows(), start=2
    ):
        try:
            names = [[clean(name) for name in path] for path in json.loads(paths or "[]")]
        except (ValueError, TypeError) as error:
            raise DataError(f"{file}, row {number}: categories are no JSON ({error}): fetch the file again") from error
        shown = clean(title) or clean(keywords) or asin
        rows.append((asin, shown, item_text(shown, names), names))
    return pl.DataFrame(
        rows,
        schema={"id": pl.String, "title": pl.String, "text": pl.String, "categories": pl.List(pl.List(pl.String))},
        orient="row",
    )
