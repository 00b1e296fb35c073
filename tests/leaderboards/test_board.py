"""Boards: what may stand on one, order, bands, intervals over seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slatebench.datasets.errors import UsageError
from slatebench.leaderboards.board import build_board
from slatebench.leaderboards.records import list_runs
from slatebench.leaderboards.schema import Versions
from slatebench.leaderboards.tables import as_csv, as_json, as_markdown, as_table, caption, number, with_interval
from slatebench.metrics.statistics import bootstrap_interval

Make = Callable[..., Any]
P = 60


def scores(mean: float, seed: int = 0, samples: int = 1, spread: float = 0.05) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = np.clip(mean + spread * rng.standard_normal((P, samples)), 0, 1)
    return {"ndcg_sim_at_10": values, "ndcg_at_10": values / 4}


@pytest.fixture
def runs(make_run: Make, tmp_path: Path) -> Callable[[], list[Any]]:
    groups = [f"g{i // 2}" for i in range(P)]
    make_run(scores(0.40, 1), model="bm25", groups=groups)
    make_run(scores(0.405, 2), model="dense", groups=groups)
    for seed in (0, 1, 2):
        make_run(scores(0.60, 3 + seed, samples=4), model="dmsg", seed=seed, samples=4, groups=groups)
    make_run(scores(0.05, 9), model="random", groups=groups)
    make_run(scores(1.0, 9, spread=0), model="ceiling:reference", groups=groups)
    return lambda: list_runs(tmp_path / "runs")[0]


def test_order_bands_and_kinds(runs: Make) -> None:
    board = build_board(runs(), "toy")
    assert [(s.label, s.kind) for s in board.systems] == [
        ("dmsg", "system"),
        ("dense", "system"),
        ("bm25", "system"),
        ("random", "floor"),
        ("ceiling:reference", "ceiling"),
    ]
    assert [s.band for s in board.systems] == [(1, 1), (2, 2), (3, 2), (4, 4), None]


def test_seeds_are_one_system_and_no_further_evidence(runs: Make) -> None:
    board = build_board(runs(), "toy")
    dmsg = board.systems[0]
    assert dmsg.seeds == [0, 1, 2]
    per_request = np.mean([s.values["ndcg_sim_at_10"].mean(1) for s in dmsg.scores], axis=0)
    mean, low, high = bootstrap_interval(per_request, groups=board.groups, seed=0)
    summary = dmsg.summary["ndcg_sim_at_10"]
    assert (summary["mean"], summary["low"], summary["high"]) == pytest.approx((mean, low, high))
    assert summary["n"] == P and summary["sd_over_seeds"] is not None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"fingerprint": "beef"}, "fingerprint"),
        ({"k": 5}, "k"),
        ({"part": "valid"}, "part"),
        ({"budget": "paper"}, "budget"),
        ({"cutoffs": [10]}, "cutoffs"),
        ({"versions": Versions(model="1", metrics="2", features="1", evaluation="1")}, "metric version"),
        ({"versions": Versions(model="1", metrics="1", features="1", evaluation="2")}, "evaluation embedding"),
    ],
)
def test_what_can_not_be_compared_is_listed_with_the_reason(
    runs: Make, make_run: Make, change: dict[str, Any], word: str
) -> None:
    make_run(scores(0.9), model="other", record={"created": "2025-12-31T00:00:00+00:00"}, **change)
    board = build_board(runs(), "toy")
    assert "other" not in [s.label for s in board.systems]
    ((label, reason),) = board.not_comparable
    assert label == "other" and word in reason
    assert any("not comparable: other" in line for line in caption(board))


def test_one_reason_is_told_once(runs: Make) -> None:
    board = build_board(runs(), "toy")
    board.not_comparable[:] = [*((f"m{i}", "k 20 instead of 10") for i in range(5)), ("m0", "another")]
    said = [line for line in caption(board) if line.startswith("not comparable")]
    assert said == ["not comparable: m0, m1, m2 and 2 more: k 20 instead of 10", "not comparable: m0: another"]


def test_failed_cells_are_named(runs: Make, make_run: Make) -> None:
    make_run(scores(0.9), model="broken", state="timeout", record={"reason": "stopped after 3 s"})
    board = build_board(runs(), "toy")
    assert [run.spec.model for run in board.failed] == ["broken"]
    assert any("broken" in line and "stopped after 3 s" in line for line in caption(board))


def test_systems_of_one_label_are_told_apart_by_what_differs(runs: Make, make_run: Make) -> None:
    make_run(scores(0.3), model="twin", config={"width": 1, "same": 1})
    make_run(scores(0.2), model="twin", config={"width": 2, "same": 1})
    labels = [s.label for s in build_board(runs(), "toy").systems]
    assert "twin (width=1)" in labels and "twin (width=2)" in labels


def test_best_of_a_column_leaves_floors_and_ceilings_out(runs: Make) -> None:
    assert build_board(runs(), "toy").best("ndcg_sim_at_10") == {"dmsg"}


def test_a_board_of_some_metrics_says_of_them_what_the_whole_one_says(make_run: Make, tmp_path: Path) -> None:
    names = ("ndcg_sim_at_10", "ndcg_at_10", "precision_at_10", "coherence", "leaf_entropy")
    for i, model in enumerate(("bm25", "dense")):
        make_run(
            {name: scores(0.2 + 0.1 * j, 7 * i + j)["ndcg_sim_at_10"] for j, name in enumerate(names)}, model=model
        )
    found = list_runs(tmp_path / "runs")[0]
    whole, some = build_board(found, "toy"), build_board(found, "toy", metrics=["coherence"])
    for mine, theirs in zip(some.systems, whole.systems, strict=True):
        assert (mine.label, mine.band) == (theirs.label, theirs.band)
        assert set(mine.summary) == set(names) - {"leaf_entropy"}
        assert mine.summary["precision_at_10"]["low"] is None  # there for the caption alone
        for name in ("ndcg_sim_at_10", "ndcg_at_10", "coherence"):
            assert mine.summary[name] == pytest.approx(theirs.summary[name]), name


def test_no_runs_is_a_clear_line(runs: Make) -> None:
    with pytest.raises(UsageError, match=r"slatebench bench MODEL --dataset nowhere"):
        build_board(runs(), "nowhere")


def test_latency_and_fit_stand_on_the_board(runs: Make, make_run: Make) -> None:
    record = {"latency": {"p50_ms": 12.34567, "p95_ms": 20.0}, "fit": {"seconds": 61.0}}
    make_run(scores(0.99), model="timed", record=record)
    board = build_board(runs(), "toy")
    assert board.systems[0].latency("p50_ms") == 12.34567 and board.systems[0].seconds("fit") == 61
    text = as_markdown(board)
    assert "12.3 ms" in text and "61 s" in text


def test_latencies_of_two_machines_never_share_a_column(runs: Make, make_run: Make) -> None:
    def record(p50: float, cpu: str) -> dict:
        return {"latency": {"p50_ms": p50, "p95_ms": 2 * p50, "machine": {"cpu": cpu, "cores": 2, "gpu": None}}}

    for model, p50, cpu in (("here", 11.5, "ours"), ("here-too", 12.5, "ours"), ("there", 3.5, "a faster one")):
        make_run(scores(0.9), model=model, record=record(p50, cpu))
    board = build_board(runs(), "toy")
    assert board.machine == "ours, 2 cores"
    text = as_markdown(board)
    assert "11.5 ms" in text and "12.5 ms" in text and "3.5 ms" not in text
    assert "latency not shown: there was timed on a faster one, 2 cores" in text


def test_rough_latencies_are_marked(runs: Make, make_run: Make) -> None:
    def record(requests: int) -> dict:
        return {"latency": {"p50_ms": 3.0, "p95_ms": 4.0, "requests": requests, "rough": requests < 200}}

    def said() -> list[str]:
        return [line for line in caption(build_board(runs(), "toy")) if "rough" in line]

    make_run(scores(0.9), model="long", record=record(200))
    assert said() == []
    make_run(scores(0.9), model="short", record=record(20))
    assert said() == ["latency of short is rough: 20 requests, where 200 are needed for p95"]
    assert said()[0] in as_markdown(build_board(runs(), "toy"))
    make_run(scores(0.9), dataset="quick", model="short", record=record(20))
    assert "latency is rough: 20 requests, where 200 are needed for p95" in caption(build_board(runs(), "quick"))


def test_the_caption_says_what_bertscore_chance_reaches(runs: Make, make_run: Make) -> None:
    assert not any("BERTScore" in line for line in caption(build_board(runs(), "toy")))
    found = {"model": "roberta-large", "layer": 17, "baseline": {"bertscore_f1": 0.83214, "bertscore_recall": 0.8}}
    for seed in (0, 1):
        make_run(scores(0.9), model="scored", seed=seed, record={"bertscore": found})
    line = "BERTScore (roberta-large, layer 17): random slate pairs reach F1 .832, so read it against that"
    assert caption(build_board(runs(), "toy")).count(line) == 1


def test_the_caption_warns_of_popularity_where_test_items_are_new(make_run: Make, tmp_path: Path) -> None:
    def said(dataset: str, metrics: list[str] | None = None) -> bool:
        board = build_board(list_runs(tmp_path / "runs")[0], dataset)
        return any("popularity is confounded" in line for line in caption(board, metrics))

    for dataset, seen in (("old", 0.19), ("new", 0.05), ("unknown", None)):
        make_run(scores(0.5) | {"popularity": np.full(P, 0.2)}, model="dense", dataset=dataset)
        for name, share in (("reference", 0.2), ("train-seen", seen)):
            if share is not None:
                found = scores(0.5) | {"precision_at_10": np.full(P, share)}
                make_run(found, model=f"ceiling:{name}", dataset=dataset)
    assert (said("old"), said("new"), said("unknown")) == (False, True, True)
    assert not said("new", ["ndcg_at_10"]) and said("new", ["popularity"])


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 200])
def test_the_table_fits_the_terminal(runs: Make, width: int) -> None:
    import io

    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=200).print(as_table(build_board(runs(), "toy"), width=width))
    _, *lines = text.getvalue().splitlines()
    assert max(len(line) for line in lines if "left out" not in line) <= width
    assert "\u2026" not in text.getvalue() and ("left out" in text.getvalue()) == (width < 200)
    assert any("rank" in line for line in lines) and any("NDCGSim@10" in line for line in lines)
    for system in build_board(runs(), "toy").systems:
        figure = with_interval(system.summary["ndcg_sim_at_10"])
        assert any(system.label in line for line in lines) and any(figure in line for line in lines)


def test_the_same_figures_in_every_format(runs: Make) -> None:
    import json

    import polars as pl

    board = build_board(runs(), "toy")
    mean = board.systems[0].summary["ndcg_sim_at_10"]["mean"]
    assert mean is not None
    table = json.loads(as_json(board))
    assert table["systems"][0]["metrics"]["ndcg_sim_at_10"]["mean"] == mean
    frame = pl.read_csv(as_csv(board).encode())
    assert frame.filter(label="dmsg", metric="ndcg_sim_at_10")["mean"].item() == pytest.approx(mean)
    assert number(mean, *(board.systems[0].summary["ndcg_sim_at_10"][key] for key in ("low", "high"))) in as_markdown(
        board
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.45123, 0.4301, 0.4722, ".451"),
        (0.45123, 0.2, 0.7, ".45"),
        (0.45123, 0.4512, 0.4513, ".4512"),
        (12.3456, 11.0, 13.5, "12.3"),
        (-0.031, -0.05, -0.01, "-.031"),
        (1.0, 1.0, 1.0, "1.000"),
        (None, None, None, "–"),
    ],
)
def test_digits_follow_the_interval(value: float, low: float, high: float, text: str) -> None:
    assert number(value, low, high) == text


def test_markdown_survives_a_label_with_a_bar(runs: Make, make_run: Make) -> None:
    make_run(scores(0.99), model="odd", record={"label": "odd a=x|y"})
    assert r"odd a=x\|y" in as_markdown(build_board(runs(), "toy"))


def test_the_newest_version_of_a_system_stands_and_the_older_is_named(runs: Make, make_run: Make) -> None:
    newer = Versions(model="2", metrics="1", features="1", evaluation="1")
    make_run(scores(0.7), model="dense", versions=newer, record={"created": "2026-01-02T00:00:00+00:00"})
    board = build_board(runs(), "toy")
    dense = [s for s in board.systems if s.label == "dense"]
    assert len(dense) == 1 and dense[0].runs[0].spec.versions.model == "2"
    assert ("dense", "a newer run of the same system stands here") in board.not_comparable


def test_another_encoder_is_another_system_but_for_floors(runs: Make, make_run: Make) -> None:
    for model in ("dense", "random"):
        make_run(scores(0.3), model=model, encoder="hash", record={"created": "2026-01-02T00:00:00+00:00"})
    labels = [s.label for s in build_board(runs(), "toy").systems]
    assert "dense (encoder=hash)" in labels and "dense (encoder=minilm)" in labels
    assert [label for label in labels if label.startswith("random")] == ["random"]


def test_the_board_of_a_spec_and_that_of_the_newest_run(runs: Make, make_run: Make) -> None:
    other = make_run(scores(0.9), model="other", k=5, record={"created": "2025-12-31T00:00:00+00:00"})
    assert [s.label for s in build_board(runs(), "toy", like=other.spec).systems] == ["other"]
    assert "other" not in [s.label for s in build_board(runs(), "toy").systems]


def test_ablations_stand_on_the_board_or_not(runs: Make, make_run: Make) -> None:
    plain = [s.label for s in build_board(runs(), "toy").systems]
    by_hand = {"label": "dense x=1", "overrides": {"x": 1}}
    make_run(scores(0.3), model="dense", sampling={"x": 1}, record=by_hand)
    for model in ("dense", "random"):
        later = {"created": "2026-01-02T00:00:00+00:00"}
        make_run(scores(0.3), model=model, encoder="hash", record=later)
    assert len(build_board(runs(), "toy").systems) == len(plain) + 2  # a floor looks at no text
    board = build_board(runs(), "toy", ablations=False)
    assert [s.label for s in board.systems] == plain
    assert board.notices == ["left out, with settings set by hand: 2 systems"]
    with pytest.raises(UsageError, match="--no-ablations"):
        build_board([run for run in runs() if run.record.overrides], "toy", ablations=False)


def test_a_later_run_that_learnt_from_less_takes_no_board_over(runs: Make, make_run: Make) -> None:
    whole = build_board(runs(), "toy").fingerprint
    later = {"created": "2026-01-02T00:00:00+00:00"}
    less = make_run(scores(0.3), model="dense", fingerprint="less", train_share=0.5, record=later)
    make_run(scores(0.3), model="dense", fingerprint="resplit", split_seed=1, record=later)
    assert build_board(runs(), "toy").fingerprint == whole
    assert build_board(runs(), "toy", like=less.spec).fingerprint == "less"


def test_a_board_without_a_cutoff_of_ten_goes_by_its_own(make_run: Make, tmp_path: Path) -> None:
    for model, mean in (("a", 0.2), ("b", 0.4)):
        make_run({"ndcg_sim_at_3": scores(mean)["ndcg_sim_at_10"]}, model=model, k=3, cutoffs=[3])
    board = build_board(list_runs(tmp_path / "runs")[0], "toy")
    assert [s.label for s in board.systems] == ["b", "a"]
    assert "NDCGSim@3" in as_markdown(board)


def test_bertscores_of_two_models_share_no_column(make_run: Make, tmp_path: Path) -> None:
    values = scores(0.4) | {"bertscore_f1": np.full(P, 0.5)}
    for model, scorer in (("a", "minilm"), ("b", "roberta")):
        make_run(values, model=model, record={"bertscore": {"model": scorer, "layer": 6}})
    board = build_board(list_runs(tmp_path / "runs")[0], "toy")
    assert all("bertscore_f1" not in system.summary for system in board.systems)
    assert ("BERTScore", "measured with minilm layer 6 and roberta layer 6") in board.not_comparable
