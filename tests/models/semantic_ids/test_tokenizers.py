import itertools

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slatebench.datasets.errors import SlateBenchError
from slatebench.datasets.schema import CATALOG_SCHEMA, Catalog
from slatebench.models.semantic_ids.health import check_collapse, health_report, prefix_groups, purity
from slatebench.models.semantic_ids.positives import find_positives
from slatebench.models.semantic_ids.quantiser import Tokenizer, residual_kmeans
from slatebench.models.semantic_ids.rqvae import both_ways, prefix_contrast, quantisation_loss
from slatebench.models.semantic_ids.tokenizer import TokenizerConfig, fit_tokenizer


def catalog_of(categories):
    rows = [(str(i), "t", "t", c, 0) for i, c in enumerate(categories)]
    return Catalog(pl.DataFrame(rows, schema=CATALOG_SCHEMA, orient="row"))


@pytest.fixture(scope="module")
def items():
    """300 unit vectors in 20 clusters, each cluster a category; slates pair cluster c with cluster c + 1."""
    rng = np.random.default_rng(0)
    cluster = np.arange(300) % 20
    x = rng.standard_normal((20, 32))[cluster] + 0.3 * rng.standard_normal((300, 32))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    slates = [[int(i), int((i + 1) % 300)] for i in rng.integers(300, size=200)]
    return x.astype(np.float32), slates, catalog_of([[["top", f"c{c}"]] for c in cluster]), cluster


@pytest.mark.parametrize(
    "settings",
    [{"tokenizer": "rkmeans"}, {"tokenizer": "rqvae"}]
    + [{"tokenizer": "crqvae", "positives": p} for p in ("cooccurrence", "neighbours", "category")],
    ids=lambda s: "-".join(s.values()),
)
def test_tokenizers_tell_items_apart_and_survive_saving(items, settings):
    x, slates, catalog, _ = items
    config = TokenizerConfig(codes=16, tokenizer_steps=60, **settings)
    tokenizer = fit_tokenizer(x, slates, catalog, config, seed=3)
    codes = tokenizer.encode(x)
    assert codes.shape == (300, 3) and codes.min() >= 0 and codes.max() < 16
    health = health_report(codes, 16, catalog)
    check_collapse(config.tokenizer, health, codes, x)
    assert health["consistency_1"] > 0.2  # chance: .05
    again = fit_tokenizer(x, slates, catalog, config, seed=3)
    assert np.array_equal(again.encode(x), codes)
    assert np.array_equal(Tokenizer.from_arrays(tokenizer.arrays()).encode(x), codes)


def test_residual_kmeans_equals_scikit_learn_in_distortion():
    from sklearn.cluster import KMeans

    x = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    ours = residual_kmeans(x, 1, 20, seed=0)
    distortion = ((x - ours[0][Tokenizer(ours).encode(x)[:, 0]]) ** 2).sum()
    assert distortion <= 1.1 * KMeans(20, n_init=1, random_state=0).fit(x).inertia_


def test_encoding_is_greedy_on_residuals(items):
    rng = np.random.default_rng(1)
    codebooks = rng.standard_normal((2, 5, 32)).astype(np.float32)
    for vector, codes in zip(items[0][:20], Tokenizer(codebooks).encode(items[0][:20]), strict=True):
        residual = vector
        for codebook, code in zip(codebooks, codes, strict=True):
            assert code == np.linalg.norm(residual - codebook, axis=1).argmin()
            residual = residual - codebook[code]


def test_global_loss_and_its_gradients():
    z, q = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[3.0, 4.0]], requires_grad=True)
    loss = quantisation_loss(z, q, commitment=0.1)
    assert loss.item() == pytest.approx(8 * 1.1)  # sums over dimensions: twice the mean form's 4.4
    loss.backward()
    assert torch.allclose(q.grad, torch.tensor([[4.0, 4.0]]))
    assert torch.allclose(z.grad, torch.tensor([[-0.4, -0.4]]))


def test_contrast_reaches_codebook_and_encoder_and_equal_codes_are_no_negatives():
    torch.manual_seed(0)
    words, residuals = torch.randn(4, 6, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    value = both_ways(words, residuals)
    assert torch.equal(value, words)
    positive, codes = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    loss = prefix_contrast(value, positive, codes)
    total = 0.0
    for a in range(4):  # the formula in words, one anchor at a time
        cosine = lambda x, a=a: torch.cosine_similarity(words[a], x, dim=0).item()  # noqa: E731
        own = np.exp(cosine(positive[a]) / 0.1)
        others = sum(np.exp(cosine(words[n]) / 0.1) for n in range(4) if codes[n] != codes[a])
        total -= np.log(own / (own + others)) / 4
    assert loss.item() == pytest.approx(total, rel=1e-4)
    loss.backward()
    assert words.grad.abs().sum() > 0 and torch.equal(words.grad, residuals.grad)
    word = torch.nn.functional.normalize(torch.randn(1, 6), dim=-1).expand(4, 6)
    same = torch.zeros(4, dtype=torch.long)
    assert prefix_contrast(word, word, same).item() == pytest.approx(0, abs=1e-6)  # without the mask: log 4


def test_positives(items):
    x, slates, catalog, cluster = items
    rng = np.random.default_rng(0)
    anchors = np.arange(300)
    by_category = find_positives("category", x, slates, catalog).draw(anchors, rng)
    assert (cluster[by_category] == cluster).all() and (by_category != anchors).all()
    nearest = find_positives("neighbours", x, slates, catalog).draw(anchors, rng)
    ranks = (x @ x.T > (x * x[nearest]).sum(1)[:, None]).sum(1)
    assert ranks.max() <= 11 and (nearest != anchors).all()
    together = {frozenset(slate) for slate in slates}
    drawn = find_positives("cooccurrence", x, slates, catalog).draw(anchors, rng)
    assert all(p == -1 or frozenset((a, p)) in together for a, p in enumerate(drawn.tolist()))
    assert {a for a in anchors.tolist() if drawn[a] >= 0} == set(itertools.chain.from_iterable(slates))
    with pytest.raises(SlateBenchError, match="no item has a positive by category"):
        find_positives("category", x, slates, catalog_of([[] for _ in range(300)]))


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=30), st.integers(0, 3))
def test_health_against_sets(rows, seed):
    codes = np.array(rows)
    labels = np.random.default_rng(seed).integers(0, 3, len(rows))
    health = health_report(codes, 3, catalog_of([[[f"c{label}"]] for label in labels]))
    assert health["collision_rate"] == pytest.approx(1 - len(set(rows)) / len(rows))
    assert health["share_in_collision"] == pytest.approx(sum(rows.count(r) > 1 for r in rows) / len(rows))
    for level in (1, 2):
        groups = {}
        for row, label in zip(rows, labels.tolist(), strict=True):
            groups.setdefault(row[:level], []).append(label)
        assert health[f"groups_{level}"] == len(groups)
        majority = sum(max(map(g.count, g)) for g in groups.values()) / len(rows)
        pairs = [a == b for g in groups.values() for a, b in itertools.combinations(g, 2)]
        assert health[f"concentration_{level}"] == pytest.approx(majority)
        assert health[f"consistency_{level}"] == pytest.approx(np.mean(pairs) if pairs else 1.0)
        assert health[f"dead_codes_{level}"] == 3 - len({r[level - 1] for r in rows})
    assert purity(prefix_groups(codes)[0], labels)[0] == health["concentration_1"]


def test_a_collapsed_codebook_stops(items):
    x, _, catalog, _ = items
    codes = np.zeros((300, 3), dtype=np.int64)
    with pytest.raises(SlateBenchError, match=r"collapsed.*--allow-collapse") as caught:
        check_collapse("rqvae", health_report(codes, 16, catalog), codes, x)
    assert "\n" not in str(caught.value)
    same = np.zeros_like(x)  # equal items can't be told apart: no collapse of the tokenizer
    codes[:, 0] = np.arange(300) % 16
    check_collapse("rqvae", health_report(codes, 16, catalog), codes, same)
