import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slatebench.models.semantic_ids.trie import Beams, Trie, TriePrior, advance

TUPLES = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=40)


def dict_trie(codes, order):
    """The same as nested lists: prefix -> children in order, leaf -> items by popularity."""
    rank = {item: r for r, item in enumerate(order.tolist())}
    below: dict[tuple, list[int]] = {}
    for item, row in enumerate(codes.tolist()):
        for d in range(len(row) + 1):
            below.setdefault(tuple(row[:d]), []).append(item)
    return {prefix: sorted(items, key=rank.__getitem__) for prefix, items in below.items()}


def build(rows, seed=0):
    codes = np.array(rows)
    order = np.random.default_rng(seed).permutation(len(codes))
    return codes, Trie.build(codes, order), dict_trie(codes, order)


def prefix_of(trie, level, node):
    codes = []
    for d in range(level, 0, -1):
        codes.append(int(trie.code[d][node]))
        node = int(trie.parent[d][node])
    return tuple(reversed(codes))


@given(TUPLES, st.integers(0, 3))
def test_trie_against_a_dict(rows, seed):
    codes, trie, expected = build(rows, seed)
    for level in range(4):
        prefixes = sorted(p for p in expected if len(p) == level)
        assert [prefix_of(trie, level, n) for n in range(len(trie.code[level]))] == prefixes
        assert trie.size[level].tolist() == [len(expected[p]) for p in prefixes]
        kids, real = trie.children(level, torch.arange(len(prefixes)))
        for prefix, row, mask in zip(prefixes, kids, real, strict=True):
            if level < 3:
                found = [prefix_of(trie, level + 1, n) for n in row[mask].tolist()]
                assert found == sorted(p for p in expected if len(p) == level + 1 and p[:level] == prefix)
            else:
                assert trie.items[row[mask]].tolist() == expected[prefix]
    names = trie.codes_of(torch.arange(len(codes)))
    assert torch.equal(names[:, :3], torch.tensor(codes))
    assert len({tuple(n) for n in names.tolist()}) == len(codes)  # the digit tells all apart
    assert torch.equal(trie.items[trie.find(names)], torch.arange(len(codes)))


@given(TUPLES, st.lists(st.tuples(*[st.integers(-1, 5)] * 3), min_size=1, max_size=10))
def test_codes_that_no_item_has_are_not_found(rows, asked):
    _, trie, expected = build(rows)
    for depth in (1, 2, 3):
        found = trie.find(torch.tensor(asked)[:, :depth])
        for codes, node in zip(asked, found.tolist(), strict=True):
            assert (node >= 0) == (codes[:depth] in expected)
            assert node < 0 or prefix_of(trie, depth, node) == codes[:depth]


@given(TUPLES, st.data())
def test_exhausted_nodes(rows, data):
    codes, trie, expected = build(rows)
    used = data.draw(st.sets(st.integers(0, len(codes) - 1), max_size=len(codes)))
    places = trie.place[torch.tensor(sorted(used), dtype=torch.long)]
    padded = torch.cat([places, torch.full((2,), -1)])
    for level, nodes in enumerate(trie.exhausted(padded)[:4]):
        found = {prefix_of(trie, level, n) for n in nodes.tolist() if n >= 0}
        assert found == {p for p, items in expected.items() if len(p) == level and set(items) <= used}


def full_search(trie, width, used=(), logits=None, prior=None):
    beams = Beams.root(1, torch.device("cpu"))
    gone = trie.exhausted(trie.place[torch.tensor(list(used), dtype=torch.long)][None, None])
    repaired = []
    for level in range(trie.levels + 1):
        found = advance(trie, level, beams, logits and logits(level, beams), width, gone[level + 1], prior)
        beams = found.beams
        repaired.append(bool(found.repeats))
    real = beams.scores[0].isfinite()  # fewer items than beams: the others lead nowhere
    return trie.items[beams.nodes[0][real]].tolist(), beams.scores[0][real], repaired


@given(TUPLES, st.integers(0, 3), st.data())
def test_a_wide_beam_over_the_prior_is_the_softmax_of_the_scores(rows, seed, data):
    codes, trie, _ = build(rows)
    N = len(codes)
    scores = torch.randn(2, N, generator=torch.Generator().manual_seed(seed)) * 5
    prior = TriePrior.build(trie, scores).take(torch.tensor([1]))
    used = data.draw(st.sets(st.integers(0, N - 1), max_size=N - 1))
    items, found, repaired = full_search(trie, 64, used, prior=prior)
    ranked = [i for i in scores[1].argsort(descending=True).tolist() if i not in used]
    assert items == ranked
    torch.testing.assert_close(found, scores[1].log_softmax(0)[ranked], atol=3e-3, rtol=1e-3)  # DIGIT_STEP apart
    assert any(repaired) == (int(scores[1].argmax()) in used)


@given(TUPLES, st.integers(0, 3))
def test_without_a_prior_children_share_by_the_logits_and_the_popular_item_wins(rows, seed):
    _, trie, expected = build(rows)
    table = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))
    items, scores, _ = full_search(
        trie, 64, logits=lambda level, beams: table[level].expand(1, beams.nodes.shape[1], 4) if level < 3 else None
    )
    assert sorted(items) == list(range(len(rows)))
    assert scores.exp().sum().item() == pytest.approx(1, abs=1e-3)
    best = trie.codes_of(torch.tensor(items[0]))[:3]
    assert items[0] == expected[tuple(best.tolist())][0]


def test_prior_survives_far_apart_scores():
    _, trie, _ = build([(0, 0, 0), (0, 1, 0), (1, 0, 0)])
    prior = TriePrior.build(trie, torch.tensor([[0.0, 500.0, -500.0]]))
    assert all(mass.isfinite().all() for mass in prior.mass)
    assert full_search(trie, 8, prior=prior)[0][0] == 1
