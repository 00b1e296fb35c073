"""Named arrays on disk: safetensors files, each array checked when read, made once however many processes ask."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..errors import SlateBenchError
from .reading import named_path

Arrays = Mapping[str, np.ndarray]


class DamagedFile(Exception):
    """A file of arrays that can't be read whole."""


def cache_folder() -> Path:
    """The user's cache folder: `SLATEBENCH_CACHE`, else the platform's."""
    if folder := os.environ.get("SLATEBENCH_CACHE"):
        return named_path(folder)
    from platformdirs import user_cache_path

    return user_cache_path("slatebench")


def cached_array(path: Path, name: str, build: Callable[[], Arrays]) -> np.ndarray:
    """Array `name` of the file at `path`; `build` makes all arrays of the file where it is missing or damaged.

    Processes that ask at the same time wait for the one that builds.

    Raises:
        SlateBenchError: the folder can't be written.
    """
    if (array := _try_read(path, name)) is not None:
        return array
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if (array := _try_read(path, name, warn=True)) is None:
                write_arrays(path, build())
                array = read_array(path, name)
            return array
    except OSError as error:
        raise SlateBenchError(
            f"can't write the feature cache {path.parent}: {error.strerror or error}; "
            "make room, or set SLATEBENCH_CACHE to a folder you may write"
        ) from error


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write `arrays` to a safetensors file, with a checksum of each: beside, then renamed.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    checksums = {name: str(zlib.crc32(array.data.cast("B") if array.size else b"")) for name, array in tensors.items()}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # not save_file: that makes a file which no other user can read, and hides the system's word on a full disk
        beside.write_bytes(save(tensors, metadata={"crc32": json.dumps(checksums)}))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_array(path: Path, name: str) -> np.ndarray:
    """Array `name` of a file that `write_arrays` wrote, read-only.

    Raises:
        FileNotFoundError: no such file.
        DamagedFile: truncated, altered, or without that array.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            checksums = json.loads((file.metadata() or {}).get("crc32", "{}"))
            array = file.get_tensor(name)
    except (SafetensorError, ValueError) as error:
        raise DamagedFile(f"{path}: {error}") from error
    if checksums.get(name) != str(zlib.crc32(array.data.cast("B") if array.size else b"")):
        raise DamagedFile(f"{path}: array '{name}' does not match its checksum")
    array.setflags(write=False)
    return array


def _try_read(path: Path, name: str, warn: bool = False) -> np.ndarray | None:
    try:
        return read_array(path, name)
    except FileNotFoundError:
        return None
    except DamagedFile:
        if warn:
            print(f"warning: {path} is damaged and is made again", file=sys.stderr, flush=True)
        return None
