"""SASRec, BERT4Rec and HSTU: losses against torch's own, attention by hand, no look ahead, no hanging on the batch."""

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

from slatebench.datasets.build import asked_as
from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.features import make_features
from slatebench.models.base import resolve
from slatebench.models.fixture import history_fixture
from slatebench.models.nn.dropout import Dropout
from slatebench.models.registry import model_class
from slatebench.models.retrieval.interactions import NoSequences
from slatebench.models.sequential import loss as losses
from slatebench.models.sequential.base import SequenceTask, padded
from slatebench.models.training.seeds import bucketed_rows

NAMES = ["sasrec", "bert4rec", "hstu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    dataset = asked_as(history_fixture(), "excluded", None)
    return train_data(dataset, make_features(dataset, encoder="hash", cache=tmp_path_factory.mktemp("cache")))


def model_of(name, **overrides):
    cls = model_class(name)
    settings = resolve(cls, [], "smoke", overrides)
    return cls(settings.config, settings.sampling)


def network_of(name, timed=True, **overrides):
    torch.manual_seed(0)
    network = model_of(name, **({"width": 8, "max_length": 6} | overrides))._new_network(20, timed)
    for parameter in network.parameters():  # away from the start, where much is zero
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


# --- losses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [30, 10_000])
def test_full_cross_entropy_and_its_gradients_are_torchs(monkeypatch, at_once):
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", at_once)
    torch.manual_seed(1)
    targets = torch.randint(13, (7,))
    pairs = []
    for make in (lambda h, t: losses.softmax_loss(h, t, targets), lambda h, t: F.cross_entropy(h @ t.T, targets)):
        torch.manual_seed(2)
        hidden = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
        table = torch.randn(13, 4, dtype=torch.float64, requires_grad=True)
        value = make(hidden, table)
        (3 * value).backward()
        pairs.append((value.detach(), hidden.grad, table.grad))
    for ours, torchs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, torchs)


def test_drawn_negatives_that_are_the_right_item_count_for_nothing(monkeypatch):
    hidden, table = torch.randn(3, 4), torch.randn(9, 4)
    targets = torch.tensor([2, 5, 2])
    monkeypatch.setattr(torch, "randint", lambda *a, **k: torch.tensor([2, 7]))
    expected = []
    for row, target in enumerate(targets.tolist()):
        others = [item for item in (2, 7) if item != target]
        logits = torch.stack([hidden[row] @ table[item] for item in (target, *others)])
        expected.append(-torch.log_softmax(logits, 0)[0])
    torch.testing.assert_close(losses.softmax_loss(hidden, table, targets, 2), torch.stack(expected).mean())


def test_binary_loss_by_hand(monkeypatch):
    hidden, table, targets = torch.randn(2, 4), torch.randn(9, 4), torch.tensor([1, 3])
    monkeypatch.setattr(torch, "randint", lambda *a, **k: torch.tensor([4, 3]))  # the second is the right item
    right = [torch.sigmoid(hidden[i] @ table[t]) for i, t in enumerate(targets)]
    wrong = torch.sigmoid(hidden[0] @ table[4])
    expected = -(right[0].log() + (1 - wrong).log() + right[1].log()) / 2
    torch.testing.assert_close(losses.binary_loss(hidden, table, targets), expected)


# --- dropout and batches ---------------------------------------------------------------------------------


def test_dropout_has_its_rate_and_scale_and_repeats_with_the_seed():
    dropout = Dropout(0.3)
    torch.manual_seed(0)
    x = dropout(torch.ones(80_003))
    kept = x != 0
    assert float(kept.float().mean()) == pytest.approx(1 - 77 / 256, abs=0.006)
    assert x[kept].unique().tolist() == [pytest.approx(256 / 179)]
    by_byte = kept[:80_000].view(-1, 8).float().mean(0)  # the eighth byte of a random integer too
    assert by_byte.tolist() == pytest.approx([179 / 256] * 8, abs=0.02)
    torch.manual_seed(0)
    assert torch.equal(dropout(torch.ones(80_003)), x)
    assert torch.equal(dropout.eval()(x), x) and torch.equal(Dropout(0.0)(x), x)


def test_every_row_comes_once_an_epoch_beside_rows_of_its_length():
    lengths = np.random.default_rng(0).integers(1, 40, 1003)
    steps = [bucketed_rows(step, 32, lengths, 5) for step in range(2 * 32)]
    for epoch in (steps[:32], steps[32:]):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(1003))
    spread = np.mean([np.ptp(lengths[rows]) for rows in steps])
    assert spread < 6 and not np.array_equal(steps[0], steps[32])
    assert np.array_equal(bucketed_rows(40, 32, lengths, 5), steps[40])
    means = np.array([lengths[rows].mean() for rows in steps[:32]])
    assert abs(np.corrcoef(means, np.arange(32))[0, 1]) < 0.5  # lengths tell nothing of the step


def test_sequences_are_cut_to_their_newest_items_and_unknown_times_are_one_time():
    network = network_of("sasrec", max_length=3)
    sequences = pl.DataFrame(
        {"user": ["a", "b", "c"], "items": [[1, 2, 3, 4, 5], [6, 7], [8]], "times": [[1, 2, 3, 4, 5], None, [1]]}
    )
    task = SequenceTask(network, sequences)
    assert task.items.tolist() == [[2, 3, 4, 5], [6, 7, 0, 0]] and task.lengths.tolist() == [4, 2]
    assert task.times is not None and task.times.tolist() == [[2, 3, 4, 5], [0, 0, 0, 0]]
    untimed = SequenceTask(network, sequences.with_columns(times=pl.lit(None, pl.List(pl.Int64))))
    assert untimed.times is None


# --- networks --------------------------------------------------------------------------------------------


def test_sasrec_block_by_hand():
    network = network_of("sasrec")
    block = network.blocks[0]
    x = torch.randn(1, 4, 8)
    q = F.layer_norm(x, (8,), block.norm_queries.weight, block.norm_queries.bias, 1e-8)
    weight, bias = block.attention.project.weight, block.attention.project.bias
    Q, K, V = q @ weight[:8].T + bias[:8], x @ weight[8:16].T + bias[8:16], x @ weight[16:].T + bias[16:]
    scores = (Q @ K.transpose(1, 2) / 8**0.5).masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
    found = block.attention.out(scores.softmax(-1) @ V)
    y = F.layer_norm(q + found, (8,), block.norm_feed.weight, block.norm_feed.bias, 1e-8)
    first, _, _, last = block.feed
    torch.testing.assert_close(block(x), y + last(first(y).relu()))


def test_hstu_weights_by_hand():
    network = network_of("hstu", layers=1, max_length=5)
    block = network.blocks[0]
    x, times = torch.randn(1, 3, 8), torch.tensor([[0, 10, 100_000, 100_001]])
    u, v, q, k = F.silu(F.layer_norm(x, (8,)) @ block.project.weight.T)[0].chunk(4, -1)
    rows = []
    for i in range(3):
        total = torch.zeros(8)
        for j in range(i + 1):
            bucket = int(np.log(max(int(times[0, i + 1] - times[0, j]), 1)) / 0.301)
            total += F.silu(q[i] @ k[j] + block.by_position[i - j] + block.by_time[bucket]) / 5 * v[j]
        rows.append(F.layer_norm(total, (8,)) * u[i])
    expected = x + block.out(torch.stack(rows))
    between = (times[:, 1:, None] - times[:, None, :-1]).clamp(min=1)
    torch.testing.assert_close(block(x, (between.float().log() / 0.301).long()), expected)


@pytest.mark.parametrize("name", ["sasrec", "hstu"])
def test_no_place_sees_a_later_item(name):
    network = network_of(name)
    times = torch.arange(6)[None] * 100
    real = torch.ones(1, 6, dtype=torch.bool)
    states = []
    for last in (4, 9):
        items = torch.tensor([[1, 2, 3, 7, last, 5]])
        states.append(network.train_states(items, real, times)[0])
    torch.testing.assert_close(states[0][:4], states[1][:4])
    assert not torch.allclose(states[0][4], states[1][4])


@pytest.mark.parametrize("name", NAMES)
def test_a_state_does_not_hang_on_what_else_is_in_the_batch(name):
    network = network_of(name)
    rows = [[3], [1, 2, 3, 4, 5, 6], [9, 8, 7]]
    items, real = padded(rows)
    times, _ = padded([[*range(10, 10 + len(row)), 99] for row in rows])
    together = network.last_states(items, real, times)
    for row, state in zip(rows, together, strict=True):
        alone = network.last_states(*padded([row]), padded([[*range(10, 10 + len(row)), 99]])[0])
        torch.testing.assert_close(alone[0], state, rtol=1e-4, atol=1e-5)


def test_bert4rec_masks_at_least_one_item_of_each_row_and_never_a_place_without_one():
    network = network_of("bert4rec").train()
    items, real = padded([[1], [2, 3, 4, 5, 6, 7], [8, 9]])
    masked = 0
    for seed in range(40):
        torch.manual_seed(seed)
        states, targets = network.train_states(items, real, None)
        assert len(states) == len(targets) >= 3 and {1} <= set(targets.tolist()) <= set(range(1, 10))
        masked += len(targets)
    assert masked < 40 * 6  # far from all nine


# --- models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_order_is_learnt(name, data):
    """What follows an item on the fixture is nearly always the same item."""
    quick = {"max_steps": 150, "batch_size": 64, "width": 32, "learning_rate": 5e-3, "dropout": 0.1, "patience": 0}
    model = model_of(name, **quick)
    model.fit(data, seed=0)
    slates = model.generate(data.valid_requests, 5).items[:, 0]
    dataset = history_fixture()
    right = data.valid_requests.select("request").join(dataset.valid.references, on="request")["items"].to_list()
    hits = np.mean([row[0] in slate for row, slate in zip(right, slates, strict=True)])
    popular = data.catalog.by_popularity[:20]
    by_popularity = np.mean([row[0] in popular for row in right])
    assert hits > 0.4 > by_popularity


def test_a_rollout_begins_with_the_best_next_item_and_goes_on_from_there(data):
    model = model_of("sasrec", max_steps=40)
    model.fit(data, seed=0)
    asked = data.valid_requests.head(5)
    top, rolled = model.generate(asked, 4).items[:, 0], None
    model.sampling = type(model).Sampling(decode="rollout")
    rolled = model.generate(asked, 4).items[:, 0]
    assert np.array_equal(top[:, 0], rolled[:, 0])
    longer = asked.with_columns(
        history=pl.Series([[*had, int(item)] for had, item in zip(asked["history"], rolled[:, 0], strict=True)])
    )
    model.sampling = type(model).Sampling(decode="top")
    assert np.array_equal(model.generate(longer.drop("history_times", "request_time"), 1).items[:, 0, 0], rolled[:, 1])


def test_prompts_alone_are_told(data):
    from dataclasses import replace

    with pytest.raises(NoSequences, match="sasrec learns from users' histories, contract-histories has none"):
        model_of("sasrec").fit(replace(data, sequences=None))
