"""The child's side: read commands, answer with events."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from ...datasets.errors import SlateBenchError, one_line
from .tree import end_group

LINE_LIMIT = 2000  # characters of a line that are read at once and kept
TRACE_LIMIT = 20_000  # characters of a traceback


Answer = Callable[[dict[str, Any], Callable[..., None], Callable[..., None]], None]  # answer(command, say, report)


def serve(answer: Answer) -> None:
    """Read commands, answer with events, until standard input ends."""
    os.environ["PYTHONSAFEPATH"] = "1"
    commands, events = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a model that reads standard input finds it empty
    os.dup2(2, 1)  # whatever prints to standard output goes to standard error

    def say(event: str, **content: Any) -> None:
        events.write(json.dumps({"event": event, **content}) + "\n")
        events.flush()

    last = 0.0

    def report(phase: str, step: int = 0, total: int = 0, message: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if not total or step >= total or now - last > 0.1:  # at most ten lines a second
            last = now
            say("progress", phase=phase, step=step, total=total, message=message)

    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    for line in commands:
        command = json.loads(line)
        try:
            answer(command, say, report)
        except BaseException as error:  # the parent must always get an answer; SystemExit of a model too
            state, reason = reason_of(error)
            trace = "\n".join(one_line(line, LINE_LIMIT) for line in traceback.format_exc()[-TRACE_LIMIT:].splitlines())
            say("failed", state=state, kind=type(error).__name__, reason=reason, traceback=trace)


def reason_of(error: BaseException) -> tuple[str, str]:
    """State and one line for an error, whoever raised it."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            "failed",
            f"the disk is full ({error.filename or 'no space left'}): free some space and run the same again",
        )
    if isinstance(error, SlateBenchError):
        return error.state, one_line(error, LINE_LIMIT)
    if isinstance(error, MemoryError):
        return "failed", "out of memory"
    line = one_line(error)
    return "failed", f"{type(error).__name__}: {line}" if line else type(error).__name__


def _end_with_parent(parent: int) -> None:
    """End this process when the parent is gone (killed), so that no orphan writes on."""
    while os.getppid() == parent:
        time.sleep(1)
    if os.getpgrp() == os.getpid():
        end_group(os.getpid())  # whatever the model started too
    os._exit(1)
