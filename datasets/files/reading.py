"""Reading files that may be damaged: every problem is one line with file, row and mend."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import polars as pl

from ..card import CardFile
from ..errors import DataError

_LEFTOVERS = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
MAX_FIELD = 1_000_000  # characters of one CSV field or one JSON line; anything longer is damage, not data


def named_path(name: str | Path) -> Path:
    """The path that a user means; `~` is the home folder, and `~x` a name where no user is called x."""
    return Path(os.path.expanduser(name))  # noqa: PTH111  (pathlib raises for an unknown user)


def stored_path(folder: Path, path: str) -> Path | None:
    """`folder/path` or `folder/path.gz`, whichever is there.

    Raises:
        DataError: the folder may not be read.
    """
    return next((candidate for candidate in (folder / path, folder / f"{path}.gz") if is_there(candidate)), None)


def is_leftover(path: PurePath) -> bool:
    """Whether a file below a data folder is what a system leaves beside the data: `._x`, `.DS_Store`, `__MACOSX/x`.

    >>> is_leftover(PurePath("__MACOSX/._x.json")), is_leftover(PurePath("data/x.json"))
    (True, False)
    """
    return any(part.startswith("._") or part in _LEFTOVERS for part in path.parts)


def is_there(path: Path) -> bool:
    """Whether there is a file of that name.

    Raises:
        DataError: the folder may not be read, or the name is that of something else (a folder, a pipe).
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'no file'}: put the file in its place")
    return True


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for a file or folder that the system refuses."""
    return DataError(f"{path}: cannot be read ({error.strerror or error}): check its permissions")


def read_content(path: Path, limit: int, mend: str = "fetch it again") -> bytes:
    """The uncompressed content of a plain or `.gz` file, at most `limit` bytes long.

    Args:
        path: file.
        limit: bytes.
        mend: what to do where the content is damaged.

    Raises:
        DataError: unreadable, truncated, no gzip file, or longer than `limit` (a gzip bomb stops here).
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file ({error}): {mend}") from error
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) > limit:
        raise DataError(f"{path}: content is longer than {limit:,} bytes, so not the expected file: {mend}")
    return content


def read_card_file(folder: Path, file: CardFile) -> bytes:
    """The content of a card's file under `folder`, checked against the card's size and sha256.

    Raises:
        DataError: missing, unreadable, truncated, or not the content that the card names.
    """
    path = stored_path(folder, file.path)
    if path is None:
        raise DataError(f"{folder / file.path}: file is missing (also as .gz): fetch it again")
    content = read_content(path, limit=file.bytes)
    if len(content) < file.bytes:
        raise DataError(f"{path}: truncated, {len(content):,} of {file.bytes:,} bytes: delete it and fetch it again")
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataError(f"{path}: wrong checksum (sha256 is not the card's): delete it and fetch it again")
    return content


def decode(content: bytes, file: str) -> str:
    """UTF-8 text (a byte order mark is dropped); the error names the row of the first bad byte."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}, row {row}: not UTF-8 text: convert the file to UTF-8") from error


def csv_batches(
    content: bytes, separator: str, file: str, size: int = 100_000
) -> Iterator[tuple[int, list[list[str] | str]]]:
    """The rows of a table of text, the header among them, many at a time: the number of the first, and the rows.

    A row that can't be read is a string that says what is wrong and how to mend it.

    Raises:
        DataError: the file is UTF-16.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{file}: UTF-16 text: convert the file to UTF-8")
    try:
        text, whole = decode(content, file), True
    except DataError:  # every bad row is to be named
        text, whole = content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"), False
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    before = csv.field_size_limit(MAX_FIELD)
    first, ended = 1, False
    try:
        while not ended:
            rows: list[list[str] | str] = []
            while len(rows) < size and not ended:
                try:
                    for row in reader:
                        rows.append(row)
                        if len(rows) == size:
                            break
                    else:
                        ended = True
                except csv.Error as error:
                    rows.append(f"not valid CSV ({error}): mend the row")
            if not whole:
                rows = ["not UTF-8 text: convert the file to UTF-8" if _undecoded(row) else row for row in rows]
            if rows:
                yield first, rows
            first += len(rows)
    finally:
        csv.field_size_limit(before)


def _undecoded(row: list[str] | str) -> bool:
    return any("\udc80" <= sign <= "\udcff" for field in row for sign in field if not field.isascii())


def read_csv(content: bytes, columns: list[str], file: str) -> pl.DataFrame:
    """A comma-separated file with exactly these columns, all strings; row 1 is the header, `row` the number of each.

    Raises:
        DataError: wrong encoding, wrong columns, ragged row, unclosed quote, huge field.
    """
    rows: list[list[str]] = []
    for first, batch in csv_batches(content, ",", file):
        for number, row in enumerate(batch, first):
            if isinstance(row, str):
                raise DataError(f"{file}, row {number}: {row}")
            if number == 1:
                if row != columns:
                    raise DataError(f"{file}, row 1: columns are {row}, expected {columns}: not the expected file")
            elif len(row) != len(columns):
                raise DataError(f"{file}, row {number}: {len(row)} fields, expected {len(columns)}: mend the row")
            else:
                rows.append([*row, str(number)])
    if not rows:
        raise DataError(f"{file}, row {1 if not content.strip() else 2}: no rows: fetch the file again")
    frame = pl.DataFrame(rows, schema={name: pl.String for name in [*columns, "row"]}, orient="row")
    return frame.with_columns(pl.col("row").cast(pl.Int64))


class _Repeated(Exception):
    """A key that a JSON object has twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise _Repeated(repr(Counter(key for key, _ in pairs).most_common(1)[0][0][:80]))
    return record


_JSON = json.JSONDecoder(object_pairs_hook=_object)


def each_json_line(content: bytes, file: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Row number and object of every line that is not blank; for a bad line, a string that says what is wrong."""
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if not line.strip():
            continue
        if len(line) > MAX_FIELD:
            yield number, f"line has too many bytes ({len(line):,}, at most {MAX_FIELD:,}): split or shorten it"
            continue
        try:
            record = _JSON.decode(decode(line, file))
        except _Repeated as error:
            yield number, f"key {error} is given twice: keep it once"
        except (ValueError, RecursionError) as error:
            yield number, f"not valid JSON ({str(error).splitlines()[0]}): mend the line"
        except DataError:
            yield number, "not UTF-8 text: convert the file to UTF-8"
        else:
            yield number, record if isinstance(record, dict) else "not a JSON object: write one {...} a line"


def read_json_lines(content: bytes, file: str) -> list[tuple[int, dict[str, Any]]]:
    """Row number and object of every line.

    Raises:
        DataError: a line is no JSON object, or there is none.
    """
    records = []
    for row, record in each_json_line(content, file):
        if isinstance(record, str):
            raise DataError(f"{file}, row {row}: {record}")
        records.append((row, record))
    if not records:
        raise DataError(f"{file}, row 1: no rows: fetch the file again")
    return records


def refuse_repeats(frame: pl.DataFrame, columns: list[str], file: str) -> None:
    """Raise unless the values of `columns` together are unique in a frame of `read_csv`."""
    repeated = frame.filter(frame.select(pl.struct(columns).is_duplicated()).to_series())
    if repeated.height:
        value = repeated.row(0, named=True)
        rows = repeated.filter(pl.all_horizontal(pl.col(name) == value[name] for name in columns))["row"]
        shown = " / ".join(str(value[name]) for name in columns)
        raise DataError(f"{file}, row {rows[1]}: {columns[0]} '{shown}' is a duplicate of row {rows[0]}: keep one")


def refuse_unknown(frame: pl.DataFrame, column: str, known: pl.Series, file: str, known_file: str) -> None:
    """Raise unless every value of `column` is in `known`."""
    unknown = frame.filter(~pl.col(column).is_in(known.implode()))
    if unknown.height:
        value, row = unknown[column][0], unknown["row"][0]
        raise DataError(f"{file}, row {row}: unknown {column} '{value}': add it to {known_file} or drop the row")
