"""Splits in which nothing leaks: groups that belong together stay together, and only hashes decide where."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl


def connected_groups(*keys: pl.Series) -> np.ndarray:
    """Group rows that share a value in any of the key columns, directly or through other rows.

    Args:
        keys: columns of equal length P, e.g. the session of a bundle and its item set.

    Returns:
        Group numbers, int64 [P], in order of first appearance.

    >>> connected_groups(pl.Series(["s1", "s1", "s2", "s3"]), pl.Series(["a", "b", "b", "c"])).tolist()
    [0, 0, 0, 1]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    P = len(keys[0])
    # a graph of rows and values: the nodes of column c start at offset, after the rows and the columns before
    rows, nodes, offset = [], [], P
    for key in keys:
        codes = key.rank("dense").to_numpy().astype(np.int64) - 1
        rows.append(np.arange(P))
        nodes.append(codes + offset)
        offset += int(codes.max(initial=-1)) + 1
    edges = (np.ones(P * len(keys), dtype=np.int8), (np.concatenate(rows), np.concatenate(nodes)))
    _, labels = connected_components(coo_matrix(edges, shape=(offset, offset)), directed=False)
    _, first, inverse = np.unique(labels[:P], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def hash_order(keys: Sequence[str], seed: int) -> np.ndarray:
    """An order of `keys` that hangs on the keys and the seed alone (argsort of sha256), int64 [len(keys)]."""
    digests = [hashlib.sha256(f"{seed}|{key}".encode()).hexdigest() for key in keys]
    return np.argsort(np.array(digests), kind="stable")


def grouped_split(groups: pl.Series, seed: int, share: float = 0.1) -> pl.Series:
    """Parts of rows such that no group is in two parts.

    Groups are taken in `hash_order`: for valid up to about `share` of the rows, then for test; the rest is train.
    No part is empty if there are three groups.

    Returns:
        Column `part` [P]: train, valid or test.

    >>> grouped_split(pl.Series([f"g{i // 2}" for i in range(20)]), seed=0).value_counts().sort("part").rows()
    [('test', 2), ('train', 16), ('valid', 2)]
    """
    sizes = groups.alias("group").value_counts().sort("group")  # columns group, count; the order of rows plays no part
    sizes = sizes[hash_order(sizes["group"].cast(pl.String).to_list(), seed)]
    count = sizes["count"].to_numpy().astype(np.int64)
    middle = np.cumsum(count) - count / 2  # a group goes where its middle lies, so that parts miss their share least
    wanted = max(1, round(share * len(groups)))
    valid_end = max(1, min(int((middle <= wanted).sum()), len(count) - 2))  # groups; two are left for test and train
    test_end = max(valid_end + 1, min(int((middle - count[:valid_end].sum() <= wanted).sum()), len(count) - 1))
    place = np.arange(len(count))
    part = np.where(place < valid_end, "valid", np.where(place < test_end, "test", "train"))
    table = pl.DataFrame({"group": sizes["group"], "part": part})
    return groups.alias("group").to_frame().join(table, on="group", how="left", maintain_order="left")["part"]
