import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.datasets.errors import UsageError
from slatebench.models.base import resolve
from slatebench.models.decoders import alignment
from slatebench.models.decoders import base as slate_decoder
from slatebench.models.decoders.alignment import (
    CANDIDATES,
    AlignmentTask,
    align,
    echoed,
    log_odds,
    preference_loss,
    shuffled,
    slate_log_prob,
    swapped,
)
from slatebench.models.decoders.loss import DecodingTask
from slatebench.models.registry import model_class, parse_model

ROWS = torch.arange(24)


@pytest.fixture(scope="module")
def data(data):
    """The fixture; every fourth prompt is the one before in another case, so that prompts have several slates."""
    prompts = data.slates["prompt"].to_list()
    prompts[1::4] = [f" {prompt.upper()}" for prompt in prompts[::4]]
    return replace(data, slates=data.slates.with_columns(pl.Series("prompt", prompts)))


def fitted(data, address):
    name, presets = parse_model(address)
    found = resolve(model_class(name), presets, "smoke", {"max_steps": 4, "codes": 8})
    model = model_class(name)(found.config, found.sampling)
    return model, model.fit(data, seed=1)


@pytest.fixture(scope="module")
def models(data):
    found = {address: fitted(data, address) for address in ("higr:prior", "s2s:sids")}
    states = {address: copy.deepcopy(model.network.state_dict()) for address, (model, _) in found.items()}

    def get(address):
        model, report = found[address]
        model.network.load_state_dict(states[address])
        return model, copy.deepcopy(report)

    return get


def second_stage(model, data, **values):
    """Its task, with every negative unless told otherwise."""
    chosen = {"alignment": "orpo", "alignment_steps": 5, "rank_weight": 1.0, **values}
    config = type(model.config)(**{**model.config.model_dump(), **chosen})
    return AlignmentTask(DecodingTask(model.network, config, data, model.ids), data)


# --- losses ----------------------------------------------------------------------------------------------


def method_settings(method, beta=1.0, margin=0.0):
    return SimpleNamespace(alignment=method, dpo_beta=beta, simpo_beta=beta, simpo_margin=margin)


def minus_log_sigmoid(x):
    return math.log1p(math.exp(-x))


def test_preference_losses_by_hand():
    plus = torch.tensor([[[0.5, 0.25], [0.5, 0.125]]]).log()  # one slate, two slots of two codes
    minus = torch.tensor([[[[0.5, 0.125], [0.25, 0.125]]]]).log()
    own = torch.tensor([[True, True]])
    up, down = math.log(2.0**-7) / 4, math.log(2.0**-9) / 4  # means of the four tokens
    p, q = math.exp(up), math.exp(down)
    odds = math.log(p / (1 - p)) - math.log(q / (1 - q))
    assert preference_loss(method_settings("orpo"), plus, minus, own).item() == pytest.approx(
        minus_log_sigmoid(odds), abs=1e-6
    )
    simpo = preference_loss(method_settings("simpo", beta=2.0, margin=0.3), plus, minus, own)
    assert simpo.item() == pytest.approx(minus_log_sigmoid(2 * (up - down) - 0.3), abs=1e-6)
    reference = plus - 0.1, minus + 0.2  # sums over four tokens: .4 and .8
    dpo = preference_loss(method_settings("dpo", beta=0.5), plus, minus, own, reference)
    assert dpo.item() == pytest.approx(minus_log_sigmoid(0.5 * (0.4 + 0.8)), abs=1e-6)
    half = torch.tensor([[True, False]])  # of the first slots alone: means of log .5, log .25 and log .5, log .125
    simpo = preference_loss(method_settings("simpo"), plus, minus, half)
    assert simpo.item() == pytest.approx(minus_log_sigmoid((math.log(1 / 8) - math.log(1 / 16)) / 2), abs=1e-6)


@pytest.mark.parametrize(("method", "expected"), [("orpo", 0.0), ("dpo", 0.0), ("simpo", -0.7)])
def test_where_slate_and_negative_are_equal_the_total_is_the_plain_loss_and_alpha_log_2(
    models, data, monkeypatch, method, expected
):
    task = second_stage(models("higr:prior")[0], data, alignment=method, alignment_weight=0.3, simpo_margin=0.7)
    task.eval()
    pairs = AlignmentTask.pairs
    monkeypatch.setattr(
        AlignmentTask, "pairs", lambda *a: replace(p := pairs(*a), negatives=torch.stack([p.positive, p.positive]))
    )
    task.weights = {"interest": 0.5, "diversity": 0.5}
    with torch.no_grad():
        torch.manual_seed(0)
        total = task(ROWS).item()
        torch.manual_seed(0)
        plain = task.plain(ROWS).item()
    assert total == pytest.approx(plain + 0.3 * minus_log_sigmoid(expected), abs=1e-5)  # log 2 at 0


def test_dpo_starts_at_log_2_whatever_the_negatives_and_its_reference_stays(models, data):
    model, _ = models("higr:prior")
    task = second_stage(model, data, alignment="dpo", alignment_weight=2.0, alignment_steps=3).eval()
    with torch.no_grad():
        torch.manual_seed(0)
        total = task(ROWS).item()
        torch.manual_seed(0)
        assert total == pytest.approx(task.plain(ROWS).item() + 2 * math.log(2), abs=1e-5)
    before = copy.deepcopy(model.network.state_dict())
    alignment.fit_network(task, len(ROWS), task.config.model_copy(update={"max_steps": 3}), seed=0)
    reference = task.reference.state_dict()
    assert all(torch.equal(reference[name], value) for name, value in before.items())
    assert any(not torch.equal(model.network.state_dict()[name], value) for name, value in before.items())
    assert not any(p.requires_grad for p in task.reference.parameters())
    assert not any("reference" in name for name in model.arrays())


def test_log_odds_are_float32_and_exact_at_both_ends():
    log_p = [-1e-6, -1e-4, -0.5, -0.7, -5.0, -60.0]
    exact = [x - math.log(-math.expm1(x)) for x in log_p]
    x = torch.tensor(log_p, requires_grad=True)
    odds = log_odds(x)
    np.testing.assert_allclose(odds.detach(), exact, rtol=2e-6)
    odds.sum().backward()
    np.testing.assert_allclose(x.grad, [1 / -math.expm1(x) for x in log_p], rtol=1e-5)  # 1 / (1 - p)
    ends = torch.tensor([0.0, -1e-30, -1e4], requires_grad=True)
    log_odds(ends).sum().backward()
    assert torch.isfinite(log_odds(ends)).all() and torch.isfinite(ends.grad).all()
    with torch.autocast("cpu", torch.bfloat16):  # sums of rounded numbers are not rounded again
        tokens = torch.full((1, 40, 3), -0.01).bfloat16()
        mean = slate_log_prob(tokens, torch.ones(1, 40, dtype=torch.bool))
        odds = log_odds(mean.bfloat16())
    p = float(tokens[0, 0, 0])
    assert mean.dtype == odds.dtype == torch.float32
    assert mean.item() == pytest.approx(p, rel=1e-5)
    assert odds.item() == pytest.approx(p - math.log(-math.expm1(p)), rel=1e-5)


@pytest.mark.parametrize("method", ["orpo", "dpo", "simpo"])
def test_under_bf16_the_loss_stays_float32(models, data, method):
    task = second_stage(models("s2s:sids")[0], data, alignment=method, alignment_weight=1.0).eval()
    torch.manual_seed(0)
    exact = task(ROWS)
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(0)
        rounded = task(ROWS)
    assert rounded.dtype == torch.float32 and rounded.item() == pytest.approx(exact.item(), rel=0.02)
    rounded.backward()
    assert all(torch.isfinite(p.grad).all() for p in task.plain.network.parameters() if p.grad is not None)


# --- negatives -------------------------------------------------------------------------------------------


@st.composite
def batches(draw):
    """Slates of different items, and which slots are their own."""
    counts = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    M = max(counts) + draw(st.integers(0, 2))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    items = torch.tensor(np.stack([rng.permutation(12)[:M] for _ in counts]))
    return items, torch.arange(M) < torch.tensor(counts)[:, None]


@settings(max_examples=30)
@given(batches())
def test_a_shuffled_slate_is_a_permutation_of_its_own_items(batch):
    items, own = batch
    found = shuffled(items, own)
    assert torch.equal(found[~own], items[~own])
    for row, mine, first in zip(found, own, items, strict=True):
        assert sorted(row[mine].tolist()) == sorted(first[mine].tolist())


def test_every_order_is_drawn_alike():
    torch.manual_seed(0)
    found = shuffled(torch.tensor([[4, 5, 6]]).repeat(6000, 1), torch.ones(6000, 3, dtype=torch.bool))
    counts = np.unique(found.numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == 6 and abs(counts - 1000).max() < 150


@settings(max_examples=30)
@given(batches(), st.sampled_from([0.3, 0.5, 1.0]), st.integers(0, 9))
def test_swapped_items_are_different_candidates_and_as_many_as_asked(batch, share, n_candidates):
    items, own = batch
    candidates = torch.stack([20 + torch.randperm(9) for _ in items])
    candidates[:, n_candidates:] = -1
    found = swapped(items, own, candidates, share)
    for row, mine, first in zip(found.tolist(), own.tolist(), items.tolist(), strict=True):
        new = [r for r, f in zip(row, first, strict=True) if r != f]
        assert len(new) == min(n_candidates, max(1, round(share * sum(mine) + 1e-9))) or share * sum(mine) % 1 == 0.5
        assert len(set(row)) == len(row) and all(20 <= i < 29 for i in new)
        assert all(m or r == f for r, f, m in zip(row, first, mine, strict=True))
    if n_candidates == 9:
        assert (found != items).any(1).all()  # at least one in each slate


@settings(max_examples=30)
@given(batches())
def test_an_echo_keeps_the_first_item_and_holds_its_nearest(batch):
    items, own = batch
    vectors = torch.nn.functional.normalize(torch.randn(12, 5), dim=1)
    found = echoed(items, own, vectors)
    assert torch.equal(found[:, 0], items[:, 0]) and torch.equal(found[~own], items[~own])
    for row, mine in zip(found.tolist(), own.tolist(), strict=True):
        n = sum(mine)
        order = (vectors @ vectors[row[0]]).argsort(descending=True).tolist()
        assert row[:n] == [row[0], *[i for i in order if i != row[0]][: n - 1]]


def test_negatives_of_train_slates(models, data):
    model, _ = models("higr:prior")
    task = second_stage(model, data, swapped=1.0, seed_rate=0.5)
    slates = data.slates["items"].to_list()
    prompts = [prompt.strip().casefold() for prompt in data.slates["prompt"].to_list()]
    items_of = {}
    for prompt, slate in zip(prompts, slates, strict=True):
        items_of.setdefault(prompt, set()).update(slate)
    assert any(len(items) > 5 for items in items_of.values())  # prompts that differ in case share their slates
    vectors = data.features.prompts(data.slates["prompt"].to_list())
    scores = vectors @ data.features.item_texts().T
    torch.manual_seed(3)
    examples = task.plain.examples(ROWS)
    pairs = task.pairs(ROWS, examples[0], *examples[2:], None)
    assert list(task.weights) == ["rank", "interest", "diversity"] and pairs.negatives.shape[0] == 3
    for b, row in enumerate(ROWS.tolist()):
        own = pairs.own[b]
        slate = pairs.positive[b][own].tolist()
        n_seeds = len(slates[row]) - len(slate)
        assert slate == slates[row][n_seeds:]  # with the rank negative the order is the data's
        rank, interest, diversity = (negative[b][own].tolist() for negative in pairs.negatives)
        assert sorted(rank) == sorted(slate)
        assert diversity[0] == slate[0]
        assert not set(interest) & items_of[prompts[row]] and len(set(interest)) == len(slate)
        free = sorted(set(range(240)) - items_of[prompts[row]], key=lambda i: -scores[row][i])
        worst = min(scores[row][i] for i in interest)
        assert worst >= scores[row][free[CANDIDATES - 1]] - 1e-6


def test_a_prompt_whose_slates_hold_everything_has_no_hard_negative(models, data):
    task = second_stage(models("higr:prior")[0], data)
    every = AlignmentTask(
        task.plain, replace(data, slates=data.slates[:2].with_columns(items=pl.lit(list(range(240)))))
    )
    near = every.known.near(torch.tensor([0, 1]), torch.randn(2, 240), 9)
    assert (near == -1).all()
    items = torch.tensor([[3, 4]])
    assert torch.equal(swapped(items, items > 0, near[:1], 1.0), items)


# --- the second stage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "method", "beta", "negative"),
    [("higr:prior", "orpo", 1.0, "interest"), ("s2s:sids", "dpo", 0.3, "diversity"),
     ("higr:prior", "simpo", 3.0, "diversity")],
)  # fmt: skip
def test_a_few_steps_raise_the_odds_of_slates_over_negatives(models, data, address, method, beta, negative):
    gaps = {}
    for name in ("plain", method):
        model, report = models(address)
        values = {"alignment": name, "alignment_steps": 15, "alignment_weight": 10.0, "alignment_learning_rate": 1e-2,
                  "dpo_beta": beta, "simpo_beta": beta, "dropout": 0.0, "ema": 0.0, "rank_weight": 0.0,
                  "interest_weight": 0.0, "diversity_weight": 0.0, f"{negative}_weight": 1.0}  # fmt: skip
        plain = second_stage(model, data, **values).plain
        done = align(plain, data, report, seed=0, evaluate=None, progress=lambda *_: None, checkpoint=None)
        assert done.notes["steps"] == 19 and done.curves["loss"][-1][0] == 19
        gaps[name] = done.health
    before, after = gaps[method][f"log_odds_gap_{negative}_before"], gaps[method][f"log_odds_gap_{negative}"]
    assert before == gaps["plain"][f"log_odds_gap_{negative}_before"]
    assert after > before and after > gaps["plain"][f"log_odds_gap_{negative}"] + 0.02


def test_the_control_trains_on_the_very_same_slates(models, data):
    model, _ = models("s2s:sids")
    aligned, control = (second_stage(model, data, alignment=method).eval() for method in ("orpo", "plain"))
    seen = []
    for task in (aligned, control):
        task.plain.examples = lambda rows, original=task.plain.examples: seen.append(original(rows)) or seen[-1]
        torch.manual_seed(4)
        task(ROWS)
    assert torch.equal(seen[0][0], seen[1][0]) and torch.equal(seen[0][1], seen[1][1])


def test_a_fit_killed_in_the_second_stage_goes_on_to_the_same_weights(data, tmp_path):
    found = resolve(model_class("higr"), ["prior", "dpo"], "smoke", {"max_steps": 4, "codes": 8, "alignment_steps": 20})
    whole = model_class("higr")(found.config)
    report = whole.fit(data, seed=2)
    killed = model_class("higr")(found.config)
    killed.checkpoint_folder = tmp_path

    def stop(step, total, message=""):
        if step >= 17:
            assert total == 24
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.fit(data, seed=2, progress=stop)
    again = model_class("higr")(found.config)
    again.checkpoint_folder = tmp_path
    resumed = again.fit(data, seed=2)
    assert resumed.notes["steps"] == report.notes["steps"] == 24
    assert resumed.notes["resumed_at_step"] == 14 and report.notes["resumed_at_step"] == 0
    for name, value in whole.arrays().items():
        assert np.array_equal(again.arrays()[name], value), name
    assert resumed.health == report.health and resumed.curves == report.curves


def test_off_by_default(data, monkeypatch):
    monkeypatch.setattr(slate_decoder, "align", lambda *_, **__: pytest.fail("aligned"))
    _, report = fitted(data, "higr:prior")
    assert report.notes["steps"] == 4 and not any("gap" in name for name in report.health)


def test_settings():
    found = resolve(model_class("higr"), ["prior", "orpo"], "standard", {}).config
    assert found.prior and found.alignment == "orpo" and found.rank_weight == 0
    assert alignment.weights(found) == {"interest": 0.5, "diversity": 0.5}
    assert resolve(model_class("s2s"), ["sids"], "standard", {"alignment": "simpo"}).config.alignment == "simpo"
    assert resolve(model_class("higr"), [], "paper", {}).config.alignment == "none"
    none = {"interest_weight": 0, "diversity_weight": 0}
    for values, match in (
        ({"alignment": "dpo", **none}, "a negative"),
        ({"alignment": "ppo"}, "alignment='ppo'"),
        ({"alignment": "orpo", "devices": 2}, "devices=1"),
    ):
        with pytest.raises(UsageError, match=match):
            resolve(model_class("higr"), [], "standard", values)
    assert alignment.weights(resolve(model_class("higr"), [], "standard", {"alignment": "plain", **none}).config) == {}
