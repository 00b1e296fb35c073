"""Running things: spec -> dataset -> features -> fit -> generate -> score -> time -> record -> MLflow -> table.

Everything the command line does is a call here; the names are imported when first used, so that
`import slatebench.benchmark` stays light.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bench import BenchResult as BenchResult
    from .bench import bench as bench
    from .claims import run_claims as run_claims
    from .compare import compare as compare
    from .export_mlflow import export_mlflow as export_mlflow
    from .gate import gate as gate
    from .generate import generate as generate
    from .latency import latency as latency
    from .report import report as report
    from .rescore import rescore as rescore
    from .show import leaderboard as leaderboard
    from .suite import bench_suite as bench_suite
    from .sweep import sweep as sweep

_WHERE = {
    "bench": "bench",
    "BenchResult": "bench",
    "compare": "compare",
    "gate": "gate",
    "run_claims": "claims",
    "generate": "generate",
    "latency": "latency",
    "report": "report",
    "rescore": "rescore",
    "leaderboard": "show",
    "bench_suite": "suite",
    "export_mlflow": "export_mlflow",
    "sweep": "sweep",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Functions(ModuleType):
    """Importing the module `bench` would otherwise put it in place of the function `bench`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _WHERE and isinstance(value, ModuleType):
            value = getattr(value, name, value)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Functions
