"""The main job on the real data: figures of the retrieval systems lie where independent prototypes found them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# bands around figures that prototypes measured on other splits (their spread over splits is about .01)
BANDS = {
    ("random", "ndcg_at_10"): (0.0001, 0.002),
    ("popularity", "ndcg_at_10"): (0.002, 0.012),
    ("bm25", "ndcg_at_10"): (0.075, 0.105),
    ("dense", "ndcg_at_10"): (0.085, 0.115),
    ("hybrid", "ndcg_at_10"): (0.095, 0.125),
    ("prompt-knn", "ndcg_at_10"): (0.010, 0.025),
    ("prompt2vec", "ndcg_at_10"): (0.065, 0.100),
    ("random", "ndcg_sim_at_10"): (0.07, 0.09),
    ("popularity", "ndcg_sim_at_10"): (0.065, 0.095),
    ("bm25", "ndcg_sim_at_10"): (0.36, 0.41),
    ("dense", "ndcg_sim_at_10"): (0.43, 0.48),
    ("hybrid", "ndcg_sim_at_10"): (0.43, 0.48),
    ("prompt2vec", "ndcg_sim_at_10"): (0.45, 0.49),
}


@pytest.fixture(scope="module")
def figures(slatebench: Callable[..., Any], real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    models = sorted({model for model, _ in BANDS})
    done = slatebench("bench", *models, "--dataset", "bundle", "--source", "real", "--budget", "smoke", "--no-latency",
                      "--json", "--runs", str(tmp_path_factory.mktemp("runs")))  # fmt: skip
    assert done.code == 0, done.err
    return {row["model"]: row["metrics"] for row in json.loads(done.out)["runs"]}


@pytest.mark.parametrize(("model", "metric"), BANDS)
def test_figures_on_the_real_bundle(figures: dict, model: str, metric: str) -> None:
    low, high = BANDS[model, metric]
    assert low < figures[model][metric]["mean"] < high


def test_nothing_is_null_that_should_not_be(figures: dict) -> None:
    for model, metrics in figures.items():
        assert not [name for name, value in metrics.items() if value["mean"] is None], model
