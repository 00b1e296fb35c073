"""The child process that plans and runs cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...datasets.errors import SlateBenchError
from ..processes.serve import serve


def main() -> None:
    """Plan and run cells."""
    serve(_answer)


def _answer(command: dict[str, Any], say: Callable[..., None], report: Callable[..., None]) -> None:
    from ...datasets.vectors import text_encoder
    from .cell import Cell
    from .plan import plan
    from .run import run_plan

    text_encoder.listener = lambda done, total, name: report("features", done, total, f"encoding texts with {name}")
    planned = plan(Cell(**command["cell"]))
    if command["do"] == "plan":
        facts = {"notice": planned.notice, "origin": planned.origin, "skip": planned.skip, "ceilings": planned.ceilings,
                 "fit": planned.fit, "overrides": planned.cell.overrides}  # fmt: skip
        say("planned", spec=planned.spec.model_dump(), **facts)
    else:
        if planned.spec.hash != command["hash"]:
            raise SlateBenchError("the data or the plug-in's files changed since the bench began: run it again")
        run = run_plan(planned, Path(command["runs"]), report, rerun=command["rerun"])
        say("ran", folder=str(run.folder))


if __name__ == "__main__":
    main()
