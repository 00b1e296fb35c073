"""Intervals, paired tests and ranks (PROTOCOL section 6): groups are the evidence, seeded, vectorised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLE_CELLS = 2**22  # resampling counts held at once


def group_codes(groups: Sequence[str] | np.ndarray | None, n: int) -> np.ndarray:
    """Group of each row as integers 0..G-1; without groups each row is its own, int64 [n]."""
    if groups is None:
        return np.arange(n)
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    return codes.reshape(-1)


def bootstrap_intervals(
    values: np.ndarray,
    *,
    groups: Sequence[str] | np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 10_000,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of the columns of `values` and their intervals over resampled groups.

    Args:
        values: [n, columns], NaN = null (left out).
        groups: the group of each row.
        seed: of the resampling, shared by all columns.
        resamples: how many.
        level: of the interval.

    Returns:
        mean, low, high, each [columns]; NaN where a column has no value.
    """
    rng = np.random.default_rng(seed)
    codes = group_codes(groups, len(values))
    G, there = int(codes.max(initial=-1)) + 1, np.isfinite(values)
    sums, counts = np.zeros((G, values.shape[1])), np.zeros((G, values.shape[1]))
    np.add.at(sums, codes, np.where(there, values, 0))
    np.add.at(counts, codes, there)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, RESAMPLE_CELLS // max(G, 1))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, G, (size, G)) + np.arange(size)[:, None] * G
        weight = np.bincount(drawn.ravel(), minlength=size * G).reshape(size, G).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means[start : start + size] = (weight @ sums) / (weight @ counts)
    with np.errstate(invalid="ignore"):
        mean = sums.sum(0) / counts.sum(0)
    tail = (1 - level) / 2
    low, high = np.nanquantile(means, [tail, 1 - tail], axis=0)
    return mean, low, high
