"""`slatebench latency`: fitted systems timed side by side."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ...datasets.output import say, to_json
from .options import (
    DatasetOption,
    DebugOption,
    JsonOption,
    RunsOption,
    SetOption,
    SourceOption,
    parse_set,
)


def latency(
    models: Annotated[list[str], typer.Argument(help="Models to time side by side.")],
    dataset: DatasetOption,
    requests: Annotated[int, typer.Option(help="Single requests per model (p99 needs 1,000).")] = 1000,
    source: SourceOption = "auto",
    set_: SetOption = None,
    runs: RunsOption = None,
    json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Time models side by side: a process each, one thread, interleaved request by request."""
    from ..serving.latency import latency as run_latency

    found = run_latency(models, dataset, requests=requests, overrides=parse_set(set_), source=source, runs=runs,
                        report=_progress(), debug=debug)  # fmt: skip
    if json_:
        say(to_json({name: getattr(found, name) for name in ("machine", "dataset", "models", "ratios")}))
    else:
        _print_latency(found)
    say(*(f"note: {note}" for note in found.notes), error=True)


def _progress() -> Any:
    """A line for each tenth of the way, on standard error."""
    last = ""

    def report(phase: str, step: int = 0, total: int = 0, message: str = "") -> None:
        nonlocal last
        line = f"{phase} {message}".strip() + (f" {10 * (10 * step // total)} %" if phase == "requests" else "")
        if line != last:
            last = line
            say(line, error=True)

    return report


def _print_latency(found: Any) -> None:
    from ...leaderboards.terminal import fitted
    from .printing import output_console

    head = ["model", "p50 ms [95 %]", "p95 ms [95 %]", "p99 ms", "slates/s at 32", "at 256", "cold start", "memory",
            "passes"]  # fmt: skip
    rows = []
    for one in found.models:
        spans = [f"{one[f'p{p}_ms']:.2f} [{one[f'p{p}_low']:.2f}, {one[f'p{p}_high']:.2f}]" for p in (50, 95)]
        label = " ".join([one["model"], *(f"{key}={value}" for key, value in one["sampling"].items())])
        rows.append([label, *spans, f"{one['p99_ms']:.2f}{' (rough)' if one['p99_rough'] else ''}",
                     f"{one['throughput_32']:.0f}", f"{one['throughput_256']:.0f}", f"{one['cold_start_s']:.1f} s",
                     f"{one['peak_rss_mib']:.0f} MiB", f"{one['nfe']:g}"])  # fmt: skip
    console = output_console()
    console.print(fitted(head, rows, console.width, keep=2))
    for row in found.ratios:
        spans = [f"p{p} {row[f'p{p}']:.2f} [{row[f'p{p}_low']:.2f}, {row[f'p{p}_high']:.2f}]" for p in (50, 95)]
        say(f"{row['a']} / {row['b']}: {', '.join(spans)}")
    machine = found.machine
    rough = ", rough (200 requests for p95)" if found.models[0]["rough"] else ""
    say(f"{found.requests} requests each, interleaved{rough}; one thread; {machine['cpu']}, {machine['system']}"
          + (f", {machine['gpu']}" if machine["gpu"] else ""))  # fmt: skip
