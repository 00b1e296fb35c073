"""What several commands print: tables for standard output, and runs as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType

from ...datasets.output import to_json
from ...leaderboards.terminal import fitted

if TYPE_CHECKING:
    import polars as pl

WIDE = 160  # characters of a table that does not go to a terminal


def output_console() -> Console:
    """Standard output for tables: as wide as the terminal (or COLUMNS), wide where it is a file or a pipe."""
    told = os.environ.get("COLUMNS", "")
    width = int(told) if told.isdecimal() and int(told) else None if sys.stdout.isatty() else WIDE
    return Console(highlight=False, markup=False, emoji=False, width=width)


def frame_table(frame: pl.DataFrame, width: int) -> RenderableType:
    """A polars frame as a table; figures with four digits."""
    rows = [["–" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in row]
            for row in frame.iter_rows()]  # fmt: skip
    left = [name for name in frame.columns if not frame[name].dtype.is_numeric()]
    return fitted(frame.columns, rows, width, keep=2, left=left)


def runs_json(runs: Sequence[Any]) -> str:
    """Runs as one JSON object: a list under `runs`."""
    return to_json({"runs": [_run(run) for run in runs]})


def _run(run: Any) -> dict[str, Any]:
    record, spec = run.record, run.spec
    return {
        "dataset": spec.dataset,
        "source": spec.source,
        "fingerprint": spec.fingerprint,
        "part": spec.part,
        "model": spec.model,
        "label": record.label,
        "seed": spec.seed,
        "budget": spec.budget,
        "state": record.state,
        "reason": record.reason,
        "path": str(run.folder),
        "metrics": {
            name: {key: getattr(value, key) for key in ("mean", "low", "high", "n")}
            for name, value in record.metrics.items()
        },
        "timings": record.timings,
        "latency": {key: value for key, value in (record.latency or {}).items() if key != "samples_ms"} or None,
        "cost": record.cost,
        "notice": record.notice,
    }
