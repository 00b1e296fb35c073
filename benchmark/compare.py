"""`compare`: two systems on the same requests, paired: differences, intervals, p values, and where each wins most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ..datasets.errors import UsageError
from ..datasets.table import read_table
from ..leaderboards.board import KEY_NAMES, bertscore_models, headline, main_metrics, per_request
from ..leaderboards.records import AGAIN, Run, list_runs, read_run, runs_folder
from ..metrics.base import Scores, read_scores
from ..metrics.registry import metric_info
from ..metrics.statistics import bootstrap_interval, holm, paired_permutation_test, win_tie_loss


@dataclass(frozen=True)
class Example:
    """A request on which one system beats the other by most, with a slate of each."""

    request: str
    prompt: str
    a: float
    b: float
    slate_a: list[str]
    slate_b: list[str]


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Attributes:
        table: metric, a, b, difference, low, high, p, p_holm, wins, ties, losses (of A).
        best_of_a, best_of_b: the requests on which each wins most, by the headline metric.
    """

    a: str
    b: str
    dataset: str
    requests: int
    groups: int
    table: pl.DataFrame
    best_of_a: list[Example]
    best_of_b: list[Example]


def compare(
    a: str,
    b: str,
    *,
    dataset: str | None = None,
    part: str = "test",
    budget: str | None = None,
    metrics: Sequence[str] | None = None,
    examples: int = 3,
    runs: Path | str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two systems (addresses or labels, with `dataset`) or two run folders.

    Args:
        a, b: systems such as `bm25`, or folders that hold a record.json.
        dataset: where `a` and `b` are systems.
        part, budget: which runs of the systems (budget: by default the one both have).
        metrics: to compare; by default the main ones.
        examples: how many requests to show for each side.
        runs: folder of the records.
        seed: of bootstrap and permutation.

    Raises:
        UsageError: a system without finished runs, or runs that must not be compared (says why).
    """
    runs_a = _find(a, dataset, part, budget, runs)
    runs_b = _find(b, dataset, part, budget, runs)
    runs_a, runs_b = _common_budget(runs_a, runs_b)
    _refuse_unlike(runs_a[0], runs_b[0])
    scores_a, scores_b = _scores(runs_a), _scores(runs_b)
    groups = runs_a[0].requests["group"].to_list()
    both_have = [name for name in scores_a[0].values if name in scores_b[0].values]
    if len(bertscore_models([*runs_a, *runs_b])) > 1:
        both_have = [name for name in both_have if not name.startswith("bertscore")]
    cutoffs = runs_a[0].spec.cutoffs
    shared = [name for name in metrics or main_metrics(cutoffs) if name in both_have]
    if metrics and (missing := [name for name in metrics if name not in shared]):
        metric_info(missing[0])
        raise UsageError(
            f"metric '{missing[0]}' has no value per request in both runs; choose from {', '.join(both_have)}"
        )
    rows = []
    for name in shared:
        per_a, per_b = per_request(scores_a, name), per_request(scores_b, name)
        both = np.isfinite(per_a) & np.isfinite(per_b)
        kept = [group for group, keep in zip(groups, both, strict=True) if keep]
        difference = (per_a - per_b)[both]
        wins, ties, losses = win_tie_loss(per_a, per_b)
        mean, low, high = bootstrap_interval(difference, groups=kept, seed=seed)
        rows.append(
            {
                "metric": name,
                "a": float(per_a[both].mean()),
                "b": float(per_b[both].mean()),
                "difference": mean,
                "low": low,
                "high": high,
                "p": paired_permutation_test(per_a[both], per_b[both], groups=kept, seed=seed),
                "wins": wins,
                "ties": ties,
                "losses": losses,
            }
        )
    table = pl.DataFrame(rows)
    table = table.with_columns(pl.Series("p_holm", holm(table["p"].to_numpy())))
    leader = headline(cutoffs)
    gap = per_request(scores_a, leader) - per_request(scores_b, leader)
    order = np.argsort(np.nan_to_num(gap), kind="stable")
    make = _examples(runs_a[0], runs_b[0], scores_a, scores_b, leader)
    return Comparison(
        a=runs_a[0].record.label,
        b=runs_b[0].record.label,
        dataset=runs_a[0].spec.dataset,
        requests=len(groups),
        groups=len(set(groups)),
        table=table,
        best_of_a=[make(int(i)) for i in order[::-1][:examples] if gap[i] > 0],
        best_of_b=[make(int(i)) for i in order[:examples] if gap[i] < 0],
    )


def _find(name: str, dataset: str | None, part: str, budget: str | None, runs: Path | str | None) -> list[Run]:
    """The runs of a system (all seeds of its newest version), or the one run of a folder."""
    if (Path(name) / "record.json").exists():
        return [read_run(Path(name))]
    if dataset is None:
        raise UsageError(f"'{name}' is no run folder: name the dataset with --dataset to compare systems")
    found, _ = list_runs(runs_folder(runs), dataset)
    fitting = [
        run
        for run in found
        if name in (run.record.label, run.spec.model)
        and (run.record.state, run.spec.part) == ("done", part)
        and budget in (None, run.spec.budget)
    ]
    exact = [run for run in fitting if run.record.label == name]
    fitting = exact or fitting
    if not fitting:
        there = sorted({run.record.label for run in found if run.record.state == "done"})
        raise UsageError(f"no finished run of '{name}' on {dataset} ({part}); there are: {', '.join(there) or 'none'}")
    return fitting


def _common_budget(a: list[Run], b: list[Run]) -> tuple[list[Run], list[Run]]:
    """Of each system the runs that can be compared with the other: the newest common board, one system each."""
    boards = {run.spec.board for run in a} & {run.spec.board for run in b}
    if boards:
        newest = max((run for run in a if run.spec.board in boards), key=lambda run: run.record.created).spec.board
        a = [run for run in a if run.spec.board == newest]
        b = [run for run in b if run.spec.board == newest]
    return _one_system(a), _one_system(b)


def _one_system(runs: list[Run]) -> list[Run]:
    newest = max(runs, key=lambda run: run.record.created).spec.system
    return sorted((run for run in runs if run.spec.system == newest), key=lambda run: run.spec.seed)


def _refuse_unlike(a: Run, b: Run) -> None:
    apart = [
        f"{name} ({mine} and {theirs})"
        for name, mine, theirs in zip(KEY_NAMES, a.spec.board, b.spec.board, strict=True)
        if mine != theirs
    ]
    for run in (a, b):
        if run.record.state != "done":
            raise UsageError(f"{run.folder}: state {run.record.state} ({run.record.reason}), nothing to compare")
    if apart:
        raise UsageError(f"{a.record.label} and {b.record.label} can't be compared: they differ in {', '.join(apart)}")


def _scores(runs: list[Run]) -> list[Scores]:
    return [read_scores(run.scores, {}) for run in runs]


def _examples(a: Run, b: Run, scores_a: list[Scores], scores_b: list[Scores], metric: str):
    """A function row -> Example; titles come from the fitted models' own catalogues."""
    titles = {}
    for run in (a, b):
        path = run.folder / "model" / "catalog.parquet"
        if path.exists():
            titles |= dict(read_table(path, AGAIN, ["id", "title"]).iter_rows())
    prompts = dict(a.requests.select("request", "prompt").iter_rows())
    slates = [
        {row[0]: row[1] for row in run.slates.filter(pl.col("sample") == 0).select("request", "items").iter_rows()}
        for run in (a, b)
    ]
    per_a, per_b = per_request(scores_a, metric), per_request(scores_b, metric)

    def example(i: int) -> Example:
        request = scores_a[0].requests[i]
        shown = [[titles.get(item, item) if item else "(empty)" for item in slate[request]] for slate in slates]
        return Example(request, prompts[request], float(per_a[i]), float(per_b[i]), *shown)

    return example
