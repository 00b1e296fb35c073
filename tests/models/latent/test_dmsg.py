import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from slatebench.datasets.errors import SlateBenchError, UsageError
from slatebench.datasets.schema import Catalog, make_requests
from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.features import features_for_catalog, make_features
from slatebench.models.base import resolve
from slatebench.models.latent import gaussian
from slatebench.models.latent.cross_fitting import cross_fitted_centres
from slatebench.models.latent.denoiser import SlateDenoiser
from slatebench.models.latent.dmsg import DMSG
from slatebench.models.latent.latent_space import LatentSpace
from slatebench.models.latent.loss import DenoisingTask
from slatebench.models.latent.set_regressor import SetRegressor, match
from slatebench.models.nn.context import Condition
from slatebench.models.retrieval.prompt2vec import Prompt2Vec
from slatebench.models.retrieval.prompt_centre import PromptCentre
from slatebench.models.testing import recall, run_contract

D, TEXT, W = 5, 7, 16


def denoiser(seed=0, prompt_layers=1):
    torch.manual_seed(seed)
    net = SlateDenoiser(D, TEXT, width=W, layers=2, heads=4, factor=2, dropout=0.1, prompt_layers=prompt_layers)
    for p in net.parameters():  # the zero-initialised layers too
        torch.nn.init.normal_(p, std=0.2)
    return net.double().eval()


def condition(P=3, L=4, S=2, seed=1, keep=True):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=g)  # noqa: E731
    return Condition(
        draw(P, L, TEXT),
        torch.arange(L) < torch.arange(1, P + 1)[:, None],
        draw(P, TEXT),
        draw(P, S, D),
        torch.arange(S) < (torch.arange(P) % (S + 1))[:, None],
        torch.full((P,), keep),
    )


def slates(B=3, K=4, seed=2):
    return torch.randn(B, K, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


TIMES = torch.tensor([[999.0], [500.0], [0.0]], dtype=torch.float64)


# --- the network --------------------------------------------------------------------------------------


def test_slots_are_exchangeable_and_slates_apart():
    net, x = denoiser(), slates()
    prepared, order = net.prepare(condition(), TIMES), torch.tensor([2, 0, 3, 1])
    out = net(x, prepared, 1)
    assert torch.allclose(net(x[:, order], prepared, 1), out[:, order])
    other = x.clone()
    other[0] += 1
    assert torch.allclose(net(other, prepared, 1)[1:], out[1:]) and not torch.allclose(
        net(other, prepared, 1)[0], out[0]
    )


def test_slots_of_a_slate_see_each_other():
    net, x = denoiser(), slates()
    prepared, other = net.prepare(condition(), TIMES), slates()
    other[:, 0] = slates(seed=9)[:, 0]
    assert not torch.allclose(net(other, prepared, 1)[:, 1:], net(x, prepared, 1)[:, 1:])


def test_work_done_once_equals_work_done_at_every_step():
    net, x, c = denoiser(), slates(), condition()
    prepared = net.prepare(c, TIMES)
    for i in range(3):
        at_once = net(x, net.prepare(c, TIMES[i].expand(1, 3)), 0)  # as in training: a time per slate
        assert torch.allclose(net(x, prepared, i), at_once, atol=1e-12)
    rows = torch.tensor([2, 2, 0])
    assert torch.allclose(
        net(x, prepared.take(rows), 1)[2], net(x[2:], net.prepare(condition(), TIMES).take(rows[2:]), 1)[0]
    )


def test_masked_tokens_change_nothing_and_real_ones_do():
    net, x, c = denoiser(), slates(), condition()
    out = net(x, net.prepare(c, TIMES), 1)
    tokens, seeds = c.tokens.clone(), c.seeds.clone()
    tokens[~c.token_mask], seeds[~c.seed_mask] = 9.0, 9.0
    assert torch.allclose(net(x, net.prepare(replace(c, tokens=tokens, seeds=seeds), TIMES), 1), out)
    for change in (
        {"tokens": c.tokens + c.token_mask[..., None]},
        {"pooled": c.pooled + 1},
        {"seed_mask": torch.zeros_like(c.seed_mask)},
    ):
        moved = (net(x, net.prepare(replace(c, **change), TIMES), 1) - out).abs().amax((1, 2))
        assert moved.max() > 1e-3, change.keys()


def test_without_condition_nothing_of_it_is_left():
    net, x = denoiser(), slates()
    a, b = (net(x, net.prepare(condition(seed=s, keep=False), TIMES), 1) for s in (1, 5))
    assert torch.allclose(a, b)


# --- latents and train batches -------------------------------------------------------------------------


def test_latents_are_a_scaled_pca():
    from sklearn.decomposition import PCA

    vectors = np.random.default_rng(0).normal(size=(200, 10)) @ np.random.default_rng(1).normal(size=(10, 10)) + 3
    z = LatentSpace.of(vectors, 4)(vectors)
    expected = PCA(4).fit_transform(vectors)
    expected /= expected.std(axis=0).mean()
    assert np.allclose(np.abs((z * expected).sum(0)), (expected**2).sum(0), rtol=1e-4)
    assert z.std(axis=0).mean() == pytest.approx(1, abs=1e-5)


def task_of(data, make_model, **values):
    model = make_model(**values)
    d = 8
    net = SlateDenoiser(d, data.features.item_texts().shape[1], width=16, layers=1, heads=4, factor=2, dropout=0.0,
                        prompt_layers=0)  # fmt: skip
    N = len(data.catalog)
    latents = torch.arange(N, dtype=torch.float32)[:, None].expand(N, d)  # a latent tells its item
    return DenoisingTask(net, model.config, data, latents, torch.zeros(1, d))


def test_cyclic_fill_and_seed_items(data, make_model):
    task = task_of(data, make_model, slots=4, seed_rate=0.5, prompt_dropout=0.25)
    rows = torch.arange(data.slates.height).repeat(4)
    torch.manual_seed(0)
    x0, c = task.batch(rows)
    seeded = 0
    for row, slots, seeds, mask in zip(rows.tolist(), x0[..., 0].tolist(), c.seeds[..., 0], c.seed_mask, strict=True):
        slate = set(data.slates["items"][row].to_list())
        seed_items = set(seeds[mask].tolist())
        targets = slate - seed_items
        assert seed_items < slate and len(seed_items) == mask.sum()
        assert set(slots) <= targets
        counts = [slots.count(item) for item in targets]
        assert max(counts) - min(counts) <= 1  # filled evenly: every item before any item again
        seeded += bool(seed_items)
    assert 0.4 < seeded / len(rows) < 0.6
    assert 0.65 < c.keep.float().mean() < 0.85
    again = task.batch(rows)[0]
    assert not torch.equal(again, x0)  # in another order


def test_loss_is_the_one_of_the_paper(data, make_model, monkeypatch):
    task = task_of(data, make_model)  # an untrained network answers 0: the loss is the target's mean square
    torch.manual_seed(0)
    seen = {}
    plain = gaussian.target_of
    monkeypatch.setattr(gaussian, "target_of", lambda *a: seen.setdefault("v", plain(*a)))
    loss = task(torch.arange(32))
    assert loss.item() == pytest.approx(seen["v"].pow(2).mean().item(), rel=1e-5)


@pytest.mark.parametrize("kind", [Prompt2Vec, PromptCentre])
def test_centres_are_cross_fitted(data, kind):
    before = cross_fitted_centres(data, 0, kind)
    row = 5
    group = data.slates["group"][row]
    other = data.slates.with_columns(
        pl.when(pl.col("group") == group).then(pl.lit([1, 2, 3])).otherwise(pl.col("items")).alias("items")
    )
    after = cross_fitted_centres(replace(data, slates=other), 0, kind)
    same = np.isclose(before, after).all(axis=1)
    assert same[row] and not same.all()  # a slate has no say in its own centre, but in others'


def test_a_neighbours_centre_is_the_mean_slate_of_similar_prompts(data):
    """Against the sum written out, over all train slates: there are fewer than 50 here."""
    few = replace(data, slates=data.slates.head(40))
    model = PromptCentre()
    model.fit(few)
    prompt = "quiet evening"
    slates = [data.features.items()[row].mean(axis=0) for row in few.slates["items"].to_list()]
    cosine = data.features.prompts(few.slates["prompt"].to_list()) @ data.features.prompts([prompt])[0]
    weights = np.exp(cosine / 0.05)
    np.testing.assert_allclose(
        model.centres(make_requests([prompt]))[0], weights @ np.array(slates) / weights.sum(), atol=1e-5
    )


# --- the model --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["dmsg:residual+prior", "dmsg:playlist"]
)  # one by one they are tested with all other models
def test_contract(address):
    assert [check for check in run_contract(address) if not check.passed] == []


def test_it_learns_and_the_prompt_is_used(fitted, dataset):
    """Shuffled prompts must drop to chance: control of the issue."""
    requests, references = dataset.test.requests, dataset.test.references
    right = recall(fitted.generate(requests, 5), requests, references)
    shuffled = requests.with_columns(pl.Series("prompt", np.roll(requests["prompt"].to_numpy(), 7)))
    wrong = recall(fitted.generate(shuffled, 5), requests, references)
    assert right > 0.3 and wrong < 0.06  # chance: .02
    losses = [value for _, value in fitted.report.curves["loss"]]
    assert losses[-1] < 0.9 * losses[0] and fitted.report.notes["parameters"] == fitted.cost(5)["parameters"]


def test_any_length_and_every_way_of_sampling(fitted, dataset):
    requests = dataset.test.requests.head(6)
    usual = fitted.generate(requests, 12).items
    for values in (
        {"steps": 1},
        {"steps": 50},
        {"sampler": "dpm++", "steps": 4},
        {"sampler": "ddpm"},
        {"eta": 1.0},
        {"spacing": "linspace"},
        {"guidance": 1.0},
        {"guidance_rescale": 0.7},
        {"rounding": "assignment", "steps": 2},
        {"search": "hnsw", "steps": 2},
        {"noise_scale": 0.5},
        {"prior_weight": 2.0},
        {"votes": 8},
        {"order": "slot"},
        {"order": "confidence"},
        {"order": "prompt2vec"},
    ):
        slates = fitted.generate(requests, 12, sampling=DMSG.Sampling(**values))
        slates.check(requests, len(dataset.catalog), 12, 1)
        assert not np.array_equal(slates.items, usual), f"{values} has no effect"
    same = fitted.generate(requests, 12, sampling=DMSG.Sampling(order="slot")).items
    assert np.array_equal(np.sort(same), np.sort(usual))  # order changes nothing else


def test_no_noise_no_variety(fitted, dataset):
    still = DMSG.Sampling(noise_scale=0.0)
    slates = fitted.generate(dataset.test.requests.head(3), 5, samples=2, sampling=still).items
    assert np.array_equal(slates[:, 0], slates[:, 1]) and not fitted.stochastic(still) and fitted.stochastic()


def test_a_consensus_holds_what_its_votes_agree_on(fitted, dataset):
    """Topics have six items: the more votes, the more of a slate is of the topic and the less new there is."""
    requests, references = dataset.test.requests, dataset.test.references
    slates = [
        fitted.generate(requests, 5, samples=2, sampling=DMSG.Sampling(votes=votes, order="slot")) for votes in (1, 32)
    ]
    right = [recall(s, requests, references) for s in slates]
    new = [np.mean([len({*b} - {*a}) for a, b in s.items]) for s in slates]
    assert right[1] > right[0] + 0.05 and 0 < new[1] < 0.7 * new[0]


def test_constant_work_is_done_once(fitted, dataset, monkeypatch):
    calls = []
    plain = fitted.network.prepare
    monkeypatch.setattr(fitted.network, "prepare", lambda *a: calls.append(1) or plain(*a))
    steps = []
    hook = fitted.network.register_forward_hook(lambda *a: steps.append(a[1][0].shape[0]))
    fitted.generate(dataset.test.requests.head(4), 5, samples=3, sampling=DMSG.Sampling(steps=7))
    hook.remove()
    assert len(calls) == 1 and steps == [2 * 4 * 3] * 7  # guidance: one doubled batch


def test_guidance_one_is_the_conditional_network(fitted, dataset):
    requests = dataset.test.requests.head(5)
    vectors = [fitted._vectors(requests, 5, 1, 0, DMSG.Sampling(guidance=guidance)) for guidance in (1.0, 1.0 + 1e-6)]
    assert torch.allclose(*vectors, atol=1e-3)


def test_seed_items_condition_the_slate_and_are_not_emitted(data, dataset, make_model):
    """Where all prompts are the same, only the seed items tell the topic (six items each)."""
    same = lambda frame: frame.with_columns(prompt=pl.lit("a mix"))  # noqa: E731
    model = make_model(max_steps=250, seed_rate=1.0, order="slot")
    model.fit(replace(data, slates=same(data.slates)))
    requests, topic = same(dataset.test.requests), np.arange(40)
    seeds = requests.with_columns(pl.Series("seed_items", [[6 * t, 6 * t + 1] for t in topic.tolist()]))
    right, without = (model.generate(asked, 4, samples=2) for asked in (seeds, requests))
    right.check(seeds, len(dataset.catalog), 4, 2)
    share = [(s.items // 6 == topic[:, None, None]).mean() for s in (right, without)]
    assert share[0] > 0.35 and share[1] < 0.1  # chance: 1 in 40


def test_a_changed_catalogue_needs_no_fit(fitted, dataset, features):
    requests = dataset.test.requests
    before = fitted.generate(requests, 5)
    emitted = np.unique(before.items)
    items = dataset.catalog.items
    gone = items[emitted].with_columns(
        pl.col("id").str.replace("item", "new"), pl.lit(0, pl.Int64).alias("train_count")
    )
    catalog = Catalog(pl.concat([items.filter(~pl.Series(np.isin(np.arange(len(items)), emitted))), gone]))
    other = fitted.with_catalog(catalog, features_for_catalog(features, catalog))
    after = other.generate(requests, 5)

    def named(slates, c):
        return [[c.titles[i] for i in slate] for slate in slates.items[:, 0]]  # copies tie by their place

    assert named(after, catalog) == named(before, dataset.catalog)  # the same items under new ids, none fitted
    assert after.diagnostics["train_slate_overlap"].mean() < 0.2 * before.diagnostics["train_slate_overlap"].mean()


def test_diagnostics(fitted, dataset):
    slates = fitted.generate(dataset.test.requests, 5, samples=2)
    assert slates.diagnostics.keys() == {"raw_duplicate_rate", "rounding_gap", "train_slate_overlap"}
    assert all((v >= 0).all() and (v <= 1).all() and v.std() > 0 for v in slates.diagnostics.values())


def test_word2vec_items_and_text_prompts_need_not_share_a_space(dataset, make_model, tmp_path):
    card = dataset.card.model_copy(update={"item_vectors": "word2vec"})
    music = replace(dataset, card=card)
    features = make_features(music, encoder="hash", cache=tmp_path)
    model = make_model(presets=["residual"])
    model.fit(train_data(music, features))
    assert features.items().shape[1] != features.item_texts().shape[1]
    requests = music.test.requests
    assert recall(model.generate(requests, 5), requests, music.test.references) > 0.1  # chance: .02


def test_validation_picks_the_weights_and_the_checkpoint_goes_where_the_caller_says(data, make_model, tmp_path):
    model, values = make_model(max_steps=40, check_every=10, patience=2), iter([0.1, 0.3, 0.2, 0.1])
    model.checkpoint_folder = tmp_path / "checkpoints"
    asked = []

    def evaluate(slates):
        slates.check(data.valid_requests, len(data.catalog), data.slate_length, 1)
        asked.append(slates.items)
        return next(values)

    report = model.fit(data, evaluate=evaluate)
    assert report.notes["best_step"] == 20 and [v for _, v in report.curves["valid"]] == [0.1, 0.3, 0.2, 0.1]
    assert np.array_equal(model.generate(data.valid_requests, data.slate_length).items, asked[1])
    assert [p.suffix for p in model.checkpoint_folder.iterdir()] == [".ckpt"]


def test_an_interrupted_fit_goes_on_to_the_same_model(data, make_model, tmp_path):
    values = {"max_steps": 40, "presets": ["residual"], "check_every": 10, "patience": 9}
    handler, evaluate = signal.getsignal(signal.SIGINT), lambda slates: float(slates.items[0, 0, 0])

    def interrupt(step, total, message=""):
        if step == 27:
            raise KeyboardInterrupt

    whole, broken, resumed = (make_model(**values) for _ in range(3))
    whole.fit(data, seed=4, evaluate=evaluate)
    broken.checkpoint_folder = resumed.checkpoint_folder = tmp_path
    with pytest.raises(KeyboardInterrupt):
        broken.fit(data, seed=4, evaluate=evaluate, progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    other_seed = make_model(**values)
    other_seed.checkpoint_folder = tmp_path
    assert other_seed.fit(data, seed=5).notes["resumed_at_step"] == 0  # not this fit's checkpoint
    assert resumed.fit(data, seed=4, evaluate=evaluate).notes["resumed_at_step"] == 25
    expected = whole.arrays()
    assert all(np.array_equal(expected[name], array) for name, array in resumed.arrays().items())


def test_an_error_in_the_evaluation_comes_through(data, make_model):
    def evaluate(slates):
        raise SlateBenchError("no such metric")

    with pytest.raises(SlateBenchError, match="no such metric"):
        make_model(max_steps=4, check_every=2, patience=1).fit(data, evaluate=evaluate)


def test_divergence_is_reported(data, make_model):
    assert make_model(learning_rate=1e8, max_steps=60, clip=1e9).fit(data).state == "diverged"


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (DMSG, {"width": 30}, "not a multiple of heads"),
        (DMSG, {"eta": 0.5, "sampler": "ddpm"}, "option of the sampler ddim"),
        (DMSG, {"steps": 1001}, "1000"),
        (DMSG, {"search": "hnsw", "prior_weight": 1.0}, "needs search=exact"),
        (DMSG, {"votes": 4, "rounding": "assignment"}, "leave rounding=greedy"),
        (DMSG, {"step": 5}, "did you mean 'steps'"),
        (SetRegressor, {"target": "v"}, "x0"),
        (SetRegressor, {"steps": 3}, "unknown setting"),
    ],
)
def test_wrong_settings_are_one_line(cls, values, message):
    with pytest.raises(UsageError, match=message) as error:
        resolve(cls, [], "smoke", values)
    assert "\n" not in str(error.value)


def test_set_regressor_matches_slots_to_items():
    import itertools

    output, x0 = torch.randn(2, 6, 4, 3, generator=torch.Generator().manual_seed(0)).unbind(0)
    found = match(output, x0)
    for b in range(6):
        cost = lambda p: float((output[b] - x0[b][list(p)]).pow(2).sum())  # noqa: B023, E731
        assert cost(found[b].tolist()) == pytest.approx(min(map(cost, itertools.permutations(range(4)))), rel=1e-5)


def test_imports_no_lightning_before_a_fit():
    code = "import sys, slatebench.models.latent.set_regressor; print([m for m in sys.modules if 'lightning' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
