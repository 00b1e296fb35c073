"""Seeds by name: the same noise whatever ran before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(seed: int, *names: object) -> int:
    """A seed derived by name: what one part draws never hangs on the order of the parts."""
    return int.from_bytes(hashlib.sha256("|".join(map(str, (seed, *names))).encode()).digest()[:7])


@contextmanager
def seeded(seed: int, *names: object) -> Iterator[None]:
    """Inside, torch draws from `seed_of(seed, *names)`; afterwards its generators are as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, *names))
        yield


def rows_of_step(step: int, batch_size: int, n_rows: int, seed: int) -> np.ndarray:
    """Train rows of a step, int64 [batch_size]: all rows in a new order each epoch, epochs joined without a gap."""
    first = step * batch_size
    epochs = range(first // n_rows, (first + batch_size - 1) // n_rows + 1)
    order = [np.random.default_rng(seed_of(seed, "epoch", epoch)).permutation(n_rows) for epoch in epochs]
    return np.concatenate(order)[first - epochs[0] * n_rows :][:batch_size]
