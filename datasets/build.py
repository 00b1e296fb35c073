"""The last step of every loader: items and slates in, a checked `SlateDataset` out.

A loader is a function `load(card: DatasetCard, folder: Path | None, split_seed: int) -> SlateDataset`, named by the
card (`loader = "bundle:load"` for a module of this package, `"my_package.data:load"` for a plug-in). `folder` is the
data folder that holds the card's files (as in `SLATEBENCH_DATA`); synthetic loaders get None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from .card import DatasetCard
from .errors import DataError, UsageError
from .schema import (
    CATALOG_SCHEMA,
    PARTS,
    REFERENCE_SCHEMA,
    REQUEST_SCHEMA,
    Catalog,
    Part,
    PartName,
    Repeats,
    SlateDataset,
)
from .split import hash_order
from .text import NEEDLESS

Loader = Callable[[DatasetCard, Path | None, int], SlateDataset]

ITEM_COLUMNS = [column for column in CATALOG_SCHEMA if column != "train_count"]
ID_LISTS = ["history", "seed_items"]


def build_dataset(card: DatasetCard, items: pl.DataFrame, slates: pl.DataFrame, split_seed: int) -> SlateDataset:
    """Check items and slates, count the train slates per item, and put the dataset together.

    Args:
        card: the dataset's card (name, source and slate length come from it).
        items: one row per item, in catalogue order: `id`, `title`, `text`, `categories`.
        slates: one row per request: `request`, `prompt`, `history`, `seed_items`, `group`, `items`, `part`.
            The three item columns are lists of original ids (String) or of row numbers of `items` (integers);
            `history` and `seed_items` may be left out (empty).
        split_seed: the seed the parts were made with.

    Raises:
        DataError: duplicate id, unknown item, empty slate, item repeated in a slate, unknown or empty part.
    """
    where = f"dataset '{card.name}'"
    items = item_frame(items, where)
    slates = composed_frame(slates, ["request", "prompt", "group", "items", *ID_LISTS])
    _need_columns(slates, ["request", "prompt", "group", "items", "part"], f"{where}, slates")
    _no_repeats(slates["request"], f"{where}: request id")

    columns = {name: slates[name] if name in slates.columns else None for name in (*ID_LISTS, "items")}
    rows = slates.select("request", "prompt", "group", "part").with_columns(
        _row_numbers(name, column, slates["request"], items["id"], where) for name, column in columns.items()
    )
    _check_slates(rows, where)

    counts = train_counts(rows.filter(part="train")["items"], items.height)
    return SlateDataset(
        name=card.name,
        source=card.source,
        card=card,
        catalog=Catalog(items.with_columns(train_count=counts)),
        train=_part("train", rows),
        valid=_part("valid", rows),
        test=_part("test", rows),
        slate_length=card.slate_length,
        split_seed=split_seed,
    )


def item_frame(items: pl.DataFrame, where: str) -> pl.DataFrame:
    """The items as a catalogue has them (ITEM_COLUMNS), checked; their train counts are still to come.

    Raises:
        DataError: a column is missing, of another kind or holds a null; an id is given twice.
    """
    items = composed_frame(items, ["id"])
    _need_columns(items, ITEM_COLUMNS, f"{where}, items")
    _no_repeats(items["id"], f"{where}: item id")
    return _cast(items, {name: CATALOG_SCHEMA[name] for name in ITEM_COLUMNS}, f"{where}, items")


def with_train_share(dataset: SlateDataset, share: float) -> SlateDataset:
    """The same catalogue, validation and test part, with about `share` of the train slates, or of the users' sequences.

    Whole groups are kept, in `hash_order`: a smaller share is part of every larger one.

    Raises:
        UsageError: a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise UsageError(f"train share {share:g}: choose more than 0 and at most 1")
    if share == 1:
        return dataset
    requests, sequences = dataset.train.requests, dataset.sequences
    sizes = (requests["group"] if sequences is None else sequences["user"]).alias("group").value_counts().sort("group")
    sizes = sizes[hash_order(sizes["group"].to_list(), dataset.split_seed)]
    count = sizes["count"].to_numpy().astype(np.int64)
    taken = sizes["group"].filter(pl.Series(np.cumsum(count) - count / 2 <= share * count.sum())).implode()
    train = dataset.train.only(requests.filter(pl.col("group").is_in(taken))["request"])
    if not len(train):
        raise UsageError(f"train share {share:g}: no train slate of {dataset.name} is left, choose more")
    before_test = dataset.before_test
    if sequences is not None and before_test is not None:
        sequences, before_test = (lists.filter(pl.col("user").is_in(taken)) for lists in (sequences, before_test))
    learnt = train.references["items"] if sequences is None else sequences["items"]
    items = dataset.catalog.items.with_columns(train_count=train_counts(learnt, len(dataset.catalog)))
    return replace(dataset, train=train, catalog=Catalog(items), sequences=sequences, before_test=before_test)


def asked_as(dataset: SlateDataset, repeats: Repeats, requests: int | None) -> SlateDataset:
    """The same dataset, of whose validation and test part `requests` are asked (None: all), by the hash of their id.

    Whether items of a history may be emitted again stands in a column of the requests (`schema.forbidden`).
    """
    if dataset.sequences is None and requests is None:
        return dataset

    def asked(part: Part) -> Part:
        if requests is not None and len(part) > requests:
            ids = part.requests["request"].to_list()
            part = part.only([ids[row] for row in hash_order(ids, 0)[:requests]])
        if dataset.sequences is None:
            return part
        return part.with_requests(part.requests.with_columns(repeats=pl.lit(repeats == "allowed")))

    return replace(dataset, whole=dataset.fingerprint, valid=asked(dataset.valid), test=asked(dataset.test))


def train_counts(slates: pl.Series, n_items: int) -> pl.Series:
    """Train slates (or interactions) per item [N]."""
    counts = np.bincount(slates.explode(empty_as_null=False).to_numpy(), minlength=n_items)
    return pl.Series(counts, dtype=pl.Int64)


def _part(name: PartName, rows: pl.DataFrame) -> Part:
    rows = rows.filter(part=name)
    where = f"part '{name}'"
    return Part(name, _cast(rows, REQUEST_SCHEMA, where), _cast(rows, REFERENCE_SCHEMA, where))


def _cast(frame: pl.DataFrame, schema: dict[str, Any], where: str) -> pl.DataFrame:
    """The columns of the schema, with its types."""
    for name, dtype in schema.items():
        try:
            frame = frame.with_columns(pl.col(name).cast(dtype))
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"{where}: column '{name}' is {frame[name].dtype}, expected {dtype}: mend the loader"
            ) from error
    return frame.select(*schema)


def composed_frame(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The frame with its strings in these columns in the form of `text.composed`."""

    def one_form(strings: pl.Expr) -> pl.Expr:
        return strings.str.replace_all(NEEDLESS, "").str.normalize("NFC")

    for name in names:
        match frame.schema.get(name):
            case pl.String if (frame[name].str.len_bytes() == frame[name].str.len_chars()).all():
                pass  # ASCII has one form
            case pl.String:
                frame = frame.with_columns(one_form(pl.col(name)))
            case pl.List(inner=pl.String):
                frame = frame.with_columns(pl.col(name).list.eval(one_form(pl.element())))
    return frame


def _need_columns(frame: pl.DataFrame, names: list[str], where: str) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise DataError(f"{where}: column '{missing[0]}' is missing; found {', '.join(frame.columns) or 'none'}")
    for name in names:
        if frame[name].null_count():
            raise DataError(
                f"{where}: column '{name}' is null in row {int(frame[name].is_null().arg_max() or 0) + 1}: fill it"
            )


def _no_repeats(ids: pl.Series, what: str) -> None:
    repeated = ids.is_duplicated()
    if repeated.any():
        first = ids.filter(repeated)[0]
        places = [str(int(row) + 1) for row in (ids == first).arg_true()[:2]]
        raise DataError(f"{what} '{first}' is given twice (rows {' and '.join(places)}): ids must be unique")


def _row_numbers(name: str, column: pl.Series | None, requests: pl.Series, ids: pl.Series, where: str) -> pl.Series:
    """The item column as lists of catalogue row numbers, every one of them known."""
    if column is None:
        return pl.Series(name, [[]] * len(requests), dtype=pl.List(pl.Int64))
    if column.dtype == pl.List(pl.Null):  # only empty lists
        column = column.cast(pl.List(pl.Int64))
    flat = pl.DataFrame({"request": requests, "given": column}).explode("given", empty_as_null=False)
    if flat["given"].dtype == pl.String:
        index = pl.DataFrame({"given": ids, "number": np.arange(len(ids))})
        number = flat.join(index, on="given", how="left", maintain_order="left")["number"]
    else:
        number = flat["given"].cast(pl.Int64)
        number = number.set((number < 0) | (number >= len(ids)), None)
    if number.null_count():
        row = flat.row(int(number.is_null().arg_max() or 0), named=True)
        raise DataError(
            f"{where}: request '{row['request']}', column {name}: "
            f"item '{row['given']}' is not in the items: add or drop it"
        )
    return into_lists(number, column.list.len().fill_null(0).to_numpy()).alias(name)


def into_lists(flat: pl.Series, lengths: np.ndarray) -> pl.Series:
    """The inverse of exploding a column of lists: values in a row, and the length of each list (may be 0).

    >>> into_lists(pl.Series([1, 2, 3]), np.array([2, 0, 1])).to_list()
    [[1, 2], [], [3]]
    """
    row_of = np.repeat(np.arange(len(lengths)), lengths.astype(np.int64))
    lists = pl.DataFrame({"row": row_of, "values": flat}).group_by("row", maintain_order=True).agg("values")
    every = pl.DataFrame({"row": np.arange(len(lengths))}).join(lists, on="row", how="left", maintain_order="left")
    return every["values"].fill_null(pl.Series([[]], dtype=pl.List(flat.dtype)))


def _check_slates(rows: pl.DataFrame, where: str) -> None:
    def refuse(mask: pl.Series, problem: str) -> None:
        if mask.any():
            raise DataError(f"{where}: request '{rows['request'].filter(mask)[0]}' {problem}")

    refuse(rows["items"].list.len() == 0, "has an empty slate: drop it or give it items")
    refuse(rows["items"].list.n_unique() != rows["items"].list.len(), "holds an item twice: keep it once")
    shared = rows["items"].list.set_intersection(rows["seed_items"]).list.len()
    refuse(shared > 0, "has a seed item in its reference slate: seed items are part of the question")
    refuse(~rows["part"].is_in(PARTS), f"has an unknown part; known: {', '.join(PARTS)}")
    for part in PARTS:
        if part not in rows["part"]:
            found = f"{rows.height:,} slates in {rows['group'].n_unique():,} groups"
            raise DataError(f"{where}: the part '{part}' is empty ({found}): each of the three parts needs a group")
