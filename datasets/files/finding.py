"""Where a dataset's files are: `SLATEBENCH_DATA`, the user's cache, or a download into it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..card import CardFile, DatasetCard
from ..errors import DataError
from .array_cache import cache_folder
from .reading import is_leftover, named_path, read_card_file, stored_path, unreadable

CONNECT_SECONDS = 3.0  # until a host has answered; offline this is all that is lost
STALL_SECONDS = 10.0  # until a download that has begun sends the next bytes
FILE_SECONDS = 600.0  # for one file as a whole
RETRIES = 1


def data_folders() -> list[Path]:
    """The folders of `SLATEBENCH_DATA` (split at the path separator), in order."""
    return [named_path(folder) for folder in os.environ.get("SLATEBENCH_DATA", "").split(os.pathsep) if folder]


def find_folders(card: DatasetCard) -> Iterator[Path]:
    """The data folders that hold all of the card's files: those of `SLATEBENCH_DATA`, then the cache; the first counts.

    A card without files (the user brings the data) is found where a folder with its name is not empty.

    Raises:
        DataError: a folder may not be read.
    """
    for folder in [*data_folders(), cache_folder() / "data"]:
        if card.files:
            found = all(stored_path(folder, file.path) for file in card.files)
        else:
            found = _not_empty(folder / brought_folder(card))
        if found:
            yield folder


def find_folder(card: DatasetCard) -> Path | None:
    """The data folder whose files of the card are used; None if they are nowhere.

    Raises:
        DataError: a folder may not be read.
    """
    return next(find_folders(card), None)


def brought_folder(card: DatasetCard) -> str:
    """The sub-folder of the data folder in which a user puts data that no card file names."""
    return card.options.get("folder", card.name)


def _not_empty(folder: Path) -> bool:
    try:
        return any(not is_leftover(path.relative_to(folder)) for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(folder, error) from error


def fetch(card: DatasetCard) -> Path:
    """Download the card's files into the user's cache, where they are not there yet.

    Every file is written beside its place and renamed when size and sha256 are right.

    Returns:
        The data folder of the cache.

    Raises:
        DataError: no download is offered, nobody answers, the transfer breaks off, or the content is wrong.
    """
    if not card.files or not all(file.urls for file in card.files):
        raise DataError(f"dataset '{card.name}' has no download: {card.instructions or card.homepage}")
    folder = cache_folder() / "data"
    for file in card.files:
        if stored_path(folder, file.path):
            with contextlib.suppress(DataError):
                read_card_file(folder, file)
                continue
            _remove(folder, file)  # damaged: fetch it again
        _fetch_file(file, folder)
    return folder


def _remove(folder: Path, file: CardFile) -> None:
    for path in (folder / file.path, folder / f"{file.path}.gz"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise unreadable(path, error) from error


def _fetch_file(file: CardFile, folder: Path) -> None:
    """Try every address, official place first, each `1 + RETRIES` times."""
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    target = folder / file.path
    problem = "no address"
    for url in file.urls:
        if not _answers(url):
            problem = f"{urlsplit(url).hostname} does not answer"
            continue
        for _ in range(1 + RETRIES):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                pooch.retrieve(
                    url,
                    known_hash=f"sha256:{file.sha256}",
                    fname=target.name,
                    path=target.parent,
                    downloader=lambda url, output, _: _transfer(url, Path(str(output)), file.bytes),  # type: ignore[arg-type]
                )
                return
            except requests.RequestException as error:
                problem = f"{url}: {' '.join(str(error).split())[:200]}"
                if isinstance(error, requests.HTTPError):
                    break  # the server has answered: asking again changes nothing
            except ValueError as error:  # too long, broken gzip, wrong checksum
                problem = f"{url}: {'wrong checksum' if 'hash' in str(error) else error}"
            except OSError as error:
                raise DataError(f"{target}: cannot be written ({error.strerror or error}): free or allow it") from error
    raise DataError(
        f"cannot download {file.path} ({problem}): connect to the network, or put it into a folder of SLATEBENCH_DATA"
    )


def _transfer(url: str, output: Path, size: int) -> None:
    """Stream `url` to `output`, uncompressed; never more than `size` bytes, never longer than FILE_SECONDS."""
    import requests
    from urllib3.exceptions import HTTPError

    unpack = zlib.decompressobj(wbits=31) if urlsplit(url).path.endswith(".gz") else None
    until, written = time.monotonic() + FILE_SECONDS, 0
    plain = {"Accept-Encoding": "identity"}
    with (
        requests.get(url, stream=True, headers=plain, timeout=(CONNECT_SECONDS, STALL_SECONDS)) as answer,
        output.open("wb") as stream,
    ):
        answer.raise_for_status()
        try:
            # read1 hands over what has come: a block that fills up byte by byte would hide the time that passes
            while chunk := answer.raw.read1(1 << 16):
                content = unpack.decompress(chunk, size + 1 - written) if unpack else chunk
                written += len(content)
                if written > size:
                    raise ValueError(f"content is longer than {size:,} bytes")
                if time.monotonic() > until:
                    raise requests.Timeout(f"not done after {FILE_SECONDS:.0f} s")
                stream.write(content)
        except HTTPError as error:
            raise requests.ConnectionError(error) from error
        except zlib.error as error:
            raise ValueError("damaged gzip content") from error
    if written < size:
        raise requests.ConnectionError(f"broke off after {written:,} of {size:,} bytes")


def _answers(url: str) -> bool:
    """Whether the host (or the proxy in front of it) takes a connection within CONNECT_SECONDS.

    Asked in a thread: without a network the look-up of the name alone can hang far longer than any timeout given.
    """
    from requests.utils import get_environ_proxies, select_proxy

    address = urlsplit(select_proxy(url, get_environ_proxies(url)) or url)
    port = address.port or (443 if address.scheme == "https" else 80)
    connected = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection((address.hostname, port), CONNECT_SECONDS):
            connected.set()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return connected.is_set()


@dataclass(frozen=True)
class Found:
    """What a call for a dataset leads to.

    Attributes:
        name: the dataset to load, the synthetic twin where it stands in.
        folder: the data folder with its files; None for synthetic data.
        notice: what a person must be told (a twin stands in, and why), or None.
    """

    name: str
    folder: Path | None
    notice: str | None = None


def find_files(card: DatasetCard, download: bool = True) -> Path:
    """The data folder of the card's files; downloads them if need be, unless told not to.

    Raises:
        DataError: they can't be had; says why and what to do.
    """
    folder = find_folder(card)
    if folder is not None:
        return folder
    if card.instructions or not all(file.urls for file in card.files):
        place = f"<folder>/{brought_folder(card)}/" if not card.files else f"<folder>/{card.files[0].path}"
        raise DataError(
            f"the data of '{card.name}' is not here: {card.instructions or card.homepage} "
            f"Put it in {place} and set SLATEBENCH_DATA=<folder>"
        )
    if not download:
        raise DataError(f"{_lacking(card)}the data of '{card.name}' is not here: slatebench datasets fetch {card.name}")
    try:
        return fetch(card)
    except DataError as error:
        raise DataError(f"{_lacking(card)}{error}") from error


def _lacking(card: DatasetCard) -> str:
    """What the first folder of `SLATEBENCH_DATA` that holds a part of the files lacks (a typo, a forgotten file)."""
    for folder in data_folders():
        there = [stored_path(folder, file.path) is not None for file in card.files]
        if any(there):
            return f"{folder} lacks {card.files[there.index(False)].path}; "
    return ""
