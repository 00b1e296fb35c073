"""Tables that polars reads: files by their names (it takes `[1]`, `*`, `?` or `~` in a path as a pattern, and reads a
neighbour), and plain text, which it reads many times as fast as Python does."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

import numpy as np
import polars as pl

from ..errors import DataError
from .reading import MAX_FIELD, unreadable


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


def read_plain(content: bytes, separator: str) -> tuple[list[str], pl.DataFrame] | None:
    """Header and rows (strings, null where empty) of a table of text that needs no closer look; None for any other.

    None where a field is quoted, a row has another length than the header or is empty, or a byte is no text: whoever
    is to tell which row that is reads it with `reading.csv_batches`, which gives the same where this gives something.
    """
    content = content.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").removesuffix(b"\r")
    if not content or b'"' in content or b"\0" in content or content.count(b"\r") != content.count(b"\r\n"):
        return None
    signs = np.frombuffer(content, np.uint8)
    ends = np.append(np.flatnonzero(signs == ord("\n")), len(signs))  # of the rows
    between = np.diff(np.searchsorted(np.flatnonzero(signs == ord(separator)), ends), prepend=0)
    longest = np.diff(ends, prepend=-1).max() - 1
    if len(ends) == 1 or between[0] == 0 or (between != between[0]).any() or longest > MAX_FIELD:
        return None
    header, rows = content[: ends[0]].removesuffix(b"\r"), io.BytesIO(content[ends[0] + 1 :])
    schema = {f"{place}": pl.String for place in range(between[0] + 1)}
    try:
        names = header.decode().split(separator)
        table = pl.read_csv(rows, separator=separator, has_header=False, schema=schema, quote_char=None)
    except (UnicodeDecodeError, pl.exceptions.PolarsError):
        return None
    return (names, table) if table.height == len(ends) - 1 else None


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file of exactly that name; a full disk is an OSError (polars would call the file faulty)."""
    content = io.BytesIO()
    frame.write_parquet(content)
    path.write_bytes(content.getvalue())
