"""What a person sees while cells run: a progress bar on a terminal, plain lines elsewhere (all on standard error)."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from ...datasets.output import shown

if TYPE_CHECKING:
    from ...leaderboards.records import Run
    from ..cells.cell import Cell


PLAIN_SECONDS = 15  # between two lines of one phase where there is no terminal


class Screen:
    """A listener of `bench`: shows which cell is at what, and one line for each that ended."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.progress: Progress | None = None
        self.task: Any = None
        self.phase, self.said = "", 0.0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self.progress = Progress(
                SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=30),
                TimeElapsedColumn(), TimeRemainingColumn(), console=self.console, transient=True,
            )  # fmt: skip
            self.progress.start()
            self.task = self.progress.add_task("starting", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.stop()

    def __call__(self, event: str, cell: Cell, details: dict[str, Any]) -> None:
        """Take an event of `bench`."""
        name = f"{cell.label} on {cell.dataset}, seed {cell.seed}"
        if event == "planning":
            self._at(f"loading {cell.dataset}", 0, 0)
        elif event == "progress":
            phase, step, total, message = details["at"]
            self._at(f"{name}: {phase}", step, total, message)
        elif event == "finished":
            self._ended(name, details["run"], details["reused"])
        elif event == "notice":
            self.notice(details["text"])
        elif event == "line":
            self.line(details["text"])

    def _at(self, phase: str, step: int, total: int, message: str = "") -> None:
        description = f"{phase} ({message})" if message else phase
        if self.progress is not None:
            self.progress.update(self.task, description=shown(description), completed=step, total=total or None)
        elif phase != self.phase:
            self.line(phase)
            self.phase, self.said = phase, time.monotonic()
        elif time.monotonic() - self.said > PLAIN_SECONDS:
            self.line(f"{description} {step}/{total}" if total else description)
            self.said = time.monotonic()

    def _ended(self, name: str, run: Run, reused: bool) -> None:
        record = run.record
        if record.state == "done":
            seconds = sum(record.timings.values())
            how = "finished before, used again" if reused else f"done in {seconds:.1f} s"
            self.line(f"{name}: {how}")
        else:
            self.line(
                f"{name}: {record.state}: {record.reason}", style="yellow" if record.state == "skipped" else "red"
            )

    def line(self, text: str, style: str = "") -> None:
        """Print a line above the bar."""
        self.console.print(Text(shown(text), style=style), soft_wrap=True)

    def notice(self, text: str) -> None:
        """Print something that must not be missed."""
        self.line(f"!!! {text}", style="bold yellow")
