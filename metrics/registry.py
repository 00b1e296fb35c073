"""All metrics by name. A new metric is a `Metric` value in the list of its module, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..datasets.errors import unknown_name
from . import beyond, relevance, similarity
from .base import Metric

METRICS_VERSION = "2"  # changes when a formula does

METRICS: list[Metric] = [*relevance.METRICS, *similarity.METRICS, *beyond.METRICS]


def metrics_version(evaluation: str) -> str:
    """Version of the figures: of the formulas, and of the evaluation space they are computed in.

    >>> metrics_version("lsa-text-0a1b")
    '2+lsa-text-0a1b'
    """
    return f"{METRICS_VERSION}+{evaluation}"


def metric_names(
    cutoffs: Sequence[int],
    *,
    samples: int = 1,
    spaces: Sequence[str] = ("evaluation",),
    bertscore: bool = False,
    diagnostics: Sequence[str] = (),
    ordered: bool = False,
) -> list[str]:
    """Names of all metrics that such an evaluation yields, in the order of the boards.

    >>> metric_names([10])[:3]
    ['ndcg_at_10', 'map_at_10', 'recall_at_10']
    """
    names = []
    for metric in METRICS:
        if metric.space is not None and metric.space not in spaces:
            continue
        if (metric.family == "bertscore" and not bertscore) or (metric.ordered and not ordered):
            continue
        if metric.family == "diagnostic":
            continue
        ks = cutoffs if "{k}" in metric.name else [0]
        first = 1 if metric.scope == "run" and samples > 1 else 2
        ms = range(first, samples + 1) if "{m}" in metric.name else [0]
        names += [metric.name.format(k=k, m=m) for k in ks for m in ms]
    return names + [diagnostic_name(name) for name in diagnostics]


def diagnostic_name(name: str) -> str:
    """The metric that a model's diagnostic of that name becomes.

    >>> diagnostic_name("rounding_gap"), diagnostic_name("beam_width")
    ('rounding_gap', 'diagnostic_beam_width')
    """
    known = any(metric.family == "diagnostic" and metric.name == name for metric in METRICS)
    return name if known else f"diagnostic_{name}"


def metric_info(name: str) -> Metric:
    """What the metric of that (full) name is.

    >>> metric_info("ndcg_at_10").formula
    'sum_{i<=10} rel_i/log2(i+1) / sum_{i<=min(10,|G|)} 1/log2(i+1)'

    Raises:
        UsageError: unknown name; says the nearest.
    """
    for metric in METRICS:
        pattern = re.escape(metric.name).replace(r"\{k\}", r"(?P<k>[1-9]\d*)").replace(r"\{m\}", r"(?P<m>[1-9]\d*)")
        pattern = pattern.replace(r"\{name\}", r"\w+")
        found = re.fullmatch(pattern, name)
        if found:
            formula = metric.formula
            if k := found.groupdict().get("k"):
                formula = re.sub(r"\bk\b", k, formula)
            return replace(metric, name=name, formula=formula)
    raise unknown_name(
        "metric",
        name,
        metric_names([5, 10, 20], samples=2, spaces=("evaluation", "model"), bertscore=True, ordered=True),
    )
