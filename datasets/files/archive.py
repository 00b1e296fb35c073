"""Archives that somebody else has made, read member by member into memory, and files that are written whole.

Nothing is ever unpacked to disk, so no member's name can lead anywhere; what a member may hold is bounded.
"""

from __future__ import annotations

import lzma
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ..errors import DataError, one_line

MAX_RATIO = 200  # unpacked to packed; JSON and CSV reach 5-50, bombs 1,000 and more
_SMALL = 10 << 20  # below this no ratio is a bomb

DAMAGED = (  # what the standard library raises on archives that are broken, one way or another
    *(zipfile.BadZipFile, lzma.LZMAError, zlib.error, struct.error),
    *(EOFError, OSError, NotImplementedError, ValueError, OverflowError),
)


def read_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int) -> bytes:
    """The content of one member, read into memory.

    Raises:
        DataError: damaged, encrypted, or longer than `max_bytes` or than MAX_RATIO allows.
    """
    where = f"{archive.filename}, member {one_line(info.filename, 200)}"
    if info.file_size > min(max_bytes, max(_SMALL, info.compress_size * MAX_RATIO)):
        raise DataError(f"{where}: {info.file_size:,} bytes unpacked look like a bomb: fetch the official archive")
    try:
        return archive.read(info)  # never more than file_size, and checked against its CRC
    except (*DAMAGED, RuntimeError) as error:
        raise DataError(f"{where}: damaged or encrypted ({one_line(error, 200)}): fetch the archive again") from error


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then rename it to `path`: readers see all of it or nothing."""
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    try:
        write(Path(name))
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
