"""`leaderboard`: the board of a dataset from the records on disk."""

from __future__ import annotations

from pathlib import Path

from ..leaderboards.board import Board, build_board
from ..leaderboards.records import list_runs, runs_folder
from ..leaderboards.schema import Budget, RunSpec


def leaderboard(
    dataset: str,
    *,
    part: str = "test",
    budget: Budget | None = None,
    k: int | None = None,
    like: RunSpec | None = None,
    ablations: bool = True,
    runs: Path | str | None = None,
) -> Board:
    """The board of `dataset`: `.systems` from best to worst, `.frame` as a polars table.

    Args:
        dataset: name, e.g. `bundle`.
        part: `test` or `valid`.
        budget, k: by default those of the newest finished run.
        like: the board on which this spec stands.
        ablations: systems with settings set by hand stand on it too.
        runs: folder of the records (default: SLATEBENCH_RUNS or ./runs).

    Raises:
        UsageError: there is no finished run of that dataset.
    """
    found, problems = list_runs(runs_folder(runs), dataset)
    board = build_board(found, dataset, part=part, budget=budget, k=k, like=like, ablations=ablations)
    board.not_comparable.extend(("unreadable record", problem) for problem in problems)
    return board
