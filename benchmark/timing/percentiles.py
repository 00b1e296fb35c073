"""Percentiles of latencies, and paired ratios, with intervals."""

from __future__ import annotations

import numpy as np

ROUGH_BELOW = 200  # requests from which p50 and p95 are more than rough


P99_FROM = 1000  # the same for p99


PERCENTILES = (50, 95, 99)


RESAMPLES = 2000


def percentiles(samples: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, float | bool | int]:
    """Percentiles of latency samples with 95 % bootstrap intervals.

    Args:
        samples: milliseconds of single requests [n].
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        p50_ms, p50_low, p50_high, the same for p95 and p99, mean_ms, requests; `rough` below 200 requests and
        `p99_rough` below 1,000.
    """
    drawn = samples[_draws(len(samples), seed, resamples)]
    found: dict[str, float | bool | int] = {}
    for p, value, spread in zip(PERCENTILES, np.percentile(samples, PERCENTILES),
                                np.percentile(drawn, PERCENTILES, axis=1), strict=True):  # fmt: skip
        low, high = np.percentile(spread, [2.5, 97.5])
        found |= {f"p{p}_ms": float(value), f"p{p}_low": float(low), f"p{p}_high": float(high)}
    n = len(samples)
    return found | {
        "mean_ms": float(samples.mean()),
        "requests": n,
        "rough": n < ROUGH_BELOW,
        "p99_rough": n < P99_FROM,
    }


def paired_ratio(
    a: np.ndarray, b: np.ndarray, percentile: float, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Ratio of a percentile of `a` to that of `b` with its 95 % interval; request i of both is drawn together.

    >>> paired_ratio(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]), 50)
    (2.0, 2.0, 2.0)
    """
    drawn = _draws(len(a), seed, resamples)
    ratios = np.percentile(a[drawn], percentile, axis=1) / np.percentile(b[drawn], percentile, axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.percentile(a, percentile) / np.percentile(b, percentile)), float(low), float(high)


def _draws(n: int, seed: int, resamples: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n, (resamples, n))
