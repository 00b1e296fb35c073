"""Random choices that come out the same, byte for byte, on every machine and numpy version.

Only uniform doubles are drawn (the raw 64-bit stream of PCG64, scaled by a power of two: numpy promises the stream of a
bit generator, not that of `integers`, `choice` or `normal`). All that follows is comparison, +, *, / and sqrt, which
IEEE 754 rounds exactly; no log, exp or pow, whose last bits differ between maths libraries.
"""

from __future__ import annotations

import numpy as np
import polars as pl


class Draws:
    """A stream of random choices, named by a seed and a number (streams do not disturb each other)."""

    def __init__(self, seed: int, stream: int) -> None:
        self.bits = np.random.PCG64([seed, stream])

    def uniform(self, *shape: int) -> np.ndarray:
        """Doubles in [0, 1)."""
        raw = self.bits.random_raw(int(np.prod(shape)))
        return ((raw >> np.uint64(11)) * (1.0 / (1 << 53))).reshape(shape)

    def below(self, n: int | np.ndarray, *shape: int) -> np.ndarray:
        """Integers in 0..n-1 (n may be an array that broadcasts)."""
        return (self.uniform(*shape) * n).astype(np.int64)

    def choose(self, weights: np.ndarray, *shape: int) -> np.ndarray:
        """Indices drawn in proportion to `weights`."""
        total = np.cumsum(weights)
        return np.searchsorted(total, self.uniform(*shape) * total[-1], side="right").clip(max=len(weights) - 1)

    def order(self, n: int) -> np.ndarray:
        """A random permutation of 0..n-1."""
        return np.argsort(self.uniform(n), kind="stable")


def falling(ranks: np.ndarray, quarters: int) -> np.ndarray:
    """Zipf weights 1 / (rank + 1) ** (quarters / 4), by exact operations only.

    >>> falling(np.array([0, 1, 15]), 2)
    array([1.        , 0.70710678, 0.25      ])
    """
    root = np.sqrt(np.sqrt(ranks + 1.0))
    power = np.ones_like(root)
    for _ in range(quarters):
        power = power * root
    return 1.0 / power


class WordLists:
    """Lists of phrases, one per row (theme, sub-theme, facet), from which arrays of rows pick at once."""

    def __init__(self, lists: list[list[str]]) -> None:
        self.flat = pl.Series([word for words in lists for word in words], dtype=pl.String)
        self.count = np.array([len(words) for words in lists])
        self.start = np.cumsum(self.count) - self.count

    def pick(self, draws: Draws, rows: np.ndarray) -> pl.Series:
        """One phrase for each row number."""
        return self.flat.gather(self.start[rows] + draws.below(self.count[rows], len(rows)))


def words(text: str) -> list[str]:
    """The words of a comma-separated list."""
    return [word.strip() for word in text.split(", ")]


def pick(draws: Draws, text: str, n: int) -> pl.Series:
    """`n` words of a comma-separated list."""
    options = words(text)
    return pl.Series(options).gather(draws.below(len(options), n))


def sometimes(draws: Draws, share: float, then: pl.Series, otherwise: pl.Series | None = None) -> pl.Series:
    """`then` in about `share` of the rows, in the others `otherwise` (by default the empty text)."""
    return where(draws.uniform(len(then)) < share, then, otherwise)


def where(mask: np.ndarray, then: pl.Series, otherwise: pl.Series | None = None) -> pl.Series:
    """`then` where the mask holds, else `otherwise` (by default the empty text)."""
    rest = pl.lit("") if otherwise is None else otherwise
    return pl.select(pl.when(pl.Series(mask)).then(then).otherwise(rest)).to_series()


def join(*parts: pl.Series | str) -> pl.Series:
    """The parts of each row side by side, runs of blanks collapsed (empty parts leave no gap)."""
    columns = [pl.lit(part) if isinstance(part, str) else part for part in parts]
    text = pl.select(pl.concat_str(columns, separator=" ")).to_series()
    return text.str.replace_all(r"\s+", " ").str.replace_all(" ([,.:])", "${1}").str.strip_chars()
