"""A process and what it has started: how much memory it takes, and how it is ended."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


def resident_bytes(pid: int) -> int:
    """Resident bytes of a process and its children."""
    import psutil

    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


def children_of(pid: int) -> list[int]:
    """The processes below a process."""
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def end(pids: list[int]) -> None:
    """End processes at once; those that are gone already do not matter."""
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def end_group(pid: int) -> None:
    """End what is left of a child's process group: orphans are no children any more."""
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
