"""Cells run in a process of their own: whatever a model does there (hang, leak, die), the grid goes on.

The parent (`Worker`) and the child (`main`) speak JSON lines: commands on the child's standard input, events on its
standard output. What a model prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

from ...datasets.errors import DataError, SlateBenchError, UsageError
from ...datasets.output import say
from .serve import LINE_LIMIT
from .tree import children_of, end, end_group, resident_bytes

GIB = 2**30
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
                   "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of a command: `event` is its last event, or why there is none (state, reason)."""

    event: dict[str, Any] | None
    state: str = "done"
    reason: str | None = None
    traceback: str = ""

    def checked(self, label: str) -> dict[str, Any]:
        """The event, where the command went well.

        Args:
            label: what was at work; stands before the reason, but not where the mistake is the user's.

        Raises:
            UsageError: the command's.
            DataError: the command's.
            SlateBenchError: whatever else ended it.
        """
        if self.event is not None and self.event["event"] != "failed":
            return self.event
        kind = {"UsageError": UsageError, "DataError": DataError}.get((self.event or {}).get("kind", ""))
        raise kind(self.reason) if kind else SlateBenchError(f"{label}: {self.reason}")


class Worker:
    """A child process that runs cells one after another; it is started when needed and again after each failure."""

    def __init__(self, threads: int, debug: bool = False, *, module: str) -> None:
        self.threads, self.debug = threads, debug
        self.module = module  # what the child runs: its `main` answers commands with `serve`
        self.process: subprocess.Popen[str] | None = None
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.tail: deque[str] = deque(maxlen=40)
        self.guest: str | None = None  # the plug-in that ran last

    def host(self, plugin: str | None) -> None:
        """Make ready for a plug-in (None: for a model of ours); what another left behind ends with its process."""
        if self.guest not in (None, plugin):
            self.stop()
        self.guest = plugin

    def call(self, command: dict[str, Any], report: Callable[..., None] | None = None,
             timeout: float | None = None, memory_gib: float | None = None) -> Outcome:  # fmt: skip
        """Send a command and wait for its last event; kill the child when it takes too long or too much memory."""
        process = self._started()
        assert process.stdin is not None
        started = time.monotonic()
        try:
            process.stdin.write(json.dumps(command) + "\n")
            process.stdin.flush()
        except OSError:
            return self._died(process)
        while True:
            ended = process.poll() is not None  # what it said before is in the queue by the time that this look is over
            try:
                event = self.events.get(timeout=0.2)
            except queue.Empty:  # whoever the model started may hold the pipe open for ever
                event = None if ended else {"event": "waiting"}
            if event is None:
                return self._died(process)
            if event["event"] == "progress":
                if report:
                    report(event["phase"], event["step"], event["total"], event["message"])
            elif event["event"] != "waiting":
                if event["event"] == "failed":
                    self.stop()  # whatever the failure left behind ends with the process
                    return Outcome(event, event["state"], event["reason"], event["traceback"])
                if event["event"] == "ran":
                    end(children_of(process.pid))  # what the model left running would disturb the next cell
                return Outcome(event)
            if timeout is not None and time.monotonic() - started > timeout:
                self.stop()
                return Outcome(None, "timeout", f"stopped after {timeout:g} s (--timeout)")
            if memory_gib is not None and (used := resident_bytes(process.pid)) > memory_gib * GIB:
                self.stop()
                return Outcome(
                    None, "failed", f"used {used / GIB:.1f} GiB of memory, more than --memory {memory_gib:g}"
                )

    def stop(self) -> None:
        """End the child and all its processes at once (also from another thread)."""
        process, self.process = self.process, None
        if process is not None:
            end(children_of(process.pid))
            end_group(process.pid)
            process.kill()
            process.wait()

    def _started(self) -> subprocess.Popen[str]:
        if self.process is not None and self.process.poll() is None:
            return self.process
        environment = os.environ | {
            **dict.fromkeys(THREAD_SETTINGS, str(self.threads)),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONIOENCODING": "utf-8:backslashreplace",  # whatever our own terminal can show, a cell may print
            "PYTHONSAFEPATH": "1",  # never pick up our `datasets` folder as Hugging Face's
        }
        self.events, self.tail = queue.Queue(), deque(maxlen=40)
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",  # a model may print anything
            env=environment,
            start_new_session=True,  # a group of its own: what the model starts can be ended with it
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        threading.Thread(target=_read_events, args=(self.process.stdout, self.events, self.tail), daemon=True).start()
        threading.Thread(target=self._read_errors, args=(self.process.stderr, self.tail), daemon=True).start()
        return self.process

    def _read_errors(self, stream: IO[str], tail: deque[str]) -> None:
        while line := stream.readline(LINE_LIMIT):  # a model may print megabytes without a newline
            tail.append(line.rstrip())
            if self.debug:
                say(line.rstrip("\n"), error=True)

    def _died(self, process: subprocess.Popen[str]) -> Outcome:
        code = process.wait()
        end_group(process.pid)
        self.process = None
        time.sleep(0.1)  # let the reader of standard error finish
        tail = "\n".join(self.tail)
        if code < 0:
            name = "SIGKILL, often for lack of memory" if code == -signal.SIGKILL else _signal_name(-code)
            return Outcome(None, "failed", f"the process was killed ({name})", tail)
        return Outcome(None, "failed", f"the process ended by itself (exit code {code})", tail)


def side_by_side(workers: Sequence[Worker], work: Callable[[Worker], None], stopped: threading.Event) -> None:
    """`work` on all workers at once, each in a thread of its own; returns when all have done.

    Args:
        workers: ended when one fails or the user stops it (Ctrl-C).
        work: calls a worker, as often as it likes.
        stopped: set before they are ended: no `work` shall begin anything more.

    Raises:
        BaseException: the first that came out of `work`, or KeyboardInterrupt.
    """
    errors: list[BaseException] = []

    def guarded(worker: Worker) -> None:
        try:
            work(worker)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(worker,), daemon=True) for worker in workers]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not errors:
            for thread in threads:
                thread.join(0.2)  # short: Ctrl-C must get through
        if errors:
            raise errors[0]
    except BaseException:
        stopped.set()
        while any(thread.is_alive() for thread in threads):
            for worker, thread in zip(workers, threads, strict=True):
                worker.stop()
                thread.join(0.2)
        raise


def _read_events(stream: IO[str], events: queue.Queue[dict[str, Any] | None], tail: deque[str]) -> None:
    for line in stream:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict) and "event" in event:
            events.put(event)
        else:  # a model that found the pipe prints there too
            tail.append(line[:LINE_LIMIT].rstrip())
    events.put(None)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # of real time
        return f"signal {number}"
