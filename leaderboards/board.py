"""From records to a leaderboard: systems over seeds, intervals over groups, paired tests, rank bands.

Knows nothing of models: records in, a table out (docs/protocol.md, section 6).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from ..datasets.errors import SlateBenchError, UsageError
from ..datasets.tasks import TASKS
from ..datasets.vectors.text_encoder import DEFAULT_ENCODER
from ..metrics.base import Scores
from ..metrics.evaluate import Summary, mean_over, summarise_systems
from ..metrics.registry import metric_info
from ..metrics.statistics import rank_bands
from .checked import requests_of, scores_of
from .records import Run
from .schema import RunSpec

ORACLES = ("ceiling", "reference")  # models that know the references, or how the data was made
FLOORS = frozenset(name for task in TASKS.values() for name in task.floors)
BLIND = ("random", "popularity")  # floors that answer every request alike, in all their presets
TOLD_OF = ("precision_at_10",)  # without their intervals: what a board's caption is made from
ALPHA = 0.05  # of the paired tests, after Holm


class NoRuns(UsageError):
    """There is no finished run of what was asked for."""


def kind_of(model: str) -> str:
    """floor, ceiling or system, by a spec's model; the first two look at no vectors."""
    return "ceiling" if model.split(":")[0] in ORACLES else "floor" if model in FLOORS else "system"


@dataclass(frozen=True)
class System:
    """One row of a board: the runs of one system over its seeds, taken together."""

    label: str
    runs: list[Run]
    scores: list[Scores]
    summary: dict[str, Summary]
    band: tuple[int, int] | None  # (rank, rank of the best system it is not separated from); None for ceilings
    better_than: list[str] = field(default_factory=list)  # labels it is significantly better than, by the headline

    @property
    def kind(self) -> str:
        """floor, ceiling or system."""
        return kind_of(self.runs[0].spec.model)

    @property
    def seeds(self) -> list[int]:
        """Seeds that were run."""
        return sorted(run.spec.seed for run in self.runs)

    def latency(self, name: str, machine: str | None = None) -> float | None:
        """A latency figure: the median over the runs that have it (timed on `machine`, if that is named)."""
        timed = [run for run in self.runs if machine in (None, timed_on(run))]
        found = [value for run in timed if (value := (run.record.latency or {}).get(name)) is not None]
        return float(np.median(found)) if found else None

    def seconds(self, phase: str) -> float | None:
        """Mean seconds of a phase; of the fit, those of the real fit even where a cached one was used."""
        found = [_seconds(run, phase) for run in self.runs]
        kept = [value for value in found if value is not None]
        return float(np.mean(kept)) if kept else None


def timed_on(run: Run) -> str | None:
    """The machine on which a run's latency was measured, in words; None where there is no figure."""
    if not run.record.latency or "p50_ms" not in run.record.latency:
        return None
    machine = run.record.latency.get("machine", {})
    where = [machine.get("cpu"), machine.get("cores") and f"{machine['cores']} cores", machine.get("gpu")]
    return ", ".join(str(part) for part in where if part) or "unknown machine"


def _seconds(run: Run, phase: str) -> float | None:
    if phase == "fit":
        return run.record.fit.get("seconds")
    return run.record.timings.get(phase)


@dataclass(frozen=True)
class Board:
    """A leaderboard: systems from best to worst by the headline metric, floors among them, ceilings last."""

    dataset: str
    source: str
    fingerprint: str
    part: str
    k: int
    budget: str
    groups: list[str]
    systems: list[System]
    failed: list[Run] = field(default_factory=list)
    not_comparable: list[tuple[str, str]] = field(default_factory=list)  # (label, reason)
    notices: list[str] = field(default_factory=list)

    @property
    def machine(self) -> str | None:
        """The machine on which most latency figures were measured: those of others stand in no column with them."""
        counts = Counter(place for system in self.systems for run in system.runs if (place := timed_on(run)))
        return max(sorted(counts), key=lambda place: counts[place], default=None)

    @property
    def frame(self) -> pl.DataFrame:
        """Long table: label, kind, rank, best_rank, seeds, metric, mean, low, high, n."""
        rows = []
        for system in self.systems:
            rank, best = system.band or (None, None)
            head = {
                "label": system.label,
                "kind": system.kind,
                "rank": rank,
                "best_rank": best,
                "seeds": len(system.seeds),
            }
            for name, value in system.summary.items():
                rows.append(head | {"metric": name, **{key: value[key] for key in ("mean", "low", "high", "n")}})
        schema = {"label": pl.String, "kind": pl.String, "rank": pl.Int64, "best_rank": pl.Int64, "seeds": pl.Int64,
                  "metric": pl.String, "mean": pl.Float64, "low": pl.Float64, "high": pl.Float64,
                  "n": pl.Int64}  # fmt: skip
        return pl.DataFrame(rows, schema=schema)

    def best(self, metric: str) -> set[str]:
        """Labels of the best of a column, without ceilings and what looks at no request: a random slate is fresh."""
        better = metric_info(metric).higher_is_better
        values = {
            s.label: s.summary[metric]["mean"]
            for s in self.systems
            if s.kind != "ceiling" and s.runs[0].spec.model.split(":")[0] not in BLIND and metric in s.summary
        }
        known = {label: value for label, value in values.items() if value is not None}
        if better is None or not known:
            return set()
        top = max(known.values()) if better else min(known.values())
        if len(known) > 1 and len(set(known.values())) == 1:
            return set()  # a star on every row says nothing
        return {label for label, value in known.items() if value == top}


def build_board(
    runs: Sequence[Run],
    dataset: str,
    *,
    part: str = "test",
    budget: str | None = None,
    k: int | None = None,
    like: RunSpec | None = None,
    ablations: bool = True,
    stale: Callable[[Run], str | None] = lambda run: None,
    metrics: Collection[str] | None = None,
    seed: int = 0,
) -> Board:
    """The board of a dataset. Only what may be compared stands on it; the rest is listed with the reason.

    Where there are runs of today, no other stands beside them; where there are none, a notice says so.

    Args:
        runs: records, of any datasets.
        dataset: name.
        part: `test` or `valid`.
        budget, k: of the board; by default those of the newest finished run. One that learnt from all train slates of
            the usual split, and excludes what was had before, goes before others.
        like: the board on which this spec stands, in place of `part`, `budget` and `k`.
        ablations: systems with settings set by hand stand on it too.
        stale: why a run is not of today: of other data or of an older version (None: it is).
        metrics: those that stand on it beside the main ones (None: all; it takes longer).
        seed: of bootstrap and permutation tests.

    Raises:
        NoRuns: there is no finished run of this dataset and part.
        UsageError: without ablations, there is none with usual settings.
        SlateBenchError: the files of all these runs are damaged.
    """
    of_dataset = [run for run in runs if run.spec.dataset == dataset]
    done = [run for run in of_dataset if run.record.state == "done"]
    wanted = [
        run for run in done if run.spec.part == part and budget in (None, run.spec.budget) and k in (None, run.spec.k)
    ]
    if like is not None:
        wanted = [run for run in done if run.spec.board == like.board]
    if not wanted:
        raise NoRuns(
            f"no finished run of {dataset} ({part}{f', {budget}' if budget else ''}{f', k={k}' if k else ''}): "
            f"`slatebench bench MODEL --dataset {dataset}` makes one"
        )
    outdated = {run.spec.hash: why for run in of_dataset if (why := stale(run)) is not None}
    today = [run for run in wanted if run.spec.hash not in outdated]
    usual = max(
        today or wanted,
        key=lambda r: (r.spec.train_share, -r.spec.split_seed, _as_usual(r), r.record.created),
    )
    key = usual.spec.board
    on_board, superseded = _newest([run for run in today or wanted if run.spec.board == key])
    by_hand = [] if ablations else [run for run in on_board if set_by_hand(run)]
    on_board = [run for run in on_board if run not in by_hand]
    if not on_board:
        raise UsageError(f"all finished runs of {dataset} have settings set by hand: leave out --no-ablations")
    why_apart = outdated if today else {}
    apart = [(run.record.label, why_apart.get(run.spec.hash) or _difference(run, key)) for run in done
             if run.spec.board != key or run.spec.hash in why_apart]  # fmt: skip
    apart += [(run.record.label, "a newer run of the same system stands here") for run in superseded]
    asked = on_board[0].spec.asked
    failed = [run for run in of_dataset if run.record.state not in ("done", "skipped")
              and (run.spec.board == key or (run.spec.asked == asked and run.spec.hash not in outdated))]  # fmt: skip
    wanted = None if metrics is None else {*usual.spec.main_metrics, *metrics}
    scores_by_run, groups = _scores(on_board, apart, wanted and {*wanted, *TOLD_OF})
    on_board = [run for run in on_board if run.spec.hash in scores_by_run]
    by_system: dict[str, list[Run]] = defaultdict(list)
    for run in on_board:
        by_system[run.spec.system].append(run)
    systems_runs = [sorted(members, key=lambda run: run.spec.seed) for members in by_system.values()]
    systems_scores = [[scores_by_run[run.spec.hash] for run in members] for members in systems_runs]
    summaries = summarise_systems(systems_scores, groups, intervals=wanted, seed=seed)
    rows = list(zip(systems_runs, systems_scores, summaries, strict=True))
    if len(models := bertscore_models(on_board)) > 1:
        apart.append(("BERTScore", f"measured with {' and '.join(sorted(models))}"))
        rows = [(m, s, {n: v for n, v in found.items() if not n.startswith("bertscore")}) for m, s, found in rows]
    leader = on_board[0].spec.headline
    rows.sort(key=lambda row: -(row[2][leader]["mean"] or 0))
    contenders = [row for row in rows if kind_of(row[0][0].spec.model) != "ceiling"]
    if not contenders:
        raise SlateBenchError(f"nothing but ceilings on the board of {dataset}: {'; '.join(why for _, why in apart)}")
    values = np.stack([per_request(scores, leader) for _, scores, _ in contenders], axis=1)  # [P, systems]
    ranking = rank_bands(values, groups=groups, seed=seed, alpha=ALPHA)
    labels = _labels([members[0] for members, _, _ in rows])
    ranked = [label for row, label in zip(rows, labels, strict=True) if kind_of(row[0][0].spec.model) != "ceiling"]
    systems, place = [], iter(range(len(ranked)))
    for (members, scores, summary), label in zip(rows, labels, strict=True):
        if kind_of(members[0].spec.model) == "ceiling":
            systems.append(System(label, members, scores, summary, None))
            continue
        i = next(place)
        beaten = np.flatnonzero((ranking.p[i] <= ALPHA) & (ranking.rank > ranking.rank[i]))
        band = (int(ranking.rank[i]), int(ranking.band[i]))
        systems.append(System(label, members, scores, summary, band, [ranked[j] for j in beaten]))
    systems.sort(key=lambda system: system.kind == "ceiling")
    part, budget = on_board[0].spec.part, on_board[0].spec.budget
    notices = list(dict.fromkeys(run.record.notice for run in on_board if run.record.notice))
    notices += dict.fromkeys(
        f"not of today: {outdated[run.spec.hash]}" for run in on_board if run.spec.hash in outdated
    )
    if by_hand:
        hidden = len({run.spec.system for run in by_hand})
        notices.append(f"left out, with settings set by hand: {hidden} system{'s' if hidden > 1 else ''}")
    spec = on_board[0].spec
    return Board(
        dataset, spec.source, spec.fingerprint, part, spec.k, spec.budget, groups, systems, failed, apart, notices
    )


def bertscore_models(runs: Sequence[Run]) -> set[str]:
    """The models and layers with which BERTScore was measured: figures of two are not comparable."""
    return {f"{found['model']} layer {found['layer']}" for run in runs if (found := run.record.bertscore)}


def per_request(scores: Sequence[Scores], metric: str) -> np.ndarray:
    """Value of each request, its mean over samples and seeds [P]."""
    per_seed = [s.values[metric] if s.values[metric].ndim == 1 else mean_over(s.values[metric], 1) for s in scores]
    return mean_over(np.stack(per_seed), 0)


def _scores(
    runs: Sequence[Run], apart: list[tuple[str, str]], only: Collection[str] | None
) -> tuple[dict[str, Scores], list[str]]:
    """Scores by the hash of each run, and the group of each request; a damaged run is told in `apart` and left out."""
    found: dict[str, Scores] = {}
    problems, asked = [], None
    for run in runs:
        try:
            scores, requests = scores_of(run, only), requests_of(run)
        except SlateBenchError as error:
            problems.append(error)
            apart.append((run.record.label, str(error)))
            continue
        if asked is None:
            asked = requests
        if scores.requests == asked["request"].to_list():
            found[run.spec.hash] = scores
        else:
            apart.append((run.record.label, f"{run.folder} was asked other requests: run it again with --rerun"))
    if asked is None:
        raise problems[0]
    return found, asked["group"].to_list()


def _newest(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Of each system the runs of its newest versions, and the runs that these supersede."""
    of_system: dict[tuple, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.record.created, reverse=True):
        of_system[(run.record.label, *map(str, _settings(run).values()))].append(run)
    kept = [run for found in of_system.values() for run in found if run.spec.system == found[0].spec.system]
    return kept, [run for run in runs if run not in kept]


def _as_usual(run: Run) -> bool:
    """Was it learnt and asked as the others are, unless told otherwise?"""
    return run.spec.repeats == "excluded" and not run.spec.refit


def _settings(run: Run) -> dict[str, object]:
    """What makes a system another one."""
    spec = run.spec
    vectors = {"encoder": spec.encoder, "item_vectors": spec.item_vectors}
    features = vectors if kind_of(spec.model) == "system" else {}
    return {**spec.config, **spec.sampling, "samples": spec.samples, **features}


def set_by_hand(run: Run) -> bool:
    """Does it stand beside its model's own row, with settings or vectors that were set by hand?"""
    other_vectors = run.spec.encoder != DEFAULT_ENCODER or run.spec.item_vectors is not None
    return bool(run.record.overrides) or (other_vectors and kind_of(run.spec.model) == "system")


KEY_NAMES = ("dataset", "fingerprint", "part", "k", "budget", "metric version", "evaluation embedding",
             "cutoffs", "items of the history", "requests", "learnt from")  # fmt: skip


def _difference(run: Run, key: tuple) -> str:
    apart = [f"{name} {mine} instead of {theirs}"
             for name, mine, theirs in zip(KEY_NAMES, run.spec.board, key, strict=True) if mine != theirs]  # fmt: skip
    return ", ".join(apart)


def _labels(runs: Sequence[Run]) -> list[str]:
    """Labels, made distinct by the settings in which systems of the same label differ."""
    labels = [run.record.label for run in runs]
    settings = [_settings(run) for run in runs]
    found = []
    for i, (label, mine) in enumerate(zip(labels, settings, strict=True)):
        twins = [settings[j] for j, other in enumerate(labels) if j != i and other == label]
        differ = [key for key in mine if any(mine[key] != twin.get(key) for twin in twins)]
        apart = ", ".join(f"{key}={mine[key]}" for key in differ) or runs[i].spec.hash[:6]
        found.append(f"{label} ({apart})" if twins else label)
    return found
