"""Running things: spec -> dataset -> features -> fit -> generate -> score -> time -> record -> MLflow -> table.

Everything the command line does is a call here; the names are imported when first used, so that
`import slatebench.benchmark` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .boards.compare import compare as compare
    from .boards.gate import gate as gate
    from .boards.report import report as report
    from .boards.rescore import rescore as rescore
    from .boards.show import leaderboard as leaderboard
    from .claims.run import run_claims as run_claims
    from .grids.bench import BenchResult as BenchResult
    from .grids.bench import bench as bench
    from .grids.suite import bench_suite as bench_suite
    from .serving.export_mlflow import export_mlflow as export_mlflow
    from .serving.generate import generate as generate
    from .serving.latency import latency as latency
    from .sweeps.sweep import sweep as sweep

_WHERE = {
    "bench": "grids.bench",
    "BenchResult": "grids.bench",
    "compare": "boards.compare",
    "gate": "boards.gate",
    "run_claims": "claims.run",
    "generate": "serving.generate",
    "latency": "serving.latency",
    "report": "boards.report",
    "rescore": "boards.rescore",
    "leaderboard": "boards.show",
    "bench_suite": "grids.suite",
    "export_mlflow": "serving.export_mlflow",
    "sweep": "sweeps.sweep",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
