import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.models.latent.consensus import consensus


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def case(seed, B, V, K, N, d=5):
    rng = np.random.default_rng(seed)
    items, votes = unit(rng.normal(size=(N, d))), rng.normal(size=(B, V, K, d)) + rng.normal(size=(B, 1, 1, d))
    return items, votes, rng.integers(1, K + 1, (B, V)), rng.normal(size=(B, N)) * 0.1


def plain(votes, lengths, items, k, bonus, excluded):
    """One slate item by item, vote by vote."""
    whole = [[unit(vector) for vector in vote[:length]] for vote, length in zip(votes, lengths, strict=True)]
    left, slate, gains = [list(vote) for vote in whole], [], []
    for _ in range(k):
        best = (-np.inf, -1)
        for item in set(range(len(items))) - {*slate, *excluded}:
            gain = np.mean([max([0.0, *(float(v @ items[item]) for v in vote)]) for vote in left]) + bonus[item]
            best = max(best, (round(gain, 5), -item))
        if best[0] == -np.inf:
            slate, gains = [*slate, -1], [*gains, -np.inf]
            continue
        slate, gains = [*slate, -best[1]], [*gains, best[0]]
        for vote in left:
            cosines = [float(v @ items[slate[-1]]) for v in vote]
            if vote and max(cosines) > 0:
                del vote[int(np.argmax(cosines))]
        if not any(left):
            left = [list(vote) for vote in whole]
    return slate, gains


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(3, 12))
def test_it_equals_the_plain_way(seed, B, V, K, N):
    items, votes, lengths, bonus = case(seed, B, V, K, N)
    excluded, k = [[0], [], [1, 2]][:B], 4
    got = consensus(
        torch.tensor(votes), torch.tensor(lengths), torch.tensor(items), k, bonus=torch.tensor(bonus), excluded=excluded
    )
    for b in range(B):
        slate, gains = plain(votes[b], lengths[b], items, k, bonus[b], excluded[b])
        assert got.items[b].tolist() == slate and np.allclose(got.scores[b], gains, atol=2e-5)
    assert (got.cosines >= 0).all() and (got.cosines <= 1 + 1e-9).all()


def test_votes_of_one_slate_give_that_slate_back():
    items, _, _, _ = case(0, 1, 1, 1, 400, d=24)
    slates = torch.tensor(items[np.arange(12).reshape(3, 4)])
    votes = slates[:, None].expand(-1, 5, -1, -1)
    got = consensus(votes, torch.full((3, 5), 4), torch.tensor(items), 4)
    assert np.array_equal(np.sort(got.items), np.arange(12).reshape(3, 4))


def test_the_first_item_is_like_most_votes_and_the_next_like_the_others():
    a, b, between = unit(np.array([[1.0, 0, 0], [0, 1.0, 0], [1, 1, 1.5]]))
    items, votes = torch.tensor(np.stack([b, a, between])), torch.tensor(np.stack([[a, a], [a, b], [a, b]]))[None]
    got = consensus(votes, torch.tensor([[1, 2, 2]]), items, 2)
    assert got.items.tolist() == [[1, 0]]
    assert got.scores[0, 0] == 1 and np.isclose(got.scores[0, 1], 2 / 3)


def test_blocks_do_not_show(monkeypatch):
    items, votes, lengths, bonus = (torch.tensor(x) for x in case(3, 9, 4, 3, 300))
    at_once = consensus(votes, lengths, items, 6, bonus=bonus)
    monkeypatch.setattr("slatebench.models.latent.consensus.BLOCK", 1)
    assert np.array_equal(consensus(votes, lengths, items, 6, bonus=bonus).items, at_once.items)
