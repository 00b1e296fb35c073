"""`compare`: two systems on the same requests, paired: differences, intervals, p values, and where each wins most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...datasets.errors import UsageError
from ...datasets.schema import in_words
from ...leaderboards.board import KEY_NAMES, bertscore_models, per_request
from ...leaderboards.checked import requests_of, scores_of, slates_of
from ...leaderboards.command import bench_command
from ...leaderboards.records import Run, list_runs, read_run, runs_folder
from ...metrics.base import Scores
from ...metrics.registry import metric_info
from ...metrics.statistics import bootstrap_intervals, holm, paired_permutation_tests, win_tie_loss
from ..today import Today, no_runs, once, today, told_of


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
        table: metric, n (requests on which both have a value), a, b, difference, low, high, p, p_holm, wins, ties,
            losses (of A); null where there is no evidence, the interval where all is of one group.
        best_of_a, best_of_b: the requests on which each wins most, by the headline metric.
        notices: what a person must be told of the data and the runs.
    """

    a: str
    b: str
    dataset: str
    requests: int
    groups: int
    table: pl.DataFrame
    best_of_a: list[Example]
    best_of_b: list[Example]
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pair:
    """The runs (over seeds) of two systems that may be compared, and what a person must be told of them."""

    runs_a: list[Run]
    runs_b: list[Run]
    notices: list[str]

    @property
    def headline(self) -> str:
        """The metric that orders their board."""
        return self.runs_a[0].spec.headline


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
        dataset: where `a` and `b` are systems; where its data and runs on them are not here, its synthetic twin.
        part, budget: which runs of the systems (budget: by default the one both have).
        metrics: to compare; by default the main ones.
        examples: how many requests to show for each side.
        runs: folder of the records.
        seed: of bootstrap and permutation.

    Raises:
        UsageError: a system without finished runs of today, or runs that must not be compared (says why).
        SlateBenchError: a run's files are damaged.
    """
    return compare_pair(find_pair(a, b, dataset, part, budget, runs), metrics, examples, seed)


def compare_pair(pair: Pair, metrics: Sequence[str] | None = None, examples: int = 3, seed: int = 0) -> Comparison:
    """Compare what `find_pair` found; see `compare`."""
    runs_a, runs_b = pair.runs_a, pair.runs_b
    scores_a, scores_b = [[scores_of(run) for run in side] for side in (runs_a, runs_b)]
    asked = requests_of(runs_a[0]).select("request", "group")
    for run in (*runs_a[1:], *runs_b):
        if not requests_of(run).select("request", "group").equals(asked):
            raise UsageError(f"{run.folder} was asked other requests than {runs_a[0].folder}: bench both again")
    groups = asked["group"].to_list()
    both_have = [name for name in scores_a[0].values if name in scores_b[0].values]
    if len(bertscore_models([*runs_a, *runs_b])) > 1:
        both_have = [name for name in both_have if not name.startswith("bertscore")]
    shared = [name for name in metrics or runs_a[0].spec.main_metrics if name in both_have]
    if metrics and (missing := [name for name in metrics if name not in shared]):
        metric_info(missing[0])
        raise UsageError(
            f"metric '{missing[0]}' has no value per request in both runs; choose from {', '.join(both_have)}"
        )
    values_a, values_b = [[per_request(side, name) for name in shared] for side in (scores_a, scores_b)]
    rows = paired(shared, values_a, values_b, groups, seed)
    leader = pair.headline
    gap = per_request(scores_a, leader) - per_request(scores_b, leader)
    order = np.argsort(np.nan_to_num(gap), kind="stable")
    make = _examples(runs_a[0], runs_b[0], scores_a, scores_b, leader) if examples > 0 else None
    return Comparison(
        a=runs_a[0].record.label,
        b=runs_b[0].record.label,
        dataset=runs_a[0].spec.dataset,
        requests=len(groups),
        groups=len(set(groups)),
        table=_with_holm(pl.DataFrame(rows, schema=COLUMNS)),
        best_of_a=[make(int(i)) for i in order[::-1][:examples] if gap[i] > 0] if make else [],
        best_of_b=[make(int(i)) for i in order[:examples] if gap[i] < 0] if make else [],
        notices=pair.notices,
    )


COLUMNS = {"metric": pl.String, "n": pl.Int64, "a": pl.Float64, "b": pl.Float64, "difference": pl.Float64,
           "low": pl.Float64, "high": pl.Float64, "p": pl.Float64, "wins": pl.Int64, "ties": pl.Int64,
           "losses": pl.Int64}  # fmt: skip


def paired(
    names: Sequence[str], a: Sequence[np.ndarray], b: Sequence[np.ndarray], groups: Sequence[str], seed: int = 0
) -> list[dict[str, Any]]:
    """Rows of `Comparison.table`, before Holm, one for each name.

    Args:
        names: what is compared.
        a, b: for each of them values per request [P], paired where both have one.
        groups: of the requests.
        seed: of the resampling, which is done once for all that the same requests have.
    """
    rows: list[dict[str, Any]] = []
    alike: dict[bytes, list[int]] = {}
    for i, (name, x, y) in enumerate(zip(names, a, b, strict=True)):
        both = np.isfinite(x) & np.isfinite(y)
        wins, ties, losses = win_tie_loss(x, y)
        counts = {"n": int(both.sum()), "wins": wins, "ties": ties, "losses": losses}
        rows.append(dict.fromkeys(COLUMNS) | {"metric": name} | counts)
        if both.any():
            alike.setdefault(both.tobytes(), []).append(i)
    for mask, found in alike.items():
        both = np.frombuffer(mask, bool)
        kept = [group for group, keep in zip(groups, both, strict=True) if keep]
        x, y = (np.stack([side[i][both] for i in found], axis=1) for side in (a, b))
        mean, low, high = bootstrap_intervals(x - y, groups=kept, seed=seed)
        p = paired_permutation_tests(x - y, groups=kept, seed=seed)
        for column, i in enumerate(found):
            ends = {name: float(end[column]) if np.isfinite(end[column]) else None
                    for name, end in (("low", low), ("high", high))}  # fmt: skip
            rows[i] |= {"a": float(x[:, column].mean()), "b": float(y[:, column].mean()),
                        "difference": float(mean[column]), **ends, "p": float(p[column])}  # fmt: skip
    return rows


def _with_holm(table: pl.DataFrame) -> pl.DataFrame:
    known = table["p"].is_not_null()
    adjusted = np.full(table.height, np.nan)
    adjusted[known.to_numpy()] = holm(table["p"].drop_nulls().to_numpy())
    return table.with_columns(pl.Series("p_holm", adjusted, nan_to_null=True))


# --- which runs ------------------------------------------------------------------------------------------


def find_pair(a: str, b: str, dataset: str | None, part: str, budget: str | None, runs: Path | str | None) -> Pair:
    """The runs of two systems, or of two folders; see `compare`.

    A system's runs are those of its newest version on today's data, and none failed since. A folder means just that
    run, whatever there is now.
    """
    folder = runs_folder(runs)
    named = [name for name in (a, b) if not (Path(name) / "record.json").exists()]
    if named and dataset is None:
        raise UsageError(f"'{named[0]}' is no run folder: name the dataset with --dataset to compare systems")
    now = today(dataset, folder) if named and dataset is not None else None
    found = list_runs(folder, now.dataset)[0] if now else []
    notices: list[str] = []

    def side(name: str) -> list[Run]:
        if now is None or name not in named:
            run = read_run(Path(name))
            notices.extend(told_of(run))
            return [run]
        return _of_today(name, found, now, part, budget, folder)

    runs_a, runs_b = _common_board(side(a), side(b))
    for name, side_runs in ((a, runs_a), (b, runs_b)):
        if now is not None and name in named:
            _refuse_failed(name, side_runs, found, now)
    _refuse_unlike(runs_a[0], runs_b[0])
    told = [run.record.notice for run in (*runs_a, *runs_b)]
    return Pair(runs_a, runs_b, once(*told, *(now.notices if now else []), *notices))


def _of_today(name: str, found: list[Run], now: Today, part: str, budget: str | None, folder: Path) -> list[Run]:
    """The finished runs of a system that are of today; without today's data, those on the data of its newest run."""
    fitting = [
        run
        for run in found
        if name in (run.record.label, run.spec.model)
        and (run.record.state, run.spec.part) == ("done", part)
        and budget in (None, run.spec.budget)
    ]
    exact = [run for run in fitting if run.record.label == name]
    fitting = sorted(exact or fitting, key=lambda run: run.record.created)
    if not fitting:
        there = sorted({run.record.label for run in found if run.record.state == "done"})
        what = f"no finished run of '{name}' on {now.dataset} ({part}); there are: {', '.join(there) or 'none'}"
        raise no_runs(what, now, folder)
    fresh = [run for run in fitting if now.stale(run) is None]
    if not fresh:
        newest = fitting[-1]
        failed = now.failed_since(newest, found)
        later = f"; a later one {failed.record.state} ({failed.record.reason})" if failed else ""
        raise UsageError(
            f"the newest finished run of {newest.record.label} on {now.dataset} is {now.stale(newest)}{later}: "
            f"{bench_command([newest])}"
        )
    newest_data = {(run.spec.split_seed, run.spec.train_share): run.spec.fingerprint for run in fresh}
    return [run for run in fresh if run.spec.fingerprint in newest_data.values()]


def _common_board(a: list[Run], b: list[Run]) -> tuple[list[Run], list[Run]]:
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


def _refuse_failed(name: str, runs: list[Run], found: list[Run], now: Today) -> None:
    last = max(runs, key=lambda run: run.record.created)
    if failed := now.failed_since(last, found):
        raise UsageError(
            f"the newest run of {name} on {now.dataset} {failed.record.state} ({failed.record.reason}), after the one "
            f"in {last.folder}: {bench_command([failed])}, or name run folders"
        )


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


# --- examples --------------------------------------------------------------------------------------------


def _examples(a: Run, b: Run, scores_a: list[Scores], scores_b: list[Scores], metric: str) -> Callable[[int], Example]:
    """A function row -> Example; titles come from the fitted models' own catalogues."""
    titles, in_order = {}, []
    for run in (a, b):
        path = run.folder / "model" / "catalog.parquet"
        if path.exists():
            items = run.table("model/catalog.parquet").select("id", "title")
            titles |= dict(items.iter_rows())
            in_order = items["title"].to_list()
    asked = requests_of(a)
    prompts = dict(zip(asked["request"], in_words(asked, in_order), strict=True))
    slates = [
        dict(slates_of(run).filter(pl.col("sample") == 0).select("request", "items").iter_rows()) for run in (a, b)
    ]
    per_a, per_b = per_request(scores_a, metric), per_request(scores_b, metric)

    def example(i: int) -> Example:
        request = scores_a[0].requests[i]
        shown = [[titles.get(item, item) if item else "(empty)" for item in slate[request]] for slate in slates]
        return Example(request, prompts[request], float(per_a[i]), float(per_b[i]), *shown)

    return example
