"""Speed and memory of the metrics: 100,000 requests x 10 samples x 10 slots, beside ranx on the same lists.

ranx knows one list per query, so it gets every (request, sample) as a query of its own, in parts of 50,000 queries. It
scores a query at a time, so its time is linear in them: a quarter of the 1,000,000 is timed and counted four times,
because building its structures takes minutes. Only its `evaluate` is timed, warmed up, on structures built
beforehand; ours is timed from the plain arrays on, over all of them.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from slatebench.datasets.schema import CATALOG_SCHEMA, REFERENCE_SCHEMA, REQUEST_SCHEMA, Catalog, Part, Slates
from slatebench.metrics.base import Truth, make_truth
from slatebench.metrics.evaluate import evaluate

REQUESTS, SAMPLES, SLOTS, ITEMS = 100_000, 10, 10, 10_000
SECTION_2 = ["ndcg_at_10", "map_at_10", "recall_at_10", "hit_at_10", "precision_at_10", "mrr_at_10"]
MEMORY_LIMIT_GIB = 4.0


def make_board(requests: int, dims: int = 0) -> tuple[Slates, Truth]:
    """Slates of which about a tenth of the slots hit, references of 1 to 8 items."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, requests)
    start = rng.integers(0, ITEMS, requests)
    references = (start[:, None] + np.arange(8)) % ITEMS
    ids = [f"r{i}" for i in range(requests)]
    frame = pl.DataFrame(
        {"request": ids, "items": [r[:n].tolist() for r, n in zip(references, sizes, strict=True)]},
        schema=REFERENCE_SCHEMA,
    )
    none: list[list[int]] = [[]] * requests
    asked = pl.DataFrame(
        {"request": ids, "prompt": ids, "history": none, "seed_items": none, "group": ids}, schema=REQUEST_SCHEMA
    )
    names = [f"i{i}" for i in range(ITEMS)]
    paths = [[["root", f"b{i % 20}", f"c{i % 200}"]] for i in range(ITEMS)]
    counts = rng.zipf(1.5, ITEMS).clip(0, 1000) - 1
    table = {"id": names, "title": names, "text": names, "categories": paths, "train_count": counts}
    vectors = rng.normal(size=(ITEMS, max(dims, 1))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    truth = make_truth(
        Part("test", asked, frame),
        Catalog(pl.DataFrame(table, schema=CATALOG_SCHEMA)),
        {"evaluation": vectors, "model": vectors} if dims else {},
    )
    # a random walk over the ring of items from somewhere near the references: unique inside a slate
    step = rng.integers(1, 6, (requests, SAMPLES, SLOTS)).cumsum(-1)
    items = (start[:, None, None] + rng.integers(-8, 4, (requests, SAMPLES, 1)) + step) % ITEMS
    items = rng.permuted(items, axis=-1)
    return Slates(items.astype(np.int64)), truth


@pytest.mark.benchmark(group="section 2, 1,000,000 slates")
def test_relevance_is_faster_than_ranx(benchmark) -> None:  # type: ignore[no-untyped-def]
    from ranx import Qrels, Run
    from ranx import evaluate as ranx_evaluate

    slates, truth = make_board(REQUESTS)
    part, timed = 5_000, REQUESTS // 4  # requests; ten queries each
    metrics = ["ndcg@10", "map@10", "recall@10", "hit_rate@10"]
    seconds, theirs = 0.0, []
    order = [float(SLOTS - i) for i in range(SLOTS)]
    for first in range(-part, timed, part):  # the first round warms the compiler up
        rows = range(max(first, 0), max(first, 0) + part)
        lists = {f"{p}-{s}": slates.items[p, s].tolist() for p in rows for s in range(SAMPLES)}
        right = {p: truth.items[truth.offsets[p] : truth.offsets[p + 1]].tolist() for p in rows}
        qrels = Qrels({f"{p}-{s}": {str(g): 1 for g in right[p]} for p in rows for s in range(SAMPLES)})
        run = Run({query: dict(zip(map(str, items), order, strict=True)) for query, items in lists.items()})
        start = time.perf_counter()
        result = ranx_evaluate(qrels, run, metrics, make_comparable=False)
        if first >= 0:
            seconds += time.perf_counter() - start
            theirs.append(result)
    seconds *= REQUESTS / timed
    ours = benchmark.pedantic(evaluate, args=(slates, truth), kwargs={"cutoffs": [10], "only": SECTION_2}, rounds=3)
    for name, other in [("ndcg_at_10", "ndcg@10"), ("recall_at_10", "recall@10"), ("hit_at_10", "hit_rate@10")]:
        assert ours.values[name][:timed].mean() == pytest.approx(np.mean([r[other] for r in theirs]), abs=1e-9)
    ratio = seconds / benchmark.stats.stats.mean
    benchmark.extra_info |= {"ranx_seconds": seconds, "times_faster_than_ranx": ratio}
    print(
        f"\nranx {seconds:.2f} s for 4 metrics, ours {benchmark.stats.stats.mean:.2f} s for 6: {ratio:.1f} times faster"
    )
    assert ratio > 1


@pytest.mark.benchmark(group="everything, 1,000,000 slates")
def test_everything_within_4_gib(benchmark) -> None:  # type: ignore[no-untyped-def]
    """Every metric of sections 2 to 4 in a process of its own, long table included; peak memory from the kernel."""

    def measure() -> tuple[float, float]:
        done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
        seconds, gib = map(float, done.stdout.split())
        return seconds, gib

    seconds, gib = benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info |= {"evaluate_seconds": seconds, "peak_gib": gib}
    print(f"\neverything in {seconds:.0f} s, peak {gib:.2f} GiB")
    assert gib <= MEMORY_LIMIT_GIB


if __name__ == "__main__":
    import resource

    board = make_board(REQUESTS, dims=256)
    began = time.perf_counter()
    table = evaluate(*board, cutoffs=[10, 5]).per_request
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    print(took, peak if sys.platform == "linux" else peak / 1024)
