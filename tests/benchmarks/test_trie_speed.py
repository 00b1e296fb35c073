"""Constrained beams over the trie at 10,000 and 1,000,000 items, against a dict of prefixes walked beam by beam."""

import time

import numpy as np
import pytest
import torch

from slatebench.models.semantic_ids.trie import Beams, Trie, advance

K, D, BEAM, SLOTS = 256, 3, 20, 10


def decode(trie, logits):
    """One slate of SLOTS items without repeats, by beams of BEAM inside each item."""
    used = torch.full((1, 1, 0), -1)
    for slot in range(SLOTS):
        beams, gone = Beams.root(1, torch.device("cpu")), trie.exhausted(used)
        for level in range(D + 1):
            step = logits[slot, level].expand(1, beams.nodes.shape[1], K) if level < D else None
            beams = advance(trie, level, beams, step, BEAM, gone[level + 1], None).beams
        used = torch.cat([used, beams.nodes[:, None, :1]], dim=2)
    return trie.items[used[0, 0]].tolist()


def decode_by_dict(children, logits):
    """The same with dictionaries: prefix -> sorted codes; the last level holds item lists."""
    slate: list[int] = []
    table = logits.numpy()
    for slot in range(SLOTS):
        beams = [((), 0.0)]
        for level in range(D):
            grown = []
            for prefix, score in beams:
                codes = children[prefix]
                values = table[slot, level][codes]
                values = values - np.logaddexp.reduce(values)
                grown += [((*prefix, c), score + float(v)) for c, v in zip(codes, values, strict=True)]
            grown = [(p, s) for p, s in grown if level < D - 1 or set(children[p]) - set(slate)]
            beams = sorted(grown, key=lambda g: -g[1])[:BEAM]
        items = [
            (i, s - np.log(len(children[p])))
            for p, s in beams
            for i in [next(i for i in children[p] if i not in slate)]
        ]
        slate.append(max(items, key=lambda g: g[1])[0])
    return slate


@pytest.mark.parametrize("n", [10_000, 1_000_000])
def test_a_slate_in_a_large_trie(n, benchmark):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, K, (n, D))
    start = time.perf_counter()
    trie = Trie.build(codes, np.arange(n))
    built = time.perf_counter() - start
    logits = torch.from_numpy(rng.standard_normal((SLOTS, D, K)).astype(np.float32)) * 3
    children: dict[tuple, list[int]] = {}
    for item, row in enumerate(codes.tolist()):
        for d in range(D):
            children.setdefault(tuple(row[:d]), []).append(row[d])
        children.setdefault(tuple(row), []).append(item)
    children = {p: sorted(set(c)) for p, c in children.items()}
    ours, theirs = [], []
    for _ in range(5):  # interleaved
        start = time.perf_counter()
        found = decode(trie, logits)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        expected = decode_by_dict(children, logits)
        theirs.append(time.perf_counter() - start)
        assert len(set(found)) == SLOTS and found[0] == expected[0]
    ratio = float(np.median(theirs) / np.median(ours))
    benchmark.extra_info |= {"times_faster_than_a_dict": ratio, "seconds_to_build": built}
    benchmark(lambda: decode(trie, logits))
    print(
        f"{n} items: built in {built:.2f} s, a slate in {np.median(ours) * 1e3:.1f} ms, a dict takes {ratio:.1f} times"
    )
