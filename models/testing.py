"""The contract suite: what every model must keep, built in or plug-in (`slatebench models test NAME`).

    checks = run_contract("bm25:sampled")
    assert all(check.passed for check in checks)

It runs on small made-up datasets with the `hash` text encoder: no network weights, no torch of its own. A model that
answers prompts is asked with prompts, one that answers histories with histories, one that answers both with both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from ..datasets.build import asked_as
from ..datasets.errors import SlateBenchError, UsageError
from ..datasets.schema import EMPTY, Catalog, SlateDataset, Slates, make_requests
from ..datasets.vectors.features import Features, features_for_catalog, make_features
from .base import Condition, FitReport, resolve
from .fixture import fixture_dataset as fixture_dataset
from .fixture import history_fixture as history_fixture
from .registry import BUILTIN, model_class, parse_model
from .testing_case import Case
from .testing_case import recall as recall

FIXTURES: dict[Condition, Callable[[], SlateDataset]] = {"prompt": fixture_dataset, "history": history_fixture}

# Recall at the slate length on the test part of the fixture: what a built-in model must reach and can't pass.
# Chance is 5 of 240 items = .021. A model that isn't named here (a plug-in) is not held to a band.
Bands = dict[str, tuple[float, float]]
QUALITY: Bands = {
    "random": (0.005, 0.045),
    "popularity": (0.0, 0.06),
    "bm25": (0.70, 0.90),
    "bm25:sampled": (0.40, 0.75),
    "dense": (0.60, 0.80),
    "dense:sampled": (0.45, 0.80),
    "prompt-knn": (0.28, 0.45),
    "prompt2vec": (0.75, 0.95),
    "hybrid": (0.65, 0.85),
    "trie-prior": (0.60, 0.80),  # dense, through a beam
}
QUALITY_OF_HISTORIES: Bands = {
    "random": (0.005, 0.045),
    "popularity": (0.15, 0.25),
    "popularity:recent": (0.10, 0.20),
    "dense:history": (0.40, 0.55),
    "markov": (0.60, 0.80),
    "item-knn": (0.65, 0.85),
    "item-knn:paper": (0.60, 0.80),
    "ease": (0.65, 0.85),
    "ease:paper": (0.55, 0.75),
}
BETTER_THAN_CHANCE = 2.0  # times as much recall has every built-in model that answers histories, but for random


@dataclass(frozen=True)
class Check:
    """One promise of the contract: was it kept, and if not, what happened."""

    name: str
    passed: bool
    message: str = ""


def run_contract(address: str, data: SlateDataset | None = None, features: Features | None = None) -> list[Check]:
    """Fit the model at the budget `smoke` and check every promise of models/base.py.

    Args:
        address: `name` or `name:preset+preset`.
        data: instead of the fixtures; needs at least 12 requests in test and 20 items beyond the slate length.
        features: of `data`; by default made with the `hash` encoder.

    Returns:
        One Check per promise; a fit that fails is the only Check.

    Raises:
        UsageError: no such model or preset.
    """
    name, presets = parse_model(address)
    cls = model_class(name)
    settings = resolve(cls, presets, "smoke", {})
    with tempfile.TemporaryDirectory() as folder:
        answered = cls(settings.config, settings.sampling).conditions()
        fixtures = [fixture for condition, fixture in FIXTURES.items() if condition in answered] or [fixture_dataset]
        cases = []
        for dataset in [data] if data is not None else [fixture() for fixture in fixtures]:
            its = features if features is not None else make_features(dataset, encoder="hash", cache=Path(folder))
            place = Path(folder) / dataset.name
            cases.append(Case(address, cls, settings, asked_as(dataset, "excluded", None), its, place, data is None))
        try:
            for case in cases:
                case.fit()
        except Exception as error:
            return [Check("fit", False, f"{type(error).__name__}: {error}")]
        found = [_run(check, cases) for check in CHECKS]
        return found + [_run(check, [case]) for case in cases for check in CHECKS_OF[case.condition]]


def _run(check: Callable[[Case], None], cases: list[Case]) -> Check:
    name = check.__name__.removeprefix("_check_").replace("_", " ")
    for case in cases:
        where = f"asked with a {case.condition}: " if len(cases) > 1 else ""
        try:
            check(case)
        except AssertionError as error:
            return Check(name, False, f"{where}{error}")
        except Exception as error:
            return Check(name, False, f"{where}{type(error).__name__}: {error}")
    return Check(name, True)


def _same(a: Slates, b: Slates, what: str) -> None:
    assert np.array_equal(a.items, b.items), f"{what}: other slates"


# --- the promises ----------------------------------------------------------------------------------


def _check_card_is_complete(case: Case) -> None:
    card, name = case.cls.card, parse_model(case.address)[0]
    assert case.cls.name == name, f"class says name '{case.cls.name}', it is registered as '{name}'"
    assert case.cls.version, "version is empty"
    for key in ("title", "paper", "summary"):
        assert getattr(card, key).strip(), f"card.{key} is empty"
    assert card.conditions and card.conditions <= {"prompt", "history"}, f"card.conditions is {set(card.conditions)}"
    assert isinstance(card.departures, tuple), "card.departures must be a tuple of sentences"


def _check_settings(case: Case) -> None:
    config, sampling = case.cls.Config.model_fields, case.cls.Sampling.model_fields
    both = set(config) & set(sampling)
    assert not both, f"fields of both Config and Sampling: {sorted(both)}"
    bare = [key for key, info in (config | sampling).items() if not info.description]
    assert not bare, f"no description: {bare} (Field(..., description=...))"
    try:
        resolve(case.cls, [], "smoke", {"no_such_setting": 1})
    except UsageError:
        return
    raise AssertionError("an unknown setting was taken")


def _check_presets_and_budgets(case: Case) -> None:
    for budget in ("smoke", "standard", "paper"):
        for presets in ([], *([preset] for preset in case.cls.PRESETS)):
            resolve(case.cls, presets, budget, {})
    unknown = set(case.cls.BUDGETS) - {"smoke", "standard", "paper"}
    assert not unknown, f"unknown budgets {sorted(unknown)}"


def _check_fit(case: Case) -> None:
    assert isinstance(case.report, FitReport), f"fit returned {type(case.report).__name__}, not FitReport"
    assert case.report.state == "done", f"fit says '{case.report.state}'"
    assert case.model.catalog is case.data.catalog, "fit must set self.catalog to the data's"


def _check_slates_keep_their_shape(case: Case) -> None:
    case.ask(case.requests, samples=3)
    case.ask(case.requests, samples=1, k=1)


def _check_seed_items_are_never_emitted(case: Case) -> None:
    emitted = case.ask(case.requests, samples=1).items[:, 0]
    seeds = [[i for i in row[:2] if i >= 0] for row in emitted.tolist()]
    asked = case.requests.with_columns(pl.Series("seed_items", seeds, dtype=pl.List(pl.Int64)))
    case.ask(asked)


def _check_more_slots_than_items(case: Case) -> None:
    N, seeds = len(case.dataset.catalog), pl.Series("seed_items", [[], [0, 1]], dtype=pl.List(pl.Int64))
    slates = case.ask(case.requests.head(2).with_columns(seeds), samples=1, k=N + 3)
    assert (slates.items == -1).sum(axis=-1).min() >= 3, "more slots filled than there are items"


def _check_no_requests(case: Case) -> None:
    case.ask(case.requests.head(0))


def _check_odd_prompts(case: Case) -> None:
    case.ask(make_requests(["", "   ", "déjà vu — 夏の歌 🎧", "one two " * 1_000, "\x00\n\t'\";--"]))


def _check_same_seed_same_bytes(case: Case) -> None:
    first, second = case.ask(case.requests, seed=3), case.ask(case.requests, seed=3)
    _same(first, second, "asked twice with the same seed")
    assert first.diagnostics.keys() == second.diagnostics.keys(), "diagnostics differ"
    for key, values in first.diagnostics.items():
        assert np.array_equal(values, second.diagnostics[key]), f"diagnostic '{key}' differs"


def _check_stochastic_says_the_truth(case: Case) -> None:
    here, there = case.ask(case.requests, seed=0).items, case.ask(case.requests, seed=1).items
    stochastic = case.model.stochastic()
    assert (not np.array_equal(here, there)) == stochastic, f"stochastic() is {stochastic}: see slates of another seed"
    assert (not np.array_equal(here[:, 0], here[:, 1])) == stochastic, f"stochastic() is {stochastic}: see two samples"


def _check_noise_hangs_on_the_request_alone(case: Case) -> None:
    whole = case.ask(case.requests).items
    P = case.requests.height
    shuffled = np.random.default_rng(0).permutation(P)
    assert np.array_equal(case.ask(case.requests[shuffled]).items, whole[shuffled]), "another order, other slates"
    for size in (1, 7):
        parts = [case.ask(case.requests[start : start + size]).items for start in range(0, P, size)]
        assert np.array_equal(np.concatenate(parts), whole), f"other slates in batches of {size}"
    assert np.array_equal(case.ask(case.requests, samples=1).items, whole[:, :1]), "other slates for fewer samples"


def _check_sampling_changes_without_a_fit(case: Case) -> None:
    before = case.ask(case.requests)
    for preset, values in case.cls.PRESETS.items():
        if set(values) <= set(case.cls.Sampling.model_fields):
            sampling = case.cls.Sampling(**case.settings.sampling.model_dump() | values)
            asked = case.ask(case.requests, sampling=sampling)
            other = case.cls(case.settings.config, sampling)
            assert case.model.stochastic(sampling) == other.stochastic(), f"stochastic(sampling of {preset}) differs"
            if not case.model.stochastic(sampling):
                assert np.array_equal(asked.items[:, 0], asked.items[:, 1]), f"preset {preset}: two samples differ"
    _same(before, case.ask(case.requests), "after asking with another Sampling")


def _check_fit_can_be_repeated(case: Case) -> None:
    again = case.fitted(seed=0 if case.cls.seeded_fit else 1)
    _same(case.ask(case.requests), case.ask(case.requests, model=again), "fitted again")


def _check_save_and_load(case: Case) -> None:
    folder = case.folder / "saved"
    case.model.save(folder)
    odd = [p.name for p in folder.rglob("*") if p.is_file() and p.suffix not in (".json", ".parquet", ".safetensors")]
    assert not odd, f"files that are neither JSON, parquet nor safetensors: {odd}"
    loaded = case.cls.load(folder, None if case.on_fixture else case.features)
    assert (loaded.config, loaded.sampling) == (case.model.config, case.model.sampling), "settings differ after loading"
    _same(case.ask(case.requests), case.ask(case.requests, model=loaded), "loaded")
    assert loaded.cost(case.k) == case.model.cost(case.k), "cost differs after loading"


def _check_nothing_is_written_into(case: Case) -> None:
    requests, catalog = case.requests.clone(), case.dataset.catalog.items.clone()
    arrays = (case.features.items(), case.features.item_texts(), case.dataset.catalog.train_count)
    before = [array.copy() for array in arrays]
    case.ask(case.requests)
    case.fitted(seed=0)
    assert case.requests.equals(requests), "the requests were changed"
    assert case.dataset.catalog.items.equals(catalog), "the catalogue was changed"
    assert all(np.array_equal(a, b) for a, b in zip(before, arrays, strict=True)), "features or counts were changed"


def _check_another_catalogue(case: Case) -> None:
    items = case.dataset.catalog.items
    new = items.head(2).with_columns(pl.Series("id", ["new-1", "new-2"]), pl.lit(0, pl.Int64).alias("train_count"))
    catalog = Catalog(pl.concat([items[10:], new]))
    before = case.ask(case.requests)
    try:
        other = case.model.with_catalog(catalog, features_for_catalog(case.features, catalog))
    except SlateBenchError as error:
        assert str(error) and "\n" not in str(error), "with_catalog must say in one line why it can't"
        return
    assert other is not case.model and other.catalog is catalog, "with_catalog must give another model"
    case.ask(case.requests, model=other)
    _same(before, case.ask(case.requests), "after with_catalog")


def _check_cost(case: Case) -> None:
    cost = case.model.cost(case.k)
    assert {"parameters", "nfe"} <= cost.keys(), f"cost() has {sorted(cost)}, needs parameters and nfe"
    assert all(np.isfinite(v) and v >= 0 for v in cost.values()), f"cost() is {cost}"


def _check_quality(case: Case) -> None:
    bands = QUALITY if case.condition == "prompt" else QUALITY_OF_HISTORIES
    if case.on_fixture and case.address in bands:
        low, high = bands[case.address]
        assert low <= (reached := _reached(case)) <= high, f"recall {reached:.3f} on the fixture, not {low} to {high}"


def _reached(case: Case) -> float:
    requests = case.dataset.test.requests
    return recall(case.ask(requests, samples=4), requests, case.dataset.test.references)


# --- of what asks with a history ---------------------------------------------------------------------


def _check_items_of_the_history_are_never_emitted(case: Case) -> None:
    again = case.ask(case.requests.with_columns(repeats=True), samples=1).items[:, 0]
    longer = [
        had + [i for i in slate if i != EMPTY and i not in had][:2]
        for had, slate in zip(case.requests["history"].to_list(), again.tolist(), strict=True)
    ]
    case.ask(_typed(longer))


def _check_slates_are_full(case: Case) -> None:
    slates = case.ask(case.requests)
    assert (slates.items != EMPTY).all(), "a slot is empty though items are left: fill it"


def _check_odd_histories(case: Case) -> None:
    N = len(case.dataset.catalog)
    odd = [[], [N], [-1, N + 7, 3], [2] * 50, list(range(100)) * 3]
    timed = _typed(odd).with_columns(
        history_times=pl.Series([[], None, [7, 7, 8], [9] * 50, list(range(300))], dtype=pl.List(pl.Int64)),
        request_time=pl.Series([None, 3, None, 9, -1], dtype=pl.Int64),
    )
    for requests in (_typed(odd), timed):
        assert (case.ask(requests).items != EMPTY).all(), "a slot is empty though items are left: fill it"
    left = case.ask(_typed([list(range(2, N))]), samples=1).items
    assert set(left.ravel().tolist()) == {0, 1, EMPTY}, "items 0 and 1 are left and are not emitted"


def _check_without_times(case: Case) -> None:
    assert case.data.sequences is not None
    unknown = {"history_times": pl.lit(None, pl.List(pl.Int64)), "request_time": pl.lit(None, pl.Int64)}
    requests = case.requests.with_columns(**unknown)
    case.ask(requests)
    timeless = replace(
        case.data,
        sequences=case.data.sequences.with_columns(times=pl.lit(None, pl.List(pl.Int64))),
        slates=case.data.slates.with_columns(**unknown),
        valid_requests=case.data.valid_requests.with_columns(**unknown),
    )
    try:
        model = case.fitted(seed=0, data=timeless)
    except SlateBenchError as error:
        assert error.state == "skipped", f"fit without times: {error}: say so as a skipped cell"
        return
    case.ask(requests, model=model)


def _check_better_than_chance(case: Case) -> None:
    if not case.on_fixture or case.address == "random" or parse_model(case.address)[0] not in BUILTIN:
        return
    least, reached = BETTER_THAN_CHANCE * case.k / len(case.dataset.catalog), _reached(case)
    assert reached >= least, f"recall {reached:.3f} on the fixture, {BETTER_THAN_CHANCE:g} times chance is {least:.3f}"


def _typed(histories: list[list[int]]) -> pl.DataFrame:
    """Requests as somebody types them: no times."""
    return make_requests([""] * len(histories), histories=histories).with_columns(repeats=False)


CHECKS: tuple[Callable[[Case], None], ...] = (
    _check_card_is_complete,
    _check_settings,
    _check_presets_and_budgets,
    _check_fit,
    _check_slates_keep_their_shape,
    _check_seed_items_are_never_emitted,
    _check_more_slots_than_items,
    _check_no_requests,
    _check_same_seed_same_bytes,
    _check_stochastic_says_the_truth,
    _check_noise_hangs_on_the_request_alone,
    _check_sampling_changes_without_a_fit,
    _check_fit_can_be_repeated,
    _check_save_and_load,
    _check_nothing_is_written_into,
    _check_another_catalogue,
    _check_cost,
    _check_quality,
)
CHECKS_OF: dict[Condition, tuple[Callable[[Case], None], ...]] = {
    "prompt": (_check_odd_prompts,),
    "history": (
        _check_items_of_the_history_are_never_emitted,
        _check_slates_are_full,
        _check_odd_histories,
        _check_without_times,
        _check_better_than_chance,
    ),
}
