"""Claims by themselves: rules, statistics on made-up experiments, the registered ones."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slatebench.benchmark.claims.catalogue import CLAIMS
from slatebench.benchmark.claims.claim import Claim, Rule, System
from slatebench.benchmark.claims.run import choose, why_not
from slatebench.benchmark.claims.statistics import (
    Experiment,
    Figure,
    Health,
    combined_interval,
    difference,
    flatness,
    gap_growth,
    level,
    ratio,
    ratio_growth,
    smallest_rise,
)
from slatebench.datasets.errors import SlateBenchError, UsageError
from slatebench.metrics.registry import metric_info
from slatebench.metrics.statistics import bootstrap_interval
from slatebench.models.base import resolve
from slatebench.models.registry import model_class, parse_model
from slatebench.models.semantic_ids.health import health_report
from slatebench.models.testing import fixture_dataset

# --- rules ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, low, high, verdict",
    [
        (Rule(low=1.0), 1.01, 1.4, "held"),
        (Rule(low=1.0), 0.6, 0.99, "not held"),
        (Rule(low=1.0), 0.9, 1.1, "inconclusive"),
        (Rule(high=0.3), 0.1, 0.29, "held"),
        (Rule(high=0.3), 0.31, 0.5, "not held"),
        (Rule(high=0.3), 0.29, 0.31, "inconclusive"),
        (Rule(0.95, 1.05), 0.96, 1.04, "held"),
        (Rule(0.95, 1.05), 0.5, 0.94, "not held"),
        (Rule(0.95, 1.05), 1.06, 1.5, "not held"),
        (Rule(0.95, 1.05), 0.94, 1.06, "inconclusive"),
        (Rule(0.95, 1.05), 0.94, 1.0, "inconclusive"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(rule, low, high, verdict):
    assert rule.verdict(Figure((low + high) / 2, low, high)) == verdict


def test_without_an_interval_nothing_is_decided():
    assert Rule(low=1.0).verdict(Figure(5.0)) == "inconclusive"
    assert Rule(low=1.0).verdict(Figure(5.0, math.nan, math.nan)) == "inconclusive"


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(-10, 10))
def test_rules_are_exclusive_and_complementary(edge, one, other):
    low, high = sorted((one, other))
    figure = Figure(low, low, high)
    above, below = Rule(low=edge).verdict(figure), Rule(high=edge).verdict(figure)
    assert {above, below} in ({"held", "not held"}, {"inconclusive"}) or low == high == edge or edge in (low, high)


# --- statistics, on made-up experiments ---------------------------------------------------------------------


class Made(Experiment):
    """An experiment of values given directly: {role: {metric: [P, S]}}."""

    def __init__(self, values, groups):
        super().__init__({}, "standard", None)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "made_groups", groups)

    def means(self, role, metric):
        return self.values[role][metric]

    def groups(self):
        return self.made_groups


def made(seed=0, P=300, S=10):
    rng = np.random.default_rng(seed)
    base = rng.beta(2, 5, (P, 1))
    noise = lambda: rng.normal(0, 0.02, (P, S))  # noqa: E731
    values = {
        "a": {"m": 1.2 * base + noise(), "m_large": 1.6 * base + noise(), "lonely": np.full((P, S), np.nan)},
        "b": {"m": base + noise(), "m_large": 1.3 * base + noise()},
        "fading": {"m": base * np.linspace(1.2, 0.8, S)},
    }
    return Made(values, [f"g{i // 3}" for i in range(P)])


def test_statistics_find_what_was_put_in():
    done = made()
    expected = {
        ratio("m", "a", "b"): 1.2,
        difference("m", "a", "b"): 0.2 * 2 / 7,
        level("b", "m"): 2 / 7,
        flatness("a", "m"): 1.0,
        flatness("fading", "m"): np.linspace(1.2, 0.8, 10)[5:].mean() / np.linspace(1.2, 0.8, 10)[:5].mean(),
        gap_growth("m", "m_large", "a", "b"): (0.3 - 0.2) * 2 / 7,
        ratio_growth("m", "a", "b", "b", "b"): 1.2,
        smallest_rise("m", ["b", "a"]): 0.2 * 2 / 7,
        smallest_rise("m", ["b", "a", "b"]): -0.2 * 2 / 7,
    }
    for statistic, value in expected.items():
        figure = statistic.measure(done)
        assert figure.low <= figure.value <= figure.high
        assert figure.value == pytest.approx(value, rel=0.08), statistic.text


def test_both_sides_of_a_rule_are_reached():
    done = made()
    assert Rule(low=1.0).verdict(ratio("m", "a", "b").measure(done)) == "held"
    assert Rule(low=1.0).verdict(ratio("m", "b", "a").measure(done)) == "not held"
    assert Rule(0.95, 1.05).verdict(flatness("a", "m").measure(done)) == "held"
    assert Rule(0.95, 1.05).verdict(flatness("fading", "m").measure(done)) == "not held"
    middle = ratio("m", "a", "b").measure(done).value
    assert Rule(low=middle).verdict(ratio("m", "a", "b").measure(done)) == "inconclusive"


def test_groups_are_the_evidence():
    values = np.repeat(np.random.default_rng(0).normal(0, 1, (20, 1)), 15, axis=0)  # 15 copies of each
    mean = lambda m: m[..., 0]  # noqa: E731
    _, low, high = combined_interval(values, [str(i // 15) for i in range(300)], mean)
    _, alone_low, alone_high = combined_interval(values, [str(i) for i in range(300)], mean)
    assert high - low > 3 * (alone_high - alone_low)
    assert combined_interval(values, ["one"] * 300, mean)[1:] == (None, None)


def test_intervals_are_those_of_the_boards():
    rng = np.random.default_rng(1)
    values = rng.gamma(0.5, 1.0, (90, 2))
    groups = [f"g{i % 12}" for i in range(90)]
    for combine, column in ((lambda m: m[..., 1], values[:, 1]), (lambda m: m[..., 0] - m[..., 1], -np.diff(values))):
        expected = bootstrap_interval(column, groups=groups)
        assert combined_interval(values, groups, combine) == pytest.approx(expected, rel=1e-3)  # ties up to rounding


@pytest.mark.parametrize("groups", [10, 20])
def test_intervals_of_ratios_cover_with_few_groups(groups):
    rng = np.random.default_rng(groups)
    codes = [str(i // 3) for i in range(3 * groups)]
    trials, inside = 300, 0
    for _ in range(trials):
        of_group = rng.gamma(1.0, 0.2, (groups, 1))  # skewed, and shared by both systems
        values = of_group.repeat(3, axis=0) + rng.gamma(0.5, [0.4, 0.3], (3 * groups, 2))
        _, low, high = combined_interval(values, codes, lambda m: m[..., 0] / m[..., 1])
        inside += low <= (0.2 + 0.2) / (0.2 + 0.15) <= high
    assert 0.92 <= inside / trials <= 0.985, inside  # percentiles alone: .90 at 20 groups


def test_a_ratio_to_nothing_decides_nothing():
    values = np.array([[0.3, 0.0], [0.2, 0.0], [0.4, 0.1], [0.1, 0.0]])
    ratio_of = lambda m: m[..., 0] / m[..., 1]  # noqa: E731
    assert combined_interval(values, list("abcd"), ratio_of)[2] is None  # many resamples lack the one above 0
    assert combined_interval(values * [1, 0], list("abcd"), ratio_of)[1:] == (None, None)


def test_a_term_without_values_says_so():
    with pytest.raises(SlateBenchError, match="no request has a value"):
        ratio("lonely", "a", "a").measure(made())


# --- the registered claims -----------------------------------------------------------------------------------


def test_registered_claims_are_complete():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.sentence and claim.published and claim.paper
        assert math.isfinite(claim.rule.low) or math.isfinite(claim.rule.high)
        roles = [term.role for term in getattr(claim.statistic, "terms", ())]
        roles += [getattr(claim.statistic, side) for side in ("a", "b") if hasattr(claim.statistic, side)]
        assert roles and set(roles) <= set(claim.systems), claim.id


def test_a_claim_about_a_model_that_is_not_there_says_so():
    absent = Claim("x", "p", "s", "none", {"a": System("no-such-model")}, level("a", "m"), Rule(low=0))
    assert why_not(absent) == "model 'no-such-model' is not there yet"
    there = dataclasses.replace(absent, systems={"a": System("bm25:sampled")})
    assert why_not(there) is None
    assert why_not(dataclasses.replace(there, missing="not possible yet")) == "not possible yet"


@pytest.mark.parametrize(
    "model, settings, reason",
    [
        ("bm25:no-such-preset", {}, "preset 'no-such-preset' of model 'bm25' is not there yet"),
        ("bm25", {"no_such": 1}, "setting 'no_such' of model 'bm25' is not there yet"),
        ("bm25", {"k1": "low"}, "bm25: k1='low'"),
    ],
)
def test_a_claim_whose_settings_are_not_there_says_so(model, settings, reason):
    claim = Claim(
        "x", "p", "s", "none", {"b": System("random"), "a": System(model, settings)}, level("a", "m"), Rule(0)
    )
    assert why_not(claim).startswith(reason) and "\n" not in why_not(claim)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_claim_resolves_or_has_a_reason(claim):
    unresolved = []
    for system in claim.systems.values():
        name, presets = parse_model(system.model)
        try:
            resolve(model_class(name), presets, "standard", system.settings)
        except SlateBenchError as error:
            unresolved.append(str(error))
    assert (why_not(claim) is None) == (not unresolved and claim.missing is None), unresolved
    if why_not(claim) is not None:  # what is not there: never a value that a model refuses
        assert "not there yet" in why_not(claim) or why_not(claim) == claim.missing


def test_metrics_and_health_of_the_claims_exist():
    catalog, rng = fixture_dataset().catalog, np.random.default_rng(0)
    reported = health_report(rng.integers(0, 4, (len(catalog), 3)), 4, catalog)
    for claim in CLAIMS:
        for statistic in (claim.statistic, *claim.beside):
            for term in getattr(statistic, "terms", ()):
                assert metric_info(term.metric).scope != "run" and term.role in claim.systems
        if isinstance(claim.statistic, Health):
            assert claim.statistic.name in reported


def test_unknown_ids_are_named():
    with pytest.raises(UsageError, match="did you mean 'dmsg-ndcg-sim'"):
        choose(["dmsg-ndcgsim"], CLAIMS)
    assert choose([], CLAIMS) == CLAIMS
