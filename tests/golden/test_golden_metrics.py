"""Golden scores of every registered metric on slates by arithmetic, beside METRICS_VERSION."""

import numpy as np
import pytest
from golden import line

from slatebench.datasets.schema import Slates
from slatebench.metrics.base import make_truth
from slatebench.metrics.bertscore import SlateBertScore
from slatebench.metrics.evaluate import evaluate, summarise
from slatebench.metrics.registry import METRICS, METRICS_VERSION, metric_info

WHERE = "`METRICS_VERSION` in metrics/registry.py"
CUTOFFS, SAMPLES, K = (5, 3), 3, 5
CLOSE = {"": 1e-5}  # similarities are rounded to 1e-6
CLOSE_BERTSCORE = {"": 5e-4}  # a network's


def vectors(n, d, step):
    """Unit vectors by arithmetic; the last is zero."""
    rows = np.cos(np.outer(np.arange(1, n + 1), np.arange(1, d + 1)) * step)
    rows[-1] = 0
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


@pytest.fixture(scope="module")
def truth(dataset):
    n = len(dataset.catalog)
    spaces = {"evaluation": vectors(n, 6, 0.7), "model": vectors(n, 4, 1.3)}
    return make_truth(dataset.test, dataset.catalog, spaces, ordered=True)


@pytest.fixture(scope="module")
def scores(dataset, truth):
    P, n = len(truth), len(dataset.catalog)
    p, s, k = np.ogrid[:P, :SAMPLES, :K]
    items = (6 * (k * (1 + s) + p) + p + s * (k % 2)) % n  # one to five of the request's theme
    items[1, 1, 3:] = items[2, 0] = -1  # a short slate, an empty one
    return evaluate(Slates(items), truth, cutoffs=CUTOFFS)


def test_scores_are_golden(scores, goldens):
    found = {name: line(values) for name, values in scores.values.items()}
    found |= {name: line([np.nan if value is None else value]) for name, value in scores.per_run.items()}
    for name, values in found.items():
        goldens("metrics").hold(name, METRICS_VERSION, WHERE, {"numbers": {"value": values}}, close=CLOSE)
    goldens("metrics").hold_names(found)


def test_intervals_are_golden(scores, truth, goldens):
    names = ("ndcg_at_5", "category_sim_at_5", "freshness", "coverage")
    summary = summarise(scores, [group[:1] + group[-1] for group in truth.groups], resamples=500)
    for name in names:
        row = [np.nan if value is None else value for value in summary[name].values()]
        goldens("intervals").hold(name, METRICS_VERSION, WHERE, {"numbers": {"value": line(row)}}, close=CLOSE)
    goldens("intervals").hold_names(names)


def test_bertscore_is_golden(dataset, truth, goldens, tmp_path):
    items = truth.items[truth.offsets[:-1]][:, None, None] + np.array([0, 1, 6, 13]) - 2 * (np.arange(2)[:, None])
    items = items % len(dataset.catalog)
    bertscore = SlateBertScore(dataset.catalog.texts, cache=tmp_path)
    scores = evaluate(Slates(items), truth, bertscore=bertscore)
    found = {name: values for name, values in (scores.values | scores.per_run).items() if name.startswith("bertscore")}
    for name, values in found.items():
        entry = {"numbers": {"value": line(np.round(values, 5))}}
        goldens("bertscore").hold(name, METRICS_VERSION, WHERE, entry, close=CLOSE_BERTSCORE)
    goldens("bertscore").hold_names(found)


def test_every_metric_has_golden_scores(goldens):
    names = [*goldens("metrics").entries(), *goldens("bertscore").entries()]
    held = {metric_info(name).summary for name in names}
    computed = [metric for metric in METRICS if metric.family != "diagnostic"]  # those are the models' own figures
    assert not [metric.name for metric in computed if metric.summary not in held]
