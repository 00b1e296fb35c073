"""Parquet files by their names: polars takes `[1]`, `*`, `?` or `~` in a path as a pattern, and reads a neighbour."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from ..errors import DataError
from .reading import unreadable


def read_table(path: Path, mend: str, columns: list[str] | None = None, only: pl.Expr | None = None) -> pl.DataFrame:
    """The Parquet file of exactly that name.

    Args:
        path: file.
        mend: what to do where it is missing or damaged.
        columns: the columns to read; all by default.
        only: which rows; the others are not even decoded.

    Raises:
        DataError: missing, unreadable, damaged, or without one of the columns.
    """
    try:
        with path.open("rb") as file:
            if only is None:
                return pl.read_parquet(file, columns=columns)
            return pl.scan_parquet(file).filter(only).select(columns or pl.all()).collect()
    except FileNotFoundError as error:
        raise DataError(f"{path}: file is missing: {mend}") from error
    except OSError as error:
        raise unreadable(path, error) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: not a Parquet file ({line}): {mend}") from error


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file of exactly that name; a full disk is an OSError (polars would call the file faulty)."""
    content = io.BytesIO()
    frame.write_parquet(content)
    path.write_bytes(content.getvalue())
