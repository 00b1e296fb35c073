"""Who is told what a grid is at."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from ..cells.cell import Cell

Listener = Callable[[str, "Cell", dict[str, Any]], None]  # listener(event, cell, details)


def one_at_a_time(listener: Listener) -> Listener:
    """The listener, told by several threads in turn."""
    lock = Lock()

    def tell(event: str, cell: Cell, details: dict[str, Any]) -> None:
        with lock:
            listener(event, cell, details)

    return tell
