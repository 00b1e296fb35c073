import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from slatebench.datasets.errors import SlateBenchError, UsageError
from slatebench.datasets.schema import Catalog
from slatebench.datasets.vectors.features import features_for_catalog
from slatebench.models.base import resolve
from slatebench.models.decoders import higr, maskgr, s2s
from slatebench.models.decoders.base import SlateSampling
from slatebench.models.decoders.catalogue_pairs import CataloguePairs
from slatebench.models.decoders.loss import DecodingTask
from slatebench.models.nn.context import Condition, prompt_condition, seed_condition
from slatebench.models.nn.units import CodeUnits
from slatebench.models.parameters import count_parameters
from slatebench.models.registry import model_class, parse_model
from slatebench.models.semantic_ids.search import pick, pick_item
from slatebench.models.semantic_ids.trie import TriePrior

FLAT, ALL = ["s2s:sids", "s2s:sids+prior", "s2s"], ["s2s:sids", "s2s:sids+prior", "s2s", "higr", "higr:prior"]
K = 3


def generate(model, requests, k=K, samples=1, **values):
    sampling = model.Sampling(**{**model.sampling.model_dump(), **values})
    return model.generate(requests, k, samples=samples, seed=5, sampling=sampling).items


def teacher_forced(model, requests, codes):
    """Hidden states [P, M, D, w] for codes [P, M, D], and the prior: nothing cached, no beams."""
    prompts = requests["prompt"].to_list()
    tokens, mask, pooled = prompt_condition(model.features, prompts, model.config.prompt_tokens)
    seeds, seed_mask = seed_condition(requests["seed_items"].to_list(), torch.tensor(model.features.items()))
    condition = Condition(tokens, mask, pooled, seeds, seed_mask, torch.ones(len(prompts), dtype=torch.bool))
    prior = None
    if model.config.prior:
        pooled = pooled + model.network.correction(pooled).detach()
        scores = model.config.gamma * pooled @ torch.tensor(model.features.item_texts()).T
        prior = TriePrior.build(model.ids.trie, scores, model.network.prior_scales())
    with torch.no_grad():
        return model.network.hidden(codes, torch.zeros(len(prompts), dtype=torch.long), condition), prior


def item_log_probs(model, requests, items):
    """log p(item | items before it, prompt) [P, M] of slates [P, M]."""
    trie = model.ids.trie
    items = torch.tensor(items)
    hidden, prior = teacher_forced(model, requests, trie.codes_of(items)[..., : trie.levels])
    total, place = torch.zeros(items.shape), trie.place[items]
    for level in range(trie.levels + 1):
        logits = model.network.units.logits(hidden[:, :, level], level) if level < trie.levels else None
        nodes = trie.above[level][place]
        log_probs, kids = trie.log_probs(level, nodes, logits, prior)
        total += (
            torch.where(kids == trie.above[level + 1][place][..., None], log_probs, 0).nan_to_num(neginf=0).amin(-1)
        )
    return total.detach().numpy()


@pytest.mark.parametrize("address", [*ALL, "higr:parallel"])
@pytest.mark.parametrize("beam", [1, 7])
def test_cached_steps_equal_teacher_forcing(models, data, address, beam, monkeypatch):
    model, requests = models(address), data.valid_requests.head(4)
    seen = []
    logits_of = type(model.network.units).logits

    def record(self, hidden, level):
        seen.append((level, logits_of(self, hidden, level)))
        return seen[-1][1]

    with monkeypatch.context() as patch:
        patch.setattr(type(model.network.units), "logits", record)
        items = generate(model, requests, beam=beam)[:, 0]
    trie = model.ids.trie
    hidden, _ = teacher_forced(model, requests, trie.codes_of(torch.tensor(items))[..., : trie.levels])
    if beam == 1 and address != "higr:parallel":  # every cached logit
        assert len(seen) == K * trie.levels
        for i, (level, logits) in enumerate(seen):
            expected = logits_of(model.network.units, hidden[:, i // trie.levels, level], level)
            torch.testing.assert_close(logits[:, 0], expected, atol=1e-4, rtol=1e-4)
    sampling = model.Sampling(beam=beam, order="slot")
    with torch.inference_mode():
        decoded = model._decode_part(requests, K, 1, 0, sampling)
    np.testing.assert_allclose(decoded.scores.numpy(), item_log_probs(model, requests, items), atol=1e-3)


@torch.inference_mode()
def greedy(model, requests, k):
    """Step by step without cache, trie or beams: the best code that still leads to a free item."""
    trie, names = model.ids.trie, model.ids.trie.codes_of(torch.arange(len(model.catalog)))
    D = trie.levels
    slates = []
    for p in range(requests.height):
        row, slate = requests[p : p + 1], []
        for _ in range(k):
            free = [i for i in range(len(names)) if i not in slate]
            codes = [names[i, :D].tolist() for i in slate]
            prefix: list[int] = []
            for level in range(D):
                padded = torch.tensor([*codes, prefix + [0] * (D - len(prefix))])[None]
                hidden, prior = teacher_forced(model, row, padded)
                logits = model.network.units.logits(hidden[0, -1, level], level)
                if prior is not None:  # log of the mass below each child, by a plain sum
                    weights = prior.mass[-1][0].exp()
                    for code in range(len(logits)):
                        below = [i for i in range(len(names)) if names[i, : level + 1].tolist() == [*prefix, code]]
                        mass = sum(float(weights[trie.place[i]]) for i in below)
                        logits[code] += model.network.scales[level].item() * np.log(mass) if below else 0
                open_codes = {int(names[i, level]) for i in free if names[i, :level].tolist() == prefix}
                prefix.append(max(open_codes, key=lambda c: float(logits[c])))
            same = [i for i in free if names[i, :D].tolist() == prefix]
            if prior is not None:
                slate.append(max(same, key=lambda i: float(prior.mass[-1][0, trie.place[i]])))
            else:
                slate.append(min(same, key=lambda i: int(names[i, D])))
        slates.append(slate)
    return slates


@pytest.mark.parametrize("address", ["s2s:sids", "s2s", "higr", "higr:prior"])
def test_beam_1_is_greedy(models, data, address):
    model, requests = models(address), data.valid_requests.head(2)
    expected = greedy(model, requests, K)
    assert generate(model, requests, beam=1)[:, 0].tolist() == expected
    if address.startswith("s2s"):
        assert generate(model, requests, beam=1, search="slate")[:, 0].tolist() == expected


@pytest.mark.parametrize("address", ALL)
def test_a_beam_as_wide_as_the_tree_is_exhaustive_search_inside_the_item(models, data, address):
    model, requests = models(address), data.valid_requests.head(2)
    found = generate(model, requests, beam=240)[:, 0]
    for p, slate in enumerate(found.tolist()):
        prompts = requests[[p] * 240]
        for m in range(K):
            trials = np.array([[*slate[:m], i] for i in range(240)])
            scores = item_log_probs(model, prompts, trials)[:, -1]
            scores[slate[:m]] = -np.inf
            assert scores[slate[m]] >= scores.max() - 1e-4


@pytest.mark.parametrize("address", FLAT)
def test_a_wide_beam_over_slates_is_exhaustive_search(models, data, address):
    model = models(address)
    catalog = Catalog(model.catalog.items[::40])  # 6 items
    model = model.with_catalog(catalog, features_for_catalog(data.features, catalog))
    requests = data.valid_requests.head(3)
    found = generate(model, requests, k=2, beam=64, search="slate")[:, 0]
    pairs = np.array(list(itertools.permutations(range(6), 2)))
    for p, slate in enumerate(found):
        totals = item_log_probs(model, requests[[p] * len(pairs)], pairs) @ [1, 1 - s2s.SLOT_STEP]
        mine = totals[(pairs == slate).all(1)]
        assert mine[0] >= totals.max() - 1e-4


def test_planner_takes_k_steps_and_the_flat_decoder_k_times_d(models, data, monkeypatch):
    requests, calls = data.valid_requests.head(2), []
    for module in (higr, s2s):
        original = module.step
        monkeypatch.setattr(module, "step", lambda s, *a, _o=original: calls.append(s.stack) or _o(s, *a))
    model = models("higr")
    generate(model, requests, k=5)
    steps = [sum(c is stack for c in calls) for stack in (model.network.planner, model.network.generator)]
    assert steps == [5, 15] == [model.cost(5)["heavy_steps"], model.cost(5)["light_steps"]]
    for search in ("item", "slate"):
        calls.clear()
        generate(models("s2s:sids"), requests, k=5, search=search)
        assert len(calls) == 15 == models("s2s:sids").cost(5)["heavy_steps"]
    calls.clear()
    generate(models("s2s"), requests, k=5)
    assert len(calls) == 5 == models("s2s").cost(5)["nfe"]


@pytest.mark.parametrize("address", ["s2s:sids+prior", "higr:prior", "higr:parallel+prior", "s2s:prior"])
def test_an_untrained_network_with_the_prior_is_dense_retrieval(models, data, address):
    name, _ = parse_model(address)
    fitted = models(address)
    model = model_class(name)(fitted.config, fitted.sampling)
    model.catalog, model.features, model.ids = fitted.catalog, fitted.features, fitted.ids
    model.network = model._new_network().eval()
    dense = model_class("dense")()
    dense.fit(data)
    requests = data.valid_requests.head(8)
    ours, theirs = generate(model, requests, k=5, beam=240)[:, 0], dense.generate(requests, 5).items[:, 0]
    scores = np.einsum("pd,nd->pn", data.features.prompts(requests["prompt"].to_list()), data.features.item_texts())
    for p in range(8):  # up to ties of copies
        np.testing.assert_allclose(scores[p, ours[p]], scores[p, theirs[p]], atol=1e-5)


def test_parallel_fills_every_slot_though_all_slots_want_the_same_item(models, data):
    model = models("higr:parallel+prior")
    for beam in (1, 3):
        slates = model.generate(data.valid_requests, 5, sampling=model.Sampling(beam=beam))
        assert (np.sort(slates.items, axis=-1)[..., 1:] > np.sort(slates.items, axis=-1)[..., :-1]).all()
        assert slates.items.min() >= 0
        assert slates.diagnostics["raw_duplicate_rate"].max() <= 0.81  # the first slot never repeats


def test_parallel_with_one_beam_keeps_all_items_below_each_slots_best_first_code(models, data):
    model, requests = models("higr:parallel"), data.valid_requests.head(3)
    first_codes = model.ids.trie.codes_of(torch.arange(240))[:, 0].numpy()
    found = generate(model, requests, k=8, beam=1)[:, 0]
    for p, slate in enumerate(found.tolist()):
        codes = torch.zeros(1, 8, model.ids.trie.levels, dtype=torch.long)
        hidden, _ = teacher_forced(model, requests[[p]], codes)
        logits = model.network.units.logits(hidden[0, :, 0], 0).detach().numpy()  # of each slot's first code
        scores = item_log_probs(model, requests[[p] * 240], np.tile(np.arange(240)[:, None], 8))  # without feedback
        for m in range(8):
            code = max(set(first_codes), key=lambda c: logits[m, c])
            free = [i for i in range(240) if first_codes[i] == code and i not in slate[:m]]
            assert slate[m] in free and scores[slate[m], m] >= scores[free, m].max() - 1e-4


@pytest.mark.parametrize("address", ["s2s:sids", "higr", "higr:parallel"])
def test_raw_rates_say_what_the_trie_repaired(models, data, address):
    slates = models(address).generate(data.valid_requests, 5, sampling=models(address).Sampling(beam=1))
    rates = slates.diagnostics
    assert set(rates) == {"raw_duplicate_rate", "invalid_id_rate"}
    assert 0 < rates["invalid_id_rate"].mean() <= 1  # random heads over 8 codes in a sparse tree
    assert rates["raw_duplicate_rate"].min() >= 0 and rates["raw_duplicate_rate"].max() <= 1


def test_samples_differ_and_top_p_narrows_them(models, data):
    model, requests = models("higr"), data.valid_requests.head(6)
    wild = generate(model, requests, samples=4, temperature=1.0, beam=20)
    assert len({tuple(s) for s in wild[0].tolist()}) > 1
    narrow = generate(model, requests, samples=4, temperature=1.0, beam=20, top_p=1e-6)
    assert np.array_equal(narrow, np.repeat(generate(model, requests, beam=20), 4, axis=1))
    for settings in ({"beam": 1, "temperature": 1.0}, {"search": "slate", "temperature": 1.0}):
        with pytest.raises(UsageError):
            resolve(model_class("s2s"), [], "smoke", settings)


def test_pick_draws_by_probability():
    scores = torch.tensor([0.5, 0.3, 0.2]).log().repeat(10_000, 1)
    uniform = torch.linspace(0, 1, 10_001)[:-1]
    share = torch.bincount(pick(scores, 1.0, 1.0, uniform), minlength=3) / 10_000
    torch.testing.assert_close(share, torch.tensor([0.5, 0.3, 0.2]), atol=1e-3, rtol=0)
    share = torch.bincount(pick(scores, 1.0, 0.6, uniform), minlength=3) / 10_000
    torch.testing.assert_close(share, torch.tensor([0.625, 0.375, 0.0]), atol=1e-3, rtol=0)
    share = torch.bincount(pick(scores, 0.5, 1.0, uniform), minlength=3) / 10_000
    torch.testing.assert_close(share, torch.tensor([25.0, 9.0, 4.0]) / 38, atol=1e-3, rtol=0)
    assert pick(torch.full((2, 3), -torch.inf), 1.0, 1.0, torch.rand(2)).max() <= 2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_item_that_is_not_to_be_had_is_never_picked(temperature):
    gone = -torch.inf
    scores = torch.tensor([[gone, -0.5, gone], [-0.5, gone, -9.0], [gone, gone, gone]])
    places, sampling = torch.arange(9).view(3, 3), SlateSampling(temperature=temperature)
    for uniform in (0.0, 0.5, 0.9999):
        choice, place, score = pick_item(places, scores, sampling, torch.full((3,), uniform))
        last = 2 if temperature and uniform > 0.999 else 0  # e^-8.5 is the share of the worse of two
        assert choice[:2, 0].tolist() == [1, last] and place[:, 0].tolist() == [1, 3 + last, -1]
        assert score[:, 0].tolist() == [scores[0, 1], scores[1, last], gone]


@pytest.mark.parametrize(("size", "budget"), [([], "standard"), (["large"], "standard"), ([], "paper")])
@pytest.mark.parametrize("prior", [[], ["prior"]])
def test_twins_have_the_same_number_of_parameters(size, budget, prior):
    counts = []
    for name, presets, network in (
        ("s2s", ["sids"], s2s.FlatDecoder),
        ("higr", [], higr.HierarchicalDecoder),
        ("higr", ["parallel"], higr.HierarchicalDecoder),
        ("maskgr", [], maskgr.MaskedSlateNetwork),
    ):
        if name == "maskgr" and prior:
            continue  # it has no learnt query
        c = resolve(model_class(name), presets + size + prior, budget, {}).config
        counts.append(sum(p.numel() for p in network(CodeUnits(c.levels, c.codes, c.width), 384, 384, c).parameters()))
    assert max(counts) <= 1.05 * min(counts), counts


@pytest.mark.parametrize("address", ["s2s", "s2s:sids+prior", "higr:prior", "trie-prior"])
def test_parameters_are_counted_without_training(models, data, address, monkeypatch):
    fitted, small = models(address), {"layers": 2, "codes": 8} if address != "trie-prior" else {"codes": 8}
    monkeypatch.setattr(DecodingTask, "forward", lambda *_: pytest.fail("a training step"))
    parts = count_parameters(address, data, "smoke", small)
    assert sum(parts.values()) == fitted.cost(K)["parameters"]
    stack = {"s2s": "decoder", "higr": "planner"}.get(parse_model(address)[0])
    if stack is None:
        assert parts == {}
    else:
        assert parts[stack] == sum(p.numel() for p in getattr(fitted.network, stack).parameters())
        heads = fitted.network.units.heads if address != "s2s" else fitted.network.units.head
        assert parts["heads"] == sum(p.numel() for p in heads.parameters())


# --- what is trained on ----------------------------------------------------------------------------------


def task_of(model, data, **values):
    config = model.config.model_copy(update=values)
    return DecodingTask(model.network, config, data, model.ids)


@pytest.mark.parametrize("fill", ["none", "neighbours"])
def test_examples_are_train_slates_in_any_order(models, data, fill):
    task = task_of(models("higr"), data, fill=fill, seed_rate=0.5)
    torch.manual_seed(0)
    rows = torch.arange(60)
    items, real, offset, condition = task.examples(rows)
    vectors = torch.tensor(data.features.items())
    orders = set()
    for b, slate in enumerate(data.slates["items"].to_list()[:60]):
        n_seeds = int(condition.seed_mask[b].sum())
        own = items[b, : len(slate) - n_seeds].tolist()
        assert set(own) <= set(slate) and len(set(own)) == len(own) and real[b, : len(own)].all()
        seeds = [i for i in slate if i not in own]
        assert len(seeds) == n_seeds < len(slate)
        for seed, vector in zip(seeds, condition.seeds[b], strict=False):
            assert n_seeds > 1 or torch.equal(vectors[seed], vector)
        rest = items[b, len(own) :][real[b, len(own) :]].tolist()
        assert (fill == "neighbours") or not rest
        assert not set(rest) & set(own) and len(set(rest)) == len(rest)
        for item in rest:  # one of the 5 nearest of an item of the slate
            assert any(int((vectors[i] @ vectors.T > vectors[i] @ vectors[item]).sum()) <= 6 for i in own), (
                "a filler that is near none"
            )
        assert 0 <= offset[b] <= 5 - real[b].sum()
        orders.add(own == [i for i in slate if i in own])
    assert orders == {True, False}
    assert {int(n) for n in condition.seed_mask.sum(1)} >= {0, 1}


def test_catalogue_pairs_are_behind_the_slates_and_named_alike(models, data):
    task = task_of(models("s2s:sids"), data, catalogue_pairs=9)
    torch.manual_seed(0)
    items, real, _, condition = task.examples(torch.arange(4))
    assert items.shape[0] == 13 and real[-9:].sum(1).tolist() == [1] * 9 and condition.keep[-9:].all()
    pairs = CataloguePairs(data.catalog, data.features)
    texts, names = pairs.texts[items[-9:, 0]], pairs.categories[pairs.category[items[-9:, 0]]]
    for pooled, text, category in zip(condition.pooled[-9:].numpy(), texts, names, strict=True):
        assert np.array_equal(pooled, text) or np.array_equal(pooled, category)
    assert torch.isfinite(task(torch.arange(4)))
    assert "catalogue_pairs" in s2s.S2S.Config.model_fields and "catalogue_pairs" in higr.HiGR.Config.model_fields


@pytest.mark.parametrize("address", ["higr:prior", "s2s:sids", "s2s"])
def test_the_loss_is_the_mean_log_probability_of_the_units(models, data, address, monkeypatch):
    model = models(address)
    task = task_of(model, data, fill="none", seed_rate=0.0, prompt_dropout=0.0).eval()
    trie, examples = model.ids.trie, {}

    def kept(rows):
        items, real, offset, condition = DecodingTask.examples(task, rows)
        examples.update(items=items, real=real)
        return items, real, torch.zeros_like(offset), condition

    monkeypatch.setattr(task, "examples", kept)
    with torch.no_grad():
        loss = float(task(torch.arange(5)))
    items, real = examples["items"], examples["real"]
    whole = torch.tensor(item_log_probs(model, data.slates[:5], items.numpy()))
    leaf = trie.above[trie.levels][trie.place[items]]
    _, prior = teacher_forced(model, data.slates[:5], trie.codes_of(items)[..., : trie.levels])
    of_digits, kids = trie.log_probs(trie.levels, leaf, None, prior)
    digit = of_digits.detach().masked_fill(kids != trie.place[items][..., None], 0).nan_to_num(neginf=0).sum(-1)
    assert loss == pytest.approx(-float((whole - digit)[real].mean()) / trie.levels, abs=1e-4)


def test_the_query_is_learnt_through_the_prior(models, data):
    task = task_of(models("higr:prior"), data, fill="none", seed_rate=0.0)
    task.zero_grad()
    task(torch.arange(8)).backward()
    assert task.network.query.weight.grad.abs().max() > 0
    assert models("higr").network.query is None


def test_a_collapsed_tokenizer_stops_the_fit_unless_allowed(data, monkeypatch):
    same = pl.Series([[0, 1]] * data.slates.height)
    flat = data.slates.with_columns(same.alias("items"))
    features = data.features
    lumped = features.items().copy()
    lumped[:] = lumped[0]
    lumped += np.random.default_rng(0).standard_normal(lumped.shape).astype(np.float32) * 1e-6
    monkeypatch.setattr(type(features), "items", lambda self: lumped)
    for allow in (False, True):
        settings = resolve(model_class("trie-prior"), [], "smoke", {"tokenizer": "rqvae", "allow_collapse": allow})
        model = model_class("trie-prior")(settings.config)
        if allow:
            assert model.fit(replace(data, slates=flat)).health["collision_rate"] > 0
        else:
            with pytest.raises(SlateBenchError, match="collapsed"):
                model.fit(replace(data, slates=flat))
