"""Intervals, tests and bands: against scipy, against plain enumeration, and by simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from slatebench.datasets.errors import UsageError
from slatebench.metrics import statistics
from slatebench.metrics.statistics import (
    bootstrap_interval,
    bootstrap_intervals,
    holm,
    paired_permutation_test,
    paired_permutation_tests,
    pairwise_tests,
    rank_bands,
    win_tie_loss,
)


def zero_inflated(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.3, rng.beta(2, 3, n), 0)


# --- intervals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [30, 200])
def test_interval_equals_scipys_bca_with_widened_tails(n: int) -> None:
    x = zero_inflated(np.random.default_rng(n), n)
    _, low, high = bootstrap_interval(x, resamples=40_000)
    tail = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    theirs = stats.bootstrap((x,), np.mean, confidence_level=2 * tail - 1, n_resamples=40_000, method="BCa",
                             rng=np.random.default_rng(1)).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.04 * width)  # two draws of 40,000 resamples
    assert high == pytest.approx(theirs.high, abs=0.04 * width)


def test_interval_resamples_groups_not_rows() -> None:
    x = zero_inflated(np.random.default_rng(0), 60)
    copies = np.tile(x, 3)  # each group seen again, unchanged: nothing new is known
    alone = bootstrap_interval(x)
    together = bootstrap_interval(copies, groups=np.tile(np.arange(60), 3))
    np.testing.assert_allclose(together, alone, atol=1e-9)
    as_rows = bootstrap_interval(copies)
    assert as_rows[2] - as_rows[1] < 0.7 * (alone[2] - alone[1])


def test_interval_is_seeded_and_columns_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(0)
    values = np.stack([zero_inflated(rng, 50) for _ in range(3)], axis=1)
    values[::7, 1] = np.nan
    together = bootstrap_intervals(values, seed=5)
    for column in range(3):
        alone = bootstrap_interval(values[:, column], seed=5)
        np.testing.assert_allclose([part[column] for part in together], alone, atol=1e-12)
    assert bootstrap_interval(values[:, 0], seed=6) != bootstrap_interval(values[:, 0], seed=5)


def test_groups_are_drawn_as_numpy_draws_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "CELLS_AT_ONCE", 7 * 50)  # several batches
    values = np.random.default_rng(2).random((50, 2))
    values[3, 1] = np.nan
    drawn = np.random.default_rng(9).integers(0, 50, (40, 50))
    expected = np.stack([np.nanmean(values[rows], axis=0) for rows in drawn])
    there = np.isfinite(values).astype(float)
    means = statistics._resampled_means(np.nan_to_num(values), there, seed=9, resamples=40)
    np.testing.assert_allclose(means, expected, rtol=1e-12)


def test_a_null_counts_as_no_row() -> None:
    x = zero_inflated(np.random.default_rng(4), 40)
    mean, low, high = bootstrap_interval(np.append(x, [np.nan] * 3))
    assert mean == pytest.approx(x.mean())
    assert low < mean < high


def test_interval_of_odd_columns() -> None:
    nan = np.nan
    mean, low, high = bootstrap_intervals(np.array([[nan, 0.0, 0.5], [nan, 0.0, nan], [nan, 0.0, nan]]))
    np.testing.assert_array_equal(mean, [nan, 0, 0.5])
    np.testing.assert_array_equal(low, [nan, 0, nan])  # nothing is known of the spread of one group
    np.testing.assert_array_equal(high, [nan, 0, nan])
    with pytest.raises(UsageError, match="one group per value"):
        bootstrap_interval(np.zeros(3), groups=["a"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_interval_stays_within_the_data(values: list[float]) -> None:
    mean, low, high = bootstrap_interval(np.array(values), resamples=200)
    slack = 1e-9
    assert min(values) - slack <= low <= high + slack and high <= max(values) + slack
    assert mean == pytest.approx(np.mean(values))


# --- paired tests ---------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_permutation_test_is_the_enumeration_over_groups(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, (2, n)) / 4
    groups = rng.integers(0, 4, n)
    names = np.unique(groups)
    observed = abs((a - b).sum())
    flips = [dict(zip(names, signs, strict=True)) for signs in product([1, -1], repeat=len(names))]
    sums = [abs(sum(flip[g] * d for g, d in zip(groups, a - b, strict=True))) for flip in flips]
    expected = np.mean([s >= observed - 1e-12 for s in sums])
    assert paired_permutation_test(a, b, groups=groups) == pytest.approx(expected)


def test_permutation_test_equals_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = zero_inflated(rng, 80), zero_inflated(rng, 80) + 0.05
    theirs = stats.permutation_test((a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
                                    vectorized=True, n_resamples=20_000, rng=np.random.default_rng(1))  # fmt: skip
    ours = paired_permutation_test(a, b, resamples=20_000)
    assert 0.01 < ours < 0.9
    assert ours == pytest.approx(theirs.pvalue, abs=0.015)
    small = stats.permutation_test((a[:9], b[:9]), lambda x, y, axis: np.mean(x - y, axis=axis), vectorized=True,
                                   permutation_type="samples", n_resamples=np.inf)  # fmt: skip
    assert paired_permutation_test(a[:9], b[:9]) == pytest.approx(small.pvalue)


def test_permutation_test_of_equals_and_of_nulls() -> None:
    x = np.random.default_rng(0).random(40)
    assert paired_permutation_test(x, x) == 1
    a, b = np.array([1, 2, 3, np.nan]), np.array([0, 0, 0, 9.0])
    assert paired_permutation_test(a, b) == paired_permutation_test(a[:3], b[:3])
    assert paired_permutation_test(x + 1, x) == pytest.approx(1 / 10_001)  # as small as it can say
    p = paired_permutation_tests(np.stack([x, -x, x - 0.5], axis=1), seed=3)
    assert p[0] == p[1] != p[2]


def test_copies_of_rows_in_one_group_add_no_evidence() -> None:
    rng = np.random.default_rng(2)
    a, b = zero_inflated(rng, 30), zero_inflated(rng, 30)
    groups = np.arange(30)
    twice = paired_permutation_test(np.tile(a, 2), np.tile(b, 2), groups=np.tile(groups, 2))
    assert twice == paired_permutation_test(a, b, groups=groups)


@pytest.mark.parametrize("n", [8, 300])  # every pattern of signs, and drawn ones
def test_a_boards_pairs_have_the_p_values_of_each_pair(n: int) -> None:
    rng = np.random.default_rng(n)
    ranks = rng.integers(1, 12, (n, 5))
    values = np.where(ranks <= 4, 1 / np.log2(ranks + 1), 0)  # few different values: many sums tie
    values[:, 4] = values[:, 3]
    values[0, 4] += 0.5  # nearly a copy
    groups = np.arange(n) // 2
    first, second = np.triu_indices(5, 1)
    alone = [
        paired_permutation_test(values[:, i], values[:, j], groups=groups) for i, j in zip(first, second, strict=True)
    ]
    np.testing.assert_array_equal(pairwise_tests(values, groups=groups)[first, second], holm(np.array(alone)))
    values[1, 0] = np.nan
    alone = [
        paired_permutation_test(values[:, i], values[:, j], groups=groups) for i, j in zip(first, second, strict=True)
    ]
    np.testing.assert_array_equal(pairwise_tests(values, groups=groups)[first, second], holm(np.array(alone)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_step_down_rule(p_values: list[float]) -> None:
    p = np.array(p_values)
    adjusted = holm(p)
    for alpha in (0.01, 0.05, 0.2):
        rejected = np.zeros(len(p), bool)
        for step, i in enumerate(np.argsort(p, kind="stable")):
            if p[i] * (len(p) - step) > alpha:
                break
            rejected[i] = True
        np.testing.assert_array_equal(adjusted <= alpha, rejected)


def test_bands() -> None:
    rng = np.random.default_rng(0)
    base, noise = rng.random(300), rng.normal(0, 0.05, 300)
    noise -= noise.mean()
    near = np.stack([noise, -noise + 0.001], axis=1)  # two systems that differ by requests, hardly on the mean
    values = base[:, None] + np.column_stack([near, near + 0.5, np.full(300, -0.5)])
    ranking = rank_bands(values)
    assert ranking.rank.tolist() == [4, 3, 2, 1, 5]
    assert ranking.band.tolist() == [3, 3, 1, 1, 5]
    lower = rank_bands(-values, higher_is_better=False)
    assert lower.band.tolist() == ranking.band.tolist()
    np.testing.assert_array_equal(ranking.p, ranking.p.T)


def test_many_systems_can_still_be_separated() -> None:
    # Holm over 780 pairs needs finer p values than 10,000 permutations give
    values = np.random.default_rng(0).normal(0, 0.01, (60, 40)) + np.arange(40)
    assert pairwise_tests(values)[~np.eye(40, dtype=bool)].max() <= 0.05


def test_win_tie_loss_counts_every_request_once() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (2, 100)) / 2
    wins, ties, losses = win_tie_loss(a, b)
    assert (wins, ties, losses) == ((a > b).sum(), (a == b).sum(), (a < b).sum())
    assert win_tie_loss(np.array([0.1 + 0.2]), np.array([0.3])) == (0, 1, 0)


# --- simulations: sizes chosen to take seconds --------------------------------------------------------------


def simulated_board(rng: np.random.Generator, groups: int, seeds: int, rarity: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores [prompts] averaged over seeds, zero-inflated, with an effect of group and of prompt; and the groups."""
    group = np.repeat(np.arange(groups), rng.integers(1, 7, groups))
    prompt = rng.normal(0, 0.7, groups)[group] + rng.normal(0, 0.7, len(group))
    hits = rng.random((seeds, len(group))) < 1 / (1 + np.exp(rarity - prompt))
    return np.where(hits, rng.beta(2, 3, hits.shape), 0).mean(0), group


@pytest.mark.parametrize(
    ("groups", "seeds", "rarity"),
    [(20, 3, 1.1), (60, 3, 1.1), (60, 1, 2.6), (200, 1, 2.6)],  # 28 % of the scores hit, or 9 %
)
def test_95_percent_intervals_cover(groups: int, seeds: int, rarity: float) -> None:
    true_mean = simulated_board(np.random.default_rng(99), 400_000, seeds, rarity)[0].mean()
    rng = np.random.default_rng([groups, seeds])
    covered = []
    for board in range(2000):
        values, group = simulated_board(rng, groups, seeds, rarity)
        _, low, high = bootstrap_interval(values, groups=group, seed=board, resamples=1000)
        covered.append(low <= true_mean <= high)
    # 2,000 boards: a standard error of .5 points (5,000 gave 94.2 % at 20 groups and 94.9-95.1 % from 60 on)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_ten_equal_systems_are_rarely_separated() -> None:
    rng = np.random.default_rng(0)
    boards = 400
    wrong = 0
    for board in range(boards):
        group = np.repeat(np.arange(40), rng.integers(1, 4, 40))
        shared = rng.normal(0, 1, 40)[group][:, None]
        hits = rng.random((len(group), 10)) < 1 / (1 + np.exp(1 - shared))
        values = np.where(hits, rng.beta(2, 3, hits.shape), 0)
        wrong += (pairwise_tests(values, groups=group, seed=board, resamples=2000) <= 0.05).any()
    # family-wise error at most 5 %; the standard error of 400 boards is 1.1 points
    assert wrong / boards <= 0.05 + 2 * 0.011
