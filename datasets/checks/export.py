"""A dataset as Parquet files with original ids, so that anybody can re-score a run without our code."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from ..build import into_lists
from ..errors import DataError
from ..files.archive import replace_file
from ..files.table import write_table
from ..output import is_text
from ..schema import HISTORY_SCHEMA, PARTS, Part, SlateDataset


def export(dataset: SlateDataset, folder: Path) -> list[Path]:
    """Write `catalog.parquet`, `train.parquet`, `valid.parquet`, `test.parquet`; of histories `sequences.parquet` too.

    Columns: CATALOG_SCHEMA, those of the requests with the reference `items`, SEQUENCE_SCHEMA. Item columns hold
    original ids. Each file is written beside its place and renamed.

    Returns:
        The files written.

    Raises:
        DataError: the folder can't be written to.
    """
    if not is_text(str(folder.absolute())):
        raise DataError(f"{folder}: not UTF-8 text: choose another folder")
    frames = {"catalog": dataset.catalog.items} | {name: part_frame(dataset, dataset.part(name)) for name in PARTS}
    if dataset.sequences is not None:
        lists = original_ids(dataset.sequences["items"], dataset.catalog.items["id"])
        frames["sequences"] = dataset.sequences.with_columns(lists)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in frames.items():
            replace_file(folder / f"{name}.parquet", partial(write_table, frame))
            written.append(folder / f"{name}.parquet")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({error.strerror or error}): choose another folder") from error
    return written


def part_frame(dataset: SlateDataset, part: Part) -> pl.DataFrame:
    """One part with its references and original ids: the columns of its requests, and `items`."""
    rows = part.requests.select(name for name in HISTORY_SCHEMA if name in part.requests.columns)
    rows = rows.with_columns(part.references["items"])
    ids = dataset.catalog.items["id"]
    return rows.with_columns(original_ids(rows[name], ids) for name in ("items", "history", "seed_items"))


def original_ids(lists: pl.Series, ids: pl.Series) -> pl.Series:
    """Lists of item numbers as lists of original ids; -1 (an empty slot) becomes null."""
    flat = lists.explode(empty_as_null=False).to_numpy().astype(np.int64)
    named = pl.select(pl.when(pl.Series(flat >= 0)).then(ids.gather(np.maximum(flat, 0)))).to_series()
    return into_lists(named, lists.list.len().to_numpy()).alias(lists.name)
