"""Seeds by name: the same noise whatever ran before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

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


BUCKETS = 20  # batches whose rows are sorted by length together


@lru_cache(maxsize=2)
def _batches(epoch: int, batch_size: int, lengths: bytes, seed: int) -> list[np.ndarray]:
    """The batches of an epoch: rows of like length, in an order that tells nothing of it."""
    length = np.frombuffer(lengths, dtype=np.int64)
    rng = np.random.default_rng(seed_of(seed, "epoch", epoch))
    order = rng.permutation(len(length))
    found = []
    for start in range(0, len(order), BUCKETS * batch_size):
        block = order[start : start + BUCKETS * batch_size]
        block = block[np.argsort(length[block], kind="stable")]
        found += np.split(block, range(batch_size, len(block), batch_size))
    return [found[i] for i in rng.permutation(len(found))]


def bucketed_rows(step: int, batch_size: int, lengths: np.ndarray, seed: int) -> np.ndarray:
    """Train rows of a step, int64 [at most batch_size]: every row once an epoch, beside rows of about its length."""
    per_epoch = -(-len(lengths) // batch_size)
    return _batches(step // per_epoch, batch_size, lengths.tobytes(), seed)[step % per_epoch]


def rows_of_step(step: int, batch_size: int, n_rows: int, seed: int) -> np.ndarray:
    """Train rows of a step, int64 [batch_size]: all rows in a new order each epoch, epochs joined without a gap."""
    first = step * batch_size
    epochs = range(first // n_rows, (first + batch_size - 1) // n_rows + 1)
    order = [np.random.default_rng(seed_of(seed, "epoch", epoch)).permutation(n_rows) for epoch in epochs]
    return np.concatenate(order)[first - epochs[0] * n_rows :][:batch_size]
