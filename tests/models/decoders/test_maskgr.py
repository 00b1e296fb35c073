from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slatebench.datasets.schema import Catalog
from slatebench.datasets.vectors.features import features_for_catalog
from slatebench.models.base import resolve
from slatebench.models.decoders import maskgr
from slatebench.models.decoders.maskgr import MaskedSlateNetwork, MaskGR, UnmaskingTask, draw_masks, weighted_loss
from slatebench.models.nn.context import Condition, prompt_condition, seed_condition
from slatebench.models.semantic_ids import unmasking
from slatebench.models.semantic_ids.feasible import OPEN, Carriers, code_mass, feasible

K, D = 4, 3


def ask(model, requests, known):
    """Logits [P, k, D, K] of one pass, and the retrieval scores of all items [P, N] (zeros without prior)."""
    prompts = requests["prompt"].to_list()
    tokens, mask, pooled = prompt_condition(model.features, prompts, model.config.prompt_tokens)
    seeds, seed_mask = seed_condition(requests["seed_items"].to_list(), torch.tensor(model.features.items()))
    condition = Condition(tokens, mask, pooled, seeds, seed_mask, torch.ones(len(prompts), dtype=torch.bool))
    with torch.no_grad():
        hidden = model.network.hidden(known, torch.zeros(len(prompts), dtype=torch.long), condition)
        logits = model.network.logits(hidden)
    scores = model.config.gamma * pooled @ torch.tensor(model.features.item_texts()).T
    return logits.numpy(), scores.numpy() * model.config.prior


def generate(model, requests, k=K, samples=1, **values):
    sampling = model.Sampling(**{"order": "slot", **values})
    return model.generate(requests, k, samples=samples, seed=5, sampling=sampling)


def masks_only(P, k=K):
    return torch.full((P, k, D), OPEN)


def log_prob(model, logits, scores, known, level, code, free=None):
    """log p(code | known codes of its slot) by a plain walk over the items: logits [D, K], scores [N], known [D]."""
    free = range(len(scores)) if free is None else free
    codes = model.ids.codes
    fits = [i for i in free if all(known[d] in (OPEN, codes[i, d]) for d in range(D))]
    total = {}
    for c in {codes[i, level] for i in fits}:
        below = [scores[i] for i in fits if codes[i, level] == c]
        total[c] = logits[level, c] + (np.logaddexp.reduce(below) if model.config.prior else 0.0)
    return total[code] - np.logaddexp.reduce(list(total.values())) if code in total else -np.inf


# --- the loss -------------------------------------------------------------------------------------------------


def test_weights_by_hand():
    nll = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]], [[7.0, 9.0]]])
    learnt = torch.tensor([[[True, True]], [[True, False]], [[False, False]]])
    # 1 x 1 + 1 x 2 + 4 x 3 over 1 + 1 + 4
    assert float(weighted_loss(nll, learnt, torch.tensor([1.0, 0.25, 0.1]))) == pytest.approx(15 / 6)
    assert float(weighted_loss(nll, torch.zeros_like(learnt), torch.ones(3))) == 0


def test_masks_are_whole_by_slot_or_by_code():
    torch.manual_seed(0)
    c = resolve(MaskGR, [], "smoke", {"whole_masks": 0.25, "slot_masks": 0.5, "least_masked": 0.3}).config
    t, masked = draw_masks(torch.zeros(4000, 5, 3), c)
    whole = torch.arange(4000) % 4 == 0
    assert (t[whole] == 1).all() and masked[whole].all()
    rest, times = masked[~whole], t[~whole]
    assert times.min() >= 0.3 and times.max() < 1 and abs(float(times.mean()) - 0.65) < 0.02
    assert abs(float(rest.float().mean()) - 0.65) < 0.02
    by_slot = (rest.all(-1) | ~rest.any(-1)).all(-1)
    assert abs(float(by_slot.float().mean()) - 0.5) < 0.1  # a few of the others look like it
    for _ in range(5):
        assert draw_masks(torch.zeros(1, 5, 3), c)[1].all()  # one slate: the state that decoding starts from
    assert not draw_masks(torch.zeros(50, 5, 3), c.model_copy(update={"whole_masks": 0.0}))[1].all((1, 2)).all()


@pytest.mark.parametrize("name", ["maskgr", "maskgr:prior"])
@pytest.mark.parametrize("whole", [True, False])
def test_the_loss_is_the_weighted_log_probability_of_masked_codes(models, data, name, whole, monkeypatch):
    model, B = models(name), 5
    quiet = {"seed_rate": 0.0, "prompt_dropout": 0.0, "fill": "none", "whole_masks": float(whole)}
    task = UnmaskingTask(model.network, model.config.model_copy(update=quiet), data, model.ids).eval()
    kept = {}

    def examples(rows):
        items, real, offset, condition = UnmaskingTask.examples(task, rows)
        kept.update(items=items, real=real)
        return items, real, torch.zeros_like(offset), condition

    def masks(codes, c):
        kept["t"], kept["masked"] = draw_masks(codes, c)
        return kept["t"], kept["masked"]

    monkeypatch.setattr(task, "examples", examples)
    monkeypatch.setattr(maskgr, "draw_masks", masks)
    torch.manual_seed(3)
    with torch.no_grad():
        loss = float(task(torch.arange(B)))
    items, real, t, masked = kept["items"], kept["real"], kept["t"], kept["masked"]
    assert masked.all() == whole and not real.all()
    codes = torch.tensor(model.ids.codes[items.numpy()])
    known = codes.masked_fill(masked | ~real[..., None], OPEN)
    logits, scores = ask(model, data.slates[:B], known)
    above = below = 0.0
    for b, m, d in (masked & real[..., None]).nonzero().tolist():
        found = log_prob(model, logits[b, m], scores[b], known[b, m].tolist(), d, int(codes[b, m, d]))
        above, below = above - found / float(t[b]), below + 1 / float(t[b])
    assert loss == pytest.approx(above / below, abs=1e-3)


def test_catalogue_pairs_are_learnt_in_one_slot(models, data):
    config = models("maskgr").config.model_copy(update={"catalogue_pairs": 6})
    assert torch.isfinite(UnmaskingTask(models("maskgr").network, config, data, models("maskgr").ids)(torch.arange(4)))


# --- what a slot can still become ----------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
def test_feasibility_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    codes, known = rng.integers(0, 4, (30, 3)), rng.integers(-1, 4, (6, 3))
    fits = feasible(torch.tensor(codes), torch.tensor(known))
    weights = rng.random((30, 1))
    mass = code_mass(torch.tensor(codes), fits * torch.tensor(weights), 5)
    assert mass.shape == (6, 3, 5)
    for s, slot in enumerate(known):
        mine = [i for i in range(30) if all(a in (OPEN, b) for a, b in zip(slot, codes[i], strict=True))]
        assert fits[:, s].nonzero()[:, 0].tolist() == mine
        for d in range(3):
            for c in range(5):
                assert float(mass[s, d, c]) == pytest.approx(sum(weights[i, 0] for i in mine if codes[i, d] == c))


@given(st.integers(0, 2**32 - 1))
def test_lists_of_carriers_find_what_the_whole_catalogue_does(seed):
    rng = np.random.default_rng(seed)
    codes, known = torch.tensor(rng.integers(0, 4, (30, 3))), torch.tensor(rng.integers(-1, 4, (40, 3)))
    known = known[(known != OPEN).any(1)]
    weights, column = torch.tensor(rng.random((30, 3)) * (rng.random((30, 3)) < 0.7)), torch.arange(len(known)) % 3
    expected = code_mass(codes, feasible(codes, known) * weights[:, column], 5)
    torch.testing.assert_close(Carriers.of(codes, 5).mass(known, weights, column), expected)


# --- decoding -------------------------------------------------------------------------------------------------


def item_scores(model, requests, known):
    """Scores [P, k, N] of all items: sum of the logits of their codes, prior, and the digit of equal ids."""
    logits, scores = ask(model, requests, known)
    codes, digits = model.ids.codes, model.ids.trie.codes_of(torch.arange(len(model.ids.codes)))[:, -1].numpy()
    network = sum(logits[:, :, d][..., codes[:, d]] for d in range(D))
    weight = model.sampling.residual if model.config.prior else 1.0
    return weight * network + scores[:, None] - 1e-4 * digits


def pick_by_hand(scores, seeds, kept=()):
    """Slots from left to right [k]: the best item that no slot has; `kept` {slot: item}."""
    slate = dict(kept)
    for m in range(len(scores)):
        free = [i for i in range(scores.shape[1]) if i not in seeds and i not in slate.values()]
        slate.setdefault(m, max(free, key=lambda i: scores[m, i]))
    return [slate[m] for m in range(len(scores))]


@pytest.mark.parametrize("name", ["maskgr", "maskgr:prior"])
def test_catalog_is_exhaustive_scoring(models, data, name):
    model, requests = models(name), data.valid_requests.head(6)
    seeds = [[], [3], [3, 200], [], [999], [7]]
    requests = requests.with_columns(pl.Series("seed_items", seeds, dtype=pl.List(pl.Int64)))
    scores = item_scores(model, requests, masks_only(6))
    expected = [pick_by_hand(scores[p], seeds[p]) for p in range(6)]
    assert generate(model, requests).items[:, 0].tolist() == expected


def test_raw_rates_of_catalog(models, data):
    model, requests = models("maskgr"), data.valid_requests.head(5)
    logits, _ = ask(model, requests, masks_only(5))
    tuples = {tuple(row) for row in model.ids.codes.tolist()}
    invalid = [np.mean([tuple(slot) not in tuples for slot in row]) for row in logits.argmax(-1).tolist()]
    slates = generate(model, requests)
    np.testing.assert_allclose(slates.diagnostics["invalid_id_rate"][:, 0], invalid)
    best = item_scores(model, requests, masks_only(5)).argmax(-1)  # [P, k]
    repeats = [np.mean([best[p, m] in slates.items[p, 0, :m] for m in range(K)]) for p in range(5)]
    np.testing.assert_allclose(slates.diagnostics["raw_duplicate_rate"][:, 0], repeats)


@pytest.mark.parametrize("name", ["maskgr", "maskgr:prior"])
def test_refinement_keeps_the_surest_slots(models, data, name):
    model, requests, kept = models(name), data.valid_requests.head(3), [{}, {}, {}]
    codes = torch.tensor(model.ids.codes)
    for turn in range(3):  # two refinements
        known = masks_only(3)
        for p in range(3):
            for m, item in kept[p].items():
                known[p, m] = codes[item]
        scores = item_scores(model, requests, known)
        sure = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
        slates = [pick_by_hand(scores[p], [], kept[p]) for p in range(3)]
        for p, slate in enumerate(slates):
            more = sorted(set(range(K)) - set(kept[p]), key=lambda m: -sure[p, m, slate[m]])
            n = round(K * (turn + 1) / 3) - len(kept[p])
            kept[p] = kept[p] | {m: slate[m] for m in more[:n]}
    assert generate(model, requests, refinements=2).items[:, 0].tolist() == slates


@pytest.fixture
def reads(monkeypatch):
    """The codes that go into the network, pass by pass."""
    seen, read = [], MaskedSlateNetwork.read

    def kept(self, codes, *rest):
        seen.append(codes.clone())
        return read(self, codes, *rest)

    monkeypatch.setattr(MaskedSlateNetwork, "read", kept)
    return seen


@pytest.mark.parametrize("values", [
    {}, {"refinements": 3}, {"decoder": "levels"}, {"decoder": "confidence", "passes": 1},
    {"decoder": "confidence", "passes": 4},
    {"decoder": "confidence", "passes": 6, "temperature": 1.0},
])  # fmt: skip
def test_as_many_passes_as_asked_for(models, data, reads, values):
    model = models("maskgr:prior")
    reads.clear()  # of the fit
    generate(model, data.valid_requests.head(3), samples=2, **values)
    passes = values.get("passes", D if values.get("decoder") == "levels" else 1 + values.get("refinements", 0))
    assert len(reads) == passes == model.cost(K, model.Sampling(**values))["nfe"]


@pytest.mark.parametrize("name", ["maskgr", "maskgr:prior"])
def test_confidence_fixes_one_code_a_slot_and_every_tuple_is_an_item(models, data, reads, name):
    model, passes, codes = models(name), 6, torch.tensor(models(name).ids.codes)
    reads.clear()  # of the fit
    slates = generate(model, data.valid_requests.head(8), decoder="confidence", passes=passes)
    assert (np.sort(slates.items)[..., 1:] > np.sort(slates.items)[..., :-1]).all() and slates.items.min() >= 0
    assert set(slates.diagnostics) == {"raw_duplicate_rate", "invalid_id_rate", "repair_rate"}
    repaired = slates.diagnostics["repair_rate"][:, 0] > 0
    assert not repaired.all()
    before = masks_only(8)
    for turn, known in enumerate(reads):
        fits = feasible(codes, known.flatten(0, 1))  # [N, P k]
        assert fits.any(0).all()
        kept = (before == OPEN) | (known == before)
        assert kept[~repaired].all()
        full, fixed = (known != OPEN).all(-1), ((known != OPEN) & (before == OPEN)).sum(-1)
        for p, m in ((fixed > 1) & torch.tensor(~repaired)[:, None]).nonzero().tolist():
            assert full[p, m]  # nothing but the one item left: what other full slots have become is gone
            taken = {i for i in slates.items[p, 0].tolist() if (codes[i] == known[p][full[p]]).all(-1).any()}
            ways = [before[p, m].clone() for _ in range(D)]
            for d, way in enumerate(ways):
                way[d] = known[p, m, d]
            left = [set(fits.nonzero()[:, 0].tolist()) - taken for fits in (feasible(codes, w[None]) for w in ways)]
            assert set() in left
        assert (known != OPEN).sum((1, 2)).min() >= 12 * turn // passes or repaired.any()
        before = known


@pytest.mark.parametrize("name", ["maskgr", "maskgr:prior"])
def test_confidence_of_one_slot_by_brute_force(models, data, name):
    model, requests, codes = models(name), data.valid_requests.head(3), models(name).ids.codes
    found = generate(model, requests, k=1, decoder="confidence").items[:, 0, 0]
    for p in range(3):
        known, fits = [OPEN] * D, list(range(len(codes)))
        while len(fits) > 1 and OPEN in known:
            logits, scores = ask(model, requests[p : p + 1], torch.tensor(known)[None, None])
            steps = [(d, c) for d in range(D) for c in range(8) if known[d] == OPEN]
            d, c = max(steps, key=lambda x: log_prob(model, logits[0, 0], scores[0], known, *x))
            known[d] = c
            fits = [i for i in fits if codes[i, d] == c]
        _, scores = ask(model, requests[p : p + 1], torch.tensor(known)[None, None])
        digits = model.ids.trie.codes_of(torch.tensor(fits))[:, -1].tolist()
        assert found[p] == max(zip(fits, digits, strict=True), key=lambda x: scores[0, x[0]] - 1e-4 * x[1])[0]


def test_fixing_codes_by_hand():
    sure = torch.full((1, 3, 2, 3), -torch.inf)
    sure[0, 0, 0, 1], sure[0, 1, 0, 1], sure[0, 1, 1, 2], sure[0, 2, 0, 1] = -0.1, -0.2, -0.5, -0.3
    known = torch.tensor([[[OPEN, OPEN], [OPEN, OPEN], [OPEN, 0]]])
    fixed = unmasking.fix_surest(sure, known, torch.tensor([3]))
    # slot 1 can't do what slot 0 does and takes its next best; slot 2 knows another code, so that it is no copy
    assert fixed.tolist() == [[[1, OPEN], [OPEN, 2], [1, 0]]]
    assert unmasking.fix_surest(sure, known, torch.tensor([1])).tolist() == [[[1, OPEN], [OPEN, OPEN], [OPEN, 0]]]


def test_settling_by_hand():
    codes = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 0]])
    known = torch.tensor([[[1, 0], [1, 0], [0, OPEN], [OPEN, 1]]])
    slate, weights = torch.full((1, 4), -1), torch.tensor([[1.0], [0.0], [0.5], [0.7]])  # item 1 is not free
    _, dead = unmasking.settle(codes, known, slate, weights)
    assert slate.tolist() == [[3, -1, 0, -1]]  # of two slots alike the first takes the better item
    assert dead.tolist() == [[False, False, False, True]] and known[0, 3].tolist() == [OPEN, OPEN]
    assert known[0, 2].tolist() == [0, 0] and weights[:, 0].tolist() == [0.0, 0.0, 0.5, 0.0]
    unmasking.settle(codes, known, slate, weights)
    assert slate.tolist() == [[3, 2, 0, -1]]


def test_sharing_out_by_hand():
    """The textbook's example of d'Hondt: 100, 80, 30 and 20 thousand votes, 8 seats."""
    log_p = torch.tensor([100.0, 80, 30, 20]).log().log_softmax(0).expand(1, 8, -1)
    kids, room = torch.arange(4).expand(1, 8, -1), torch.full((1, 4), 8)
    greedy = SimpleNamespace(temperature=0.0, top_p=1.0)
    nodes, sure, crowded = unmasking.share_out(log_p, kids, room, greedy, torch.zeros(1, 8))
    assert nodes[0].bincount(minlength=4).tolist() == [4, 3, 1, 0] and nodes[0, :3].tolist() == [0, 1, 0]
    assert torch.equal(sure, log_p[:, 0].gather(1, nodes)) and not crowded.any()
    tight = torch.tensor([[1, 2, 0, 1]])
    nodes, _, crowded = unmasking.share_out(log_p, kids, tight, greedy, torch.zeros(1, 8))
    assert nodes[0].tolist() == [0, 1, 1, 3, -1, -1, -1, -1] and crowded[0].tolist() == [False] + 7 * [True]


@pytest.mark.parametrize("temperature", [1e-6, 0.5, 1.0, 2.0])
def test_children_come_up_as_often_as_they_are_probable(temperature):
    R, k, p = 2000, 20, torch.tensor([0.8, 0.15, 0.05])
    kids, room = torch.arange(3).expand(R, k, -1), torch.full((R, 3), k)
    s, uniform = SimpleNamespace(temperature=temperature, top_p=1.0), torch.rand(R, k, generator=torch.manual_seed(0))
    nodes, _, _ = unmasking.share_out(p.log().expand(R, k, -1), kids, room, s, uniform)
    share = nodes.flatten().bincount(minlength=3) / nodes.numel()
    drawn = (p ** (1 / temperature)) / (p ** (1 / temperature)).sum() if temperature > 1 else p
    # exact where every slot draws by itself, and nearly where the rule of highest averages does it all
    torch.testing.assert_close(share, drawn, atol=0.01 if temperature >= 1 else 0.06, rtol=0)


@pytest.mark.parametrize("name", ["maskgr", "maskgr:prior"])
def test_levels_by_a_plain_walk(models, data, name):
    model, codes, seeds = models(name), models(name).ids.codes, [3, 17]
    requests = data.valid_requests.head(3).with_columns(
        pl.Series("seed_items", [[], seeds, []], dtype=pl.List(pl.Int64))
    )
    slates, known = generate(model, requests, decoder="levels"), masks_only(3)
    crowded, invalid = np.zeros((3, K), dtype=bool), np.zeros((3, K), dtype=bool)
    digits = model.ids.trie.codes_of(torch.arange(len(codes)))[:, -1].tolist()
    for level in range(D):
        logits, scores = ask(model, requests, known)
        for p in range(3):
            free, had = set(range(len(codes))) - set(seeds if p == 1 else []), {}
            for m in range(K):
                before = tuple(known[p, m].tolist()[:level])
                fits = [i for i in free if tuple(codes[i, :level]) == before]
                best, plain = {}, {}
                for c in {code for *above, code in codes[:, : level + 1].tolist() if tuple(above) == before}:
                    own, n = (*before, c), had.get((*before, c), 0)
                    found = log_prob(model, logits[p, m], scores[p], list(before) + [OPEN] * (D - level), level, c)
                    plain[own] = found
                    if n < sum(codes[i, level] == c for i in fits):
                        best[own] = found - np.log(n + 1)
                own = max(best, key=best.get)
                crowded[p, m] |= max(plain, key=plain.get) not in best
                invalid[p, m] |= (*before, logits[p, m, level].argmax()) not in plain and not model.config.prior
                had[own], known[p, m, level] = had.get(own, 0) + 1, int(own[-1])
    for p in range(3):
        taken = set(seeds if p == 1 else [])
        for m in range(K):
            fits = [i for i in range(len(codes)) if (codes[i] == known[p, m].numpy()).all() and i not in taken]
            item = max(fits, key=lambda i: scores[p, i] - 1e-4 * digits[i])
            of_tuple = [i for i in range(len(codes)) if (codes[i] == known[p, m].numpy()).all()]
            crowded[p, m] |= max(of_tuple, key=lambda i: scores[p, i] - 1e-4 * digits[i]) != item
            assert slates.items[p, 0, m] == item
            taken.add(item)
    np.testing.assert_allclose(slates.diagnostics["raw_duplicate_rate"][:, 0], crowded.mean(1))
    np.testing.assert_allclose(slates.diagnostics["invalid_id_rate"][:, 0], invalid.mean(1))


@pytest.mark.parametrize("decoder", ["catalog", "levels", "confidence"])
def test_a_slate_of_the_whole_catalogue(models, data, decoder):
    model, catalog = models("maskgr"), Catalog(data.catalog.items[::30])  # 8 items, hardly any two slots can go free
    other = model.with_catalog(catalog, features_for_catalog(data.features, catalog))
    requests = data.valid_requests.head(4)
    slates = generate(other, requests, k=8, decoder=decoder, passes=3)
    assert (np.sort(slates.items[:, 0]) == np.arange(8)).all()
    if decoder == "confidence":
        assert slates.diagnostics["repair_rate"].max() > 0
    requests = requests.with_columns(pl.Series("seed_items", [[5], [], [0, 2], []], dtype=pl.List(pl.Int64)))
    left = np.sort(generate(other, requests, k=8, decoder=decoder, passes=3).items[:, 0])
    assert left[0].tolist() == [-1, 0, 1, 2, 3, 4, 6, 7] and left[2].tolist() == [-1, -1, 1, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("decoder", ["catalog", "levels", "confidence"])
def test_samples_are_fresh(models, data, decoder):
    slates = generate(models("maskgr"), data.valid_requests.head(3), samples=4, decoder=decoder, temperature=1.0)
    assert all(len({tuple(s) for s in row}) > 1 for row in slates.items.tolist())
    cold = generate(models("maskgr"), data.valid_requests.head(3), samples=2, decoder=decoder)
    nearly = generate(models("maskgr"), data.valid_requests.head(3), samples=2, decoder=decoder, temperature=1e-5)
    assert np.array_equal(cold.items, nearly.items) and not models("maskgr").stochastic()


def test_temperature_draws_items_by_their_probability(models, data):
    model, catalog, n = models("maskgr"), Catalog(data.catalog.items[::30]), 4000
    other = model.with_catalog(catalog, features_for_catalog(data.features, catalog))
    request = data.valid_requests.head(1)
    drawn = generate(other, request, k=1, samples=n, temperature=2.0).items[0, :, 0]
    scores = item_scores(other, request, masks_only(1, 1))[0, 0] / 2
    share = np.exp(scores - np.logaddexp.reduce(scores))
    np.testing.assert_allclose(np.bincount(drawn, minlength=8) / n, share, atol=4 * 0.5 / np.sqrt(n))


def test_an_interrupted_fit_goes_on_to_the_same_weights(data, tmp_path):
    settings = resolve(MaskGR, ["prior"], "smoke", {})
    few = replace(data, slates=data.slates.head(40))

    def stop(step, total, message=""):
        if step == 12:
            raise KeyboardInterrupt

    whole, broken, resumed = (MaskGR(settings.config) for _ in range(3))
    broken.checkpoint_folder = resumed.checkpoint_folder = tmp_path
    whole.fit(few, seed=4)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(few, seed=4, progress=stop)
    assert 0 < resumed.fit(few, seed=4).notes["resumed_at_step"] <= 12
    assert all(np.array_equal(whole.arrays()[name], array) for name, array in resumed.arrays().items())
