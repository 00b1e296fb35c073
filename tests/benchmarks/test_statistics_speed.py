"""Speed of the statistics: 10,000 resamples x 20 systems x 5,000 prompts (to take under 10 s together); a board's."""

from __future__ import annotations

import time

import numpy as np
import pytest

from slatebench.metrics.base import Scores
from slatebench.metrics.evaluate import summarise, summarise_systems
from slatebench.metrics.statistics import bootstrap_intervals, rank_bands


def board() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.where(rng.random((5000, 20)) < 0.3, rng.random((5000, 20)), 0)


@pytest.mark.benchmark(group="statistics, 20 systems x 5,000 prompts")
def test_intervals(benchmark) -> None:  # type: ignore[no-untyped-def]
    _, low, high = benchmark.pedantic(bootstrap_intervals, args=(board(),), rounds=3)
    assert (low < high).all()


@pytest.mark.benchmark(group="statistics, 20 systems x 5,000 prompts")
def test_bands_over_all_190_pairs(benchmark) -> None:  # type: ignore[no-untyped-def]
    ranking = benchmark.pedantic(rank_bands, args=(board(),), rounds=3)
    assert ranking.band.max() <= 20


@pytest.mark.benchmark(group="a board: 8 systems x 22,363 requests x 9 metrics")
def test_a_board_draws_its_groups_once(benchmark) -> None:  # type: ignore[no-untyped-def]
    """All systems together against one after the other, in this run; 10,000 resamples as on a board."""
    rng, requests = np.random.default_rng(0), [f"u{i}" for i in range(22_363)]
    systems = [[Scores(requests, {f"m{j}": np.where(rng.random(len(requests)) < 0.3, rng.random(len(requests)), 0)
                                  for j in range(9)}, {})] for _ in range(8)]  # fmt: skip
    began = time.process_time()
    alone = [summarise(runs, requests) for runs in systems]
    apart = time.process_time() - began
    began = time.process_time()
    together = benchmark.pedantic(summarise_systems, args=(systems, requests), rounds=1)
    ratio = apart / (time.process_time() - began)
    benchmark.extra_info["times_faster_than_one_by_one"] = ratio
    assert [s["m0"]["low"] for s in together] == pytest.approx([s["m0"]["low"] for s in alone])
    assert ratio >= 2, f"only {ratio:.1f} times faster"
