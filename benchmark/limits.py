"""How much of something may be asked for, and what is said where it is too much. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..datasets.errors import LARGEST, UsageError, one_line

MOST_SEEDS = 1000
MOST_TRIALS = 100_000
MOST_REQUESTS = 1_000_000  # timed one by one
MOST_DRAWN = 1000  # slates for one request


def check_range(name: str, number: int, most: int, why: str) -> None:
    """Refuse a number below 1 or above `most`.

    Raises:
        UsageError: says which, and `why` not more.
    """
    if not 1 <= number <= most:
        raise UsageError(f"{name}={one_line(number, 30)}: choose 1 to {most:,}, {why}")


def check_processes(name: str, number: int) -> None:
    """Refuse a number of processes that no machine like this one starts.

    Raises:
        UsageError: less than 1, or far more than there are cores.
    """
    cores = os.cpu_count() or 1
    check_range(name, number, max(64, 4 * cores), f"each is a process with the data in its memory ({cores} cores here)")


def check_seeds(seeds: Sequence[int], where: str) -> None:
    """Refuse seeds that are none, or a seed that is asked for twice.

    Raises:
        UsageError: says `where` and which.
    """
    if not 1 <= len(seeds) <= MOST_SEEDS:
        raise UsageError(f"{where}: {len(seeds):,} of them: name 1 to {MOST_SEEDS:,}")
    for i, seed in enumerate(seeds):
        if not 0 <= seed <= LARGEST:
            raise UsageError(f"{where}: {one_line(seed, 30)}: a seed is a whole number from 0 to 2^63 - 1")
        if seed in seeds[:i]:
            raise UsageError(f"{where}: {seed} is named twice: each seed once")
