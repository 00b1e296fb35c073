"""Health of semantic ids (docs/protocol.md, section 4): collisions, use of codebooks, purity of prefixes; a gate.

Concentration and Consistency are HiGR's names (arXiv 2512.24787): share of the majority category, and share of
same-category pairs, within groups of items that share a prefix. Both grow with the number of groups: never read one
without the other.
"""

from __future__ import annotations

import numpy as np

from ...datasets.errors import SlateBenchError
from ...datasets.schema import Catalog

CATEGORY_DEPTH = 3  # levels of the first category path that make an item's label
MOST_COLLISIONS = 0.5  # beyond: collapsed
LEAST_PERPLEXITY = 0.1  # of a level's codes; below: collapsed


def health_report(codes: np.ndarray, n_codes: int, catalog: Catalog) -> dict[str, float]:
    """Health by name: plain numbers, so that a record can hold them.

    Args:
        codes: [N, D].
        n_codes: size of a codebook (K).
        catalog: for the categories; without any, concentration and consistency are left out.
    """
    N, D = codes.shape
    prefixes = prefix_groups(codes)
    sizes = np.bincount(prefixes[-1])
    report = {
        "collision_rate": 1 - len(sizes) / N,
        "share_in_collision": float(sizes[sizes > 1].sum() / N),
        "most_items_of_one_id": float(sizes.max()),
    }
    labels = category_labels(catalog)
    for level in range(1, D + 1):
        share = np.bincount(codes[:, level - 1], minlength=n_codes) / N
        used = share[share > 0]
        entropy = float(-(used * np.log(used)).sum())
        report |= {
            f"codes_used_{level}": len(used) / n_codes,
            f"dead_codes_{level}": float(n_codes - len(used)),
            f"entropy_{level}": entropy,
            f"perplexity_{level}": float(np.exp(entropy)) / n_codes,
        }
        if level < D:
            groups = prefixes[level - 1]
            report[f"groups_{level}"] = float(groups.max() + 1)
            if labels is not None:
                report[f"concentration_{level}"], report[f"consistency_{level}"] = purity(groups, labels)
    return report


def prefix_groups(codes: np.ndarray) -> list[np.ndarray]:
    """For each prefix length 1..D the group of each item [N], numbered from 0.

    >>> [g.tolist() for g in prefix_groups(np.array([[5, 1], [5, 2], [7, 1], [5, 1]]))]
    [[0, 0, 1, 0], [0, 1, 2, 0]]
    """
    groups, out = np.zeros(len(codes), dtype=np.int64), []
    for column in codes.T:
        groups = np.unique(groups * (int(column.max(initial=0)) + 1) + column, return_inverse=True)[1]
        out.append(groups)
    return out


def purity(groups: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Concentration and consistency of a grouping; consistency is 1 where no group holds a pair.

    >>> purity(np.array([0, 0, 0, 1]), np.array([4, 4, 2, 2]))
    (0.75, 0.3333333333333333)
    """
    cells, counts = np.unique(np.stack([groups, labels]), axis=1, return_counts=True)
    majority = np.zeros(groups.max() + 1, dtype=np.int64)
    np.maximum.at(majority, cells[0], counts)
    sizes = np.bincount(groups)
    pairs = (sizes * (sizes - 1) // 2).sum()
    same = (counts * (counts - 1) // 2).sum()
    return float(majority.sum() / len(groups)), float(same / pairs) if pairs else 1.0


def category_labels(catalog: Catalog, depth: int | None = CATEGORY_DEPTH) -> np.ndarray | None:
    """The first category path of each item, cut to `depth`, as a number [N]; None where no item has one."""
    paths = [tuple(paths[0][:depth]) if paths else () for paths in catalog.items["categories"].to_list()]
    if not any(paths):
        return None
    numbers = {path: i for i, path in enumerate(dict.fromkeys(paths))}
    return np.array([numbers[path] for path in paths])


def check_collapse(name: str, health: dict[str, float], codes: np.ndarray, vectors: np.ndarray) -> None:
    """Stop where the codebook collapsed: items that could be told apart share ids, or few codes are used.

    Items whose vectors are equal can't have different codes: they do not count as collisions here.

    Raises:
        SlateBenchError: collapsed.
    """
    distinct = len(np.unique(vectors, axis=0))
    ids = len(np.unique(codes, axis=0))
    collisions, perplexity = 1 - min(1.0, ids / distinct), health["perplexity_1"]
    if collisions > MOST_COLLISIONS or perplexity < LEAST_PERPLEXITY:
        raise SlateBenchError(
            f"the codebook of {name} collapsed ({collisions:.0%} of the items collide, level-1 perplexity "
            f"{perplexity:.2f} "
            "of its codes): more tokenizer_steps, more codes or another tokenizer; --allow-collapse goes on anyway"
        )
