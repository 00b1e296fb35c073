"""What a person sees while cells run, one or many: bars and a table on a terminal, plain lines elsewhere.

All of it on standard error.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from ...datasets.output import shown
from ...leaderboards.records import Run
from ...leaderboards.terminal import fitted
from ..cells.cell import Cell
from ..grids.schedule import time_left

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


STATES = ("queued", "running", "done", "failed", "skipped")


@dataclass
class _Cell:
    """Where a cell of the grid stands."""

    system: str
    dataset: str
    state: str = "queued"
    expected: float | None = None  # seconds
    started: float = 0.0
    at: str = ""  # phase and step


class GridScreen(Screen):
    """A listener of `bench_cells` for many cells, several at a time."""

    def __init__(self, jobs: int) -> None:
        super().__init__()
        self.jobs = jobs
        self.cells: dict[str, _Cell] = {}
        self.live: Live | None = None
        self.at = "loading"  # what the whole grid is at
        self.reused = 0
        self.took: dict[str, list[float]] = {}  # seconds of finished cells, by model
        self.told = ""

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=2, transient=True)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def __call__(self, event: str, cell: Cell, details: dict[str, Any]) -> None:
        """Take an event of `bench_cells`."""
        name = f"{cell.label} on {cell.dataset}, seed {cell.seed}"
        key = f"{name} {cell.part} {cell.budget} {cell.k}"
        if event == "queued":
            self.cells[key] = _Cell(cell.label, cell.dataset, expected=details["expected"])
        one = self.cells.get(key)
        if event == "planning":
            self.at = f"loading {cell.dataset}"
        elif event == "notice":
            self.notice(details["text"])
        elif event == "timing":
            self.at = f"timing, alone: {details['number']} of {details['of']}, {name}"
            self._tell(self.at)
        elif one is None:
            return
        elif event == "started":
            self.at = ""
            one.state, one.started = "running", time.monotonic()
        elif event == "progress" and one.state == "running":
            phase, step, total, _ = details["at"]
            one.at = f"{phase} {step}/{total}" if total else phase
        elif event == "finished":
            state = details["run"].record.state
            one.state = state if state in ("done", "skipped") else "failed"
            if details["reused"]:
                self.reused += 1
            else:
                self.took.setdefault(_model(one), []).append(time.monotonic() - one.started)
                self._ended(name, details["run"], False)
                self._tell(self.counts())

    def counts(self) -> str:
        """One line: how many cells wait, work, are done, and how long the rest may take."""
        found = Counter(cell.state for cell in self.cells.values())
        words = [f"{found[state]} {state}" for state in STATES if found[state]]
        if self.reused:
            words[[word.endswith("done") for word in words].index(True)] += f" ({self.reused} from before)"
        left = self.seconds_left()
        return ", ".join(words) + (f"; about {duration(left)} left, then timing" if left else "")

    def seconds_left(self) -> float | None:
        """Seconds until the last cell ends; None while nothing is known of any."""
        now, cells = time.monotonic(), list(self.cells.values())
        all_took = [seconds for of_model in self.took.values() for seconds in of_model]

        def expected(cell: _Cell) -> float | None:
            took = self.took.get(_model(cell)) or all_took
            return cell.expected if cell.expected is not None or not took else mean(took)

        return time_left(
            [expected(cell) for cell in cells if cell.state == "queued"],
            [(expected(cell), now - cell.started) for cell in cells if cell.state == "running"],
            self.jobs,
        )

    def table(self) -> RenderableType:
        """Systems by state, with what each is at."""
        several = len({cell.dataset for cell in self.cells.values()}) > 1
        rows: dict[tuple[str, str], list[_Cell]] = {}
        for cell in self.cells.values():
            rows.setdefault((cell.system, cell.dataset), []).append(cell)
        listed = list(rows.items())
        if len(listed) > (room := max(4, self.console.height - 8)):  # what is at work or went wrong first
            listed.sort(
                key=lambda row: min(
                    ("running", "failed", "queued", "skipped", "done").index(cell.state) for cell in row[1]
                )
            )
            listed = listed[:room]
        lines = []
        for (system, dataset), cells in listed:
            found = Counter(cell.state for cell in cells)
            now = "; ".join(f"{cell.at} ({duration(time.monotonic() - cell.started)})"
                            for cell in cells if cell.state == "running")  # fmt: skip
            numbers = [str(found[state] or "") for state in STATES]
            lines.append([system, *([dataset] if several else []), *numbers, now])
        head = ["system", *(["dataset"] if several else []), *STATES, "at work"]
        table = fitted(head, lines, self.console.width, keep=1, words=["at work"], left=["dataset"])
        return Group(table, Text(shown(f"{self.at}  {self.counts() if self.cells else ''}".strip())))

    def _tell(self, line: str) -> None:
        if self.live is None and line != self.told:
            self.line(line)
            self.told = line

    def summary(self, runs: Sequence[Run]) -> None:
        """How many cells ended how, and why those that did not end well."""
        found = Counter(run.record.state for run in runs)
        self.line(f"{len(runs)} cells asked for: " + ", ".join(f"{n} {state}" for state, n in sorted(found.items())))
        for run in runs:
            name = f"{run.record.label} on {run.spec.dataset}, seed {run.spec.seed}"
            failed = (run.record.latency or {}).get("failed")
            if run.record.state != "done":
                style = "yellow" if run.record.state == "skipped" else "red"
                self.line(f"  {name}: {run.record.state}: {run.record.reason} ({run.folder / 'log.txt'})", style)
            elif failed:
                self.line(f"  {name}: done, but not timed: {failed}", "yellow")


def _model(cell: _Cell) -> str:
    """The model's name, without presets and settings."""
    return cell.system.split()[0].split(":")[0]


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(42), duration(150), duration(4000)
    ('42 s', '2 min', '1 h 6 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds // 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
