"""The random choices behind the twins: right in distribution, and exact."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from slatebench.datasets.synthetic.exact import Draws, falling, join, sometimes


def test_the_stream_is_frozen():
    """First doubles of PCG64([1, 2]), as any numpy must make them."""
    expected = np.random.Generator(np.random.PCG64([1, 2])).random(5)
    np.testing.assert_array_equal(Draws(1, 2).uniform(5), expected)


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=6), st.integers(0, 1000))
def test_choices_follow_their_weights(weights, seed):
    share = np.bincount(Draws(seed, 0).choose(np.array(weights), 4000), minlength=len(weights)) / 4000
    np.testing.assert_allclose(share, np.array(weights) / sum(weights), atol=0.05)


@given(st.integers(1, 50), st.integers(0, 1000))
def test_orders_are_permutations_and_below_stays_below(n, seed):
    assert sorted(Draws(seed, 0).order(n).tolist()) == list(range(n))
    numbers = Draws(seed, 1).below(n, 200)
    assert numbers.min() >= 0 and numbers.max() < n


def test_falling_is_zipf():
    ranks = np.arange(1000)
    for quarters in range(5):
        np.testing.assert_allclose(falling(ranks, quarters), (ranks + 1.0) ** (-quarters / 4))


def test_join_leaves_no_gaps():
    left, right = pl.Series(["a", "", "b"]), pl.Series(["", ", c", ", d"])
    assert join(left, right).to_list() == ["a", ", c", "b, d"]
    assert set(sometimes(Draws(0, 0), 0.5, pl.Series(["x"] * 50)).to_list()) == {"x", ""}
