"""Health of semantic ids (PROTOCOL section 4): do they name items apart, use their codes, and mean something?

Purity grows with the number of groups by itself: read every figure beside `groups_level_*`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse


def collision_rate(codes: np.ndarray) -> float:
    """1 - distinct ids / items.

    Args:
        codes: [N, D].

    >>> collision_rate(np.array([[0, 1], [0, 1], [0, 2], [1, 0]]))
    0.25
    """
    return 1 - len(np.unique(codes, axis=0)) / len(codes)


def code_use(codes: np.ndarray, size: int) -> tuple[float, float, int]:
    """Share of a codebook that is used, entropy of its use over log(size), and its dead codes.

    Args:
        codes: codes of one level [N].
        size: of the codebook.

    >>> code_use(np.array([0, 0, 1, 1]), 4)
    (0.5, 0.5, 2)
    """
    count = np.bincount(codes, minlength=size)
    share = count[count > 0] / count.sum()
    entropy = float(-(share * np.log(share)).sum() / np.log(size)) if size > 1 else 1.0
    return len(share) / size, entropy, int(size - len(share))


def concentration(groups: np.ndarray, category: np.ndarray) -> float:
    """Share of items in the most frequent category of their group.

    Args:
        groups: group of each item [N].
        category: of each item [N].

    Source: HiGR (majority-category purity).

    >>> concentration(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 6]))
    0.75
    """
    table = _counts(groups, category)
    return float(table.max(axis=1).sum() / len(groups))


def consistency(groups: np.ndarray, category: np.ndarray) -> float | None:
    """Share of the pairs of items inside a group that have the same category; None without such a pair.

    Args:
        groups: group of each item [N].
        category: of each item [N].

    Source: HiGR (pairs pooled over groups).

    >>> round(consistency(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 6])), 4)
    0.3333
    """
    inside = np.bincount(groups).astype(np.float64)
    same = _counts(groups, category).data
    pairs = (inside * (inside - 1)).sum()
    return float((same * (same - 1)).sum() / pairs) if pairs else None


def _counts(groups: np.ndarray, category: np.ndarray) -> sparse.csr_array:
    """Items of each category in each group, [groups, categories]."""
    table = sparse.coo_array((np.ones(len(groups)), (groups, category)))
    table.sum_duplicates()
    return sparse.csr_array(table)


def semantic_id_health(codes: np.ndarray, sizes: Sequence[int], category: np.ndarray) -> dict[str, float]:
    """All figures of one tokenizer.

    Args:
        codes: semantic id of each item [N, D].
        sizes: of the D codebooks.
        category: one category code per item [N], -1 = none (left out of the figures by category).

    Returns:
        sid_collision_rate; per level d = 1..D sid_codebook_use_level_d, sid_code_entropy_level_d (1 = even) and
        sid_dead_codes_level_d; per prefix of d levels sid_groups_level_d, sid_concentration_level_d and
        sid_consistency_level_d (left out where no group has two items).

    >>> health = semantic_id_health(np.array([[0, 1], [0, 1], [1, 0]]), [2, 2], np.array([7, 7, 3]))
    >>> round(health["sid_collision_rate"], 4), health["sid_groups_level_1"], health["sid_consistency_level_1"]
    (0.3333, 2, 1.0)
    """
    health = {"sid_collision_rate": collision_rate(codes)}
    known = category >= 0
    for level, size in enumerate(sizes, start=1):
        used, entropy, dead = code_use(codes[:, level - 1], size)
        _, groups = np.unique(codes[:, :level], axis=0, return_inverse=True)
        groups = groups.reshape(-1)
        health |= {
            f"sid_codebook_use_level_{level}": used,
            f"sid_code_entropy_level_{level}": entropy,
            f"sid_dead_codes_level_{level}": dead,
            f"sid_groups_level_{level}": int(groups.max()) + 1,
        }
        if known.any():
            health[f"sid_concentration_level_{level}"] = concentration(groups[known], category[known])
            if (consistent := consistency(groups[known], category[known])) is not None:
                health[f"sid_consistency_level_{level}"] = consistent
    return health
