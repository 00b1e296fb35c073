"""`leaderboard html`: the board of a dataset as one offline HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...datasets.errors import SlateBenchError, UsageError
from ...datasets.files.reading import named_path
from ...datasets.registry import load_dataset
from ...datasets.schema import SlateDataset
from ...leaderboards.board import Board
from ...leaderboards.records import runs_folder, write_text
from ...leaderboards.report.page import Claims, Extras, render
from ...leaderboards.report.sweeps import sweep_plots
from ...leaderboards.schema import Budget
from ...leaderboards.sweeps import read_sweeps
from .show import leaderboard


def report(
    dataset: str,
    out: Path | str | None = None,
    *,
    part: str = "test",
    budget: Budget | None = None,
    k: int | None = None,
    ablations: bool = True,
    runs: Path | str | None = None,
) -> Path:
    """Write the report of `dataset`: board, plots, prompt explorer, cards, claims.

    Args:
        dataset: name, e.g. `bundle`; as in `leaderboard`.
        out: the file (default: `report-<dataset>.html` in the runs folder).
        part, budget, k, ablations: of the board, as in `leaderboard`.
        runs: folder of the records (default: SLATEBENCH_RUNS or ./runs).

    Returns:
        The file.

    Raises:
        UsageError: there is no finished run of that dataset, or `out` is a folder.
    """
    folder = runs_folder(runs)
    board = leaderboard(dataset, part=part, budget=budget, k=k, ablations=ablations, runs=runs)
    path = named_path(out) if out else folder / f"report-{board.dataset}.html"
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file with --out, e.g. {path / f'report-{board.dataset}.html'}")
    sweeps = sweep_plots(board, read_sweeps(folder, board.dataset))
    page = render(board, _dataset(board), Extras(_claims(board.dataset, folder), sweeps))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)
    return path


def _dataset(board: Board) -> SlateDataset | None:
    """The data of the board; None, with a notice on the board, where they are not at hand or are others."""
    spec = board.systems[0].runs[0].spec
    try:
        data = load_dataset(board.dataset, source="auto" if spec.source == "synthetic" else "real",
                            split_seed=spec.split_seed)  # fmt: skip
        if data.fingerprint == board.fingerprint:
            return data
        why = f"the data here have fingerprint {data.fingerprint}"
    except SlateBenchError as error:
        why = str(error)
    board.notices.append(f"titles and references are left out: {why}")
    return None


def _claims(dataset: str, folder: Path) -> Claims | None:
    """The verdicts kept for this dataset."""
    from ..claims.catalogue import CLAIMS
    from ..claims.report import HEAD, INTRODUCTION, claim_cells
    from ..claims.results import read_results

    of = {claim.id: claim for claim in CLAIMS}
    results = [result for result in read_results(folder) if result.dataset == dataset and result.claim in of]
    if not results:
        return None
    rows: list[Sequence[str]] = [claim_cells(of[result.claim], result) for result in results]
    return Claims(INTRODUCTION, HEAD, rows, HEAD.index("verdict"))
