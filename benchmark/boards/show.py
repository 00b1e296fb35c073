"""`leaderboard`: the board of a dataset from the records on disk."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ...leaderboards.board import Board, NoRuns, build_board
from ...leaderboards.records import list_runs, runs_folder
from ...leaderboards.schema import Budget, RunSpec
from ..today import no_runs, once, today


def leaderboard(
    dataset: str,
    *,
    part: str = "test",
    budget: Budget | None = None,
    k: int | None = None,
    like: RunSpec | None = None,
    ablations: bool = True,
    metrics: Collection[str] | None = None,
    runs: Path | str | None = None,
) -> Board:
    """The board of `dataset`: `.systems` from best to worst, `.frame` as a polars table.

    Args:
        dataset: name, e.g. `bundle`; where its data and runs on them are not here, its synthetic twin stands in.
        part: `test` or `valid`.
        budget, k: by default those of the newest finished run.
        like: the board on which this spec stands.
        ablations: systems with settings set by hand stand on it too.
        metrics: those that stand on it beside the main ones (default: all; it takes longer).
        runs: folder of the records (default: SLATEBENCH_RUNS or ./runs).

    Raises:
        UsageError: there is no finished run of that dataset.
    """
    folder = runs_folder(runs)
    now = today(dataset, folder)
    found, problems = list_runs(folder, now.dataset)
    try:
        board = build_board(found, now.dataset, part=part, budget=budget, k=k, like=like, ablations=ablations,
                            stale=now.stale, metrics=metrics)  # fmt: skip
    except NoRuns as error:
        raise no_runs(str(error), now, folder) from error
    board.not_comparable.extend(("unreadable record", problem) for problem in problems)
    board.notices[:] = once(*board.notices, *now.notices)
    return board
