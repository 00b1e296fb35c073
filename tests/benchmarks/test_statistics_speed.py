"""Speed of the statistics: 10,000 resamples x 20 systems x 5,000 prompts (to take under 10 s together)."""

from __future__ import annotations

import numpy as np
import pytest

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
