"""Unpacking archives that somebody else has made: nothing leaves the target, nothing explodes, all or nothing."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from .errors import DataError

MAX_BYTES = 64 << 30  # unpacked, in all
MAX_RATIO = 200  # unpacked to packed; JSON and CSV reach 5-50, bombs 1,000 and more
MAX_MEMBERS = 100_000
_SMALL = 10 << 20  # below this no ratio is a bomb
_BLOCK = 1 << 20

Member = tuple[str, Callable[[], IO[bytes] | None]]  # name and how to open it

_DAMAGED = (  # what the standard library raises on archives that are broken, one way or another
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, struct.error),
    *(EOFError, NotImplementedError, ValueError, OverflowError),
)


def unpack(archive: Path, target: Path, *, max_bytes: int = MAX_BYTES, max_ratio: float = MAX_RATIO) -> None:
    """Unpack a zip, tar (plain or compressed) or single gz file into the new folder `target`.

    Everything is written into a folder beside `target`, which is renamed when all of it is there.

    Args:
        archive: the archive; `X.gz` that is no tar becomes the file `X`.
        target: the folder to make; it must not exist.
        max_bytes: how much the content may have in all.
        max_ratio: how many times larger than the archive the content may be.

    Raises:
        DataError: damaged archive, a name that leads out of the target, a link or device, a bomb, no space.
    """
    if target.exists():
        raise DataError(f"{target}: is already there: remove it to unpack {archive.name} again")
    try:
        limit = min(max_bytes, max(_SMALL, int(archive.stat().st_size * max_ratio)))
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f"{target.name}.", suffix=".tmp", dir=target.parent))
    except OSError as error:
        raise DataError(f"{archive}: cannot be unpacked to {target} ({error.strerror or error})") from error
    try:
        _write_members(archive, beside, limit)
        beside.rename(target)
    except _DAMAGED as error:
        raise DataError(f"{archive}: damaged archive ({error}): fetch it again") from error
    except OSError as error:
        raise DataError(f"{archive}: cannot be unpacked to {target} ({error.strerror or error})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def read_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int) -> bytes:
    """The content of one member, read into memory.

    Raises:
        DataError: damaged, encrypted, or longer than `max_bytes` or than MAX_RATIO allows.
    """
    where = f"{archive.filename}, member {info.filename}"
    if info.file_size > min(max_bytes, max(_SMALL, info.compress_size * MAX_RATIO)):
        raise DataError(f"{where}: {info.file_size:,} bytes unpacked look like a bomb: fetch the official archive")
    try:
        return archive.read(info)  # never more than file_size, and checked against its CRC
    except (*_DAMAGED, RuntimeError) as error:
        raise DataError(f"{where}: damaged or encrypted ({error}): fetch the archive again") from error


def _write_members(archive: Path, folder: Path, limit: int) -> None:
    written = count = 0
    for count, (name, open_member) in enumerate(_members(archive), start=1):
        if count > MAX_MEMBERS:
            raise DataError(
                f"{archive}: more than {MAX_MEMBERS:,} members look like a bomb: fetch the official archive"
            )
        path = folder / _safe_name(archive, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        source = open_member()
        if source is None:
            raise DataError(f"{archive}, member {name}: cannot be opened: fetch the archive again")
        with source, path.open("xb") as stream:  # "x": a name given twice is an error
            while block := source.read(_BLOCK):
                written += len(block)
                if written > limit:
                    raise DataError(
                        f"{archive}, member {name}: more than {limit:,} bytes unpacked look like a bomb: "
                        "fetch the official archive"
                    )
                stream.write(block)
    if not count:
        raise DataError(f"{archive}: holds no files: fetch it again")


def _members(archive: Path) -> Iterator[Member]:
    """The files in the archive, folders left out; anything that is neither is refused."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as pack:
            for info in pack.infolist():
                if info.flag_bits & 1:
                    raise DataError(f"{archive}, member {info.filename}: encrypted: unpack it by hand")
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise DataError(f"{archive}, member {info.filename}: a link: fetch the official archive")
                if not info.is_dir():
                    yield info.filename, lambda info=info: pack.open(info)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as pack:
            for count, info in enumerate(pack):
                if count > MAX_MEMBERS:  # folders too: each costs a header
                    raise DataError(f"{archive}: more than {MAX_MEMBERS:,} members look like a bomb: fetch it again")
                if not (info.isfile() or info.isdir()):
                    raise DataError(f"{archive}, member {info.name}: a link or device: fetch the official archive")
                if info.isfile():
                    yield info.name, lambda info=info: pack.extractfile(info)
    elif archive.suffix == ".gz":
        yield archive.stem, lambda: cast(IO[bytes], gzip.GzipFile(archive))
    else:
        raise DataError(f"{archive}: no zip, tar or gz archive: fetch it again")


def _safe_name(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or any(bad in name for bad in ("\\", "\0", ":")):
        raise DataError(f"{archive}, member {name!r}: leads out of the target folder: fetch the official archive")
    return path


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then rename it to `path`: readers see all of it or nothing."""
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    try:
        write(Path(name))
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
