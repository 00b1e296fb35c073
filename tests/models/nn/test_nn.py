import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from slatebench.models.latent.denoiser import TimeEmbedding, sinusoids
from slatebench.models.nn.transformer import Attention, Transformer, key_mask
from slatebench.models.training.ema import EMA

W, H = 16, 4


def core(cross=False, layers=2, seed=0):
    torch.manual_seed(seed)
    return Transformer(W, layers, H, factor=2, dropout=0.1, cross=cross).double().eval()


def tokens(B, L, seed=1):
    return torch.randn(B, L, W, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_attention_equals_torch_multi_head_attention():
    torch.manual_seed(0)
    ours, theirs = Attention(W, H).double(), nn.MultiheadAttention(W, H, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.project.weight)
        theirs.in_proj_bias.copy_(ours.project.bias)
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, context = tokens(3, 5), tokens(3, 7, 2)
    mask = torch.arange(7) < torch.tensor([[7], [3], [1]])
    expected = theirs(x, context, context, key_padding_mask=~mask)[0]
    assert torch.allclose(ours(ours.queries(x), ours.keys_values(context), key_mask(mask)), expected)
    queries, keys_values = ours.queries_keys_values(x)
    assert torch.allclose(ours(queries, keys_values), theirs(x, x, x)[0])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.booleans())
def test_cached_equals_uncached(pieces, cross):
    net, x, memory = core(cross), tokens(2, sum(pieces)), tokens(2, 3, 5)
    context = net.context(memory) if cross else None
    whole, _ = net(x, causal=True, context=context)
    past, parts = None, []
    for piece in x.split(pieces, dim=1):
        y, past = net(piece, causal=True, context=context, past=past)
        parts.append(y)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)


def test_cached_equals_uncached_with_padding():
    net, x = core(), tokens(2, 6)
    mask = torch.tensor([[False, False, True, True, True, True], [True] * 6])  # padded on the left
    mask[0, 0] = True  # every query must see something
    whole, _ = net(x, causal=True, mask=key_mask(mask))
    _, past = net(x[:, :3], causal=True, mask=key_mask(mask[:, :3]))
    rest, _ = net(x[:, 3:], causal=True, mask=key_mask(mask), past=past)
    assert torch.allclose(rest, whole[:, 3:], atol=1e-5)


def test_causal_means_that_later_tokens_change_nothing():
    net, x = core(), tokens(2, 6)
    other = x.clone()
    other[:, 4:] = tokens(2, 2, 9)
    a, b = net(x, causal=True)[0], net(other, causal=True)[0]
    assert torch.allclose(a[:, :4], b[:, :4]) and not torch.allclose(a[:, 4:], b[:, 4:])
    assert not torch.allclose(net(x)[0][:, :4], net(other)[0][:, :4])


def test_permutation_equivariant_without_positions():
    net, x, memory = core(cross=True), tokens(2, 6), tokens(2, 3, 4)
    context, order = net.context(memory), torch.tensor([3, 1, 0, 5, 4, 2])
    assert torch.allclose(net(x[:, order], context=context)[0], net(x, context=context)[0][:, order])


def test_masked_context_changes_nothing_and_equals_a_shorter_one():
    net, x, memory = core(cross=True), tokens(2, 4), tokens(2, 5, 4)
    mask = key_mask(torch.tensor([[True, True, True, False, False]] * 2))
    y, _ = net(x, context=net.context(memory), context_mask=mask)
    other = memory.clone()
    other[:, 3:] = 9.0
    assert torch.allclose(y, net(x, context=net.context(other), context_mask=mask)[0])
    assert torch.allclose(y, net(x, context=net.context(memory[:, :3]))[0])


def test_batch_rows_do_not_touch_each_other():
    net, x = core(), tokens(3, 4)
    assert torch.allclose(net(x)[0][1:2], net(x[1:2])[0])


def test_wrong_number_of_heads_is_refused():
    with pytest.raises(ValueError, match="not a multiple"):
        Attention(10, 4)


def test_time_embedding_tells_times_apart():
    torch.manual_seed(0)
    t = torch.arange(0, 1000, 7)
    e = sinusoids(t, 32)
    assert torch.cdist(e, e).fill_diagonal_(9).min() > 0.05
    assert TimeEmbedding(32)(t.reshape(1, -1)).shape == (1, len(t), 32)


def test_ema_is_the_weighted_mean_of_the_weights_seen():
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(0.0)
        ema = EMA(net, 0.5)
        expected = 0.0
        for n, value in enumerate([1.0, 2.0, 5.0, 3.0], start=1):
            net.weight.fill_(value)
            ema.update()
            decay = min(0.5, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * value
    with ema.applied():
        assert net.weight.item() == pytest.approx(expected, rel=1e-6)
    assert net.weight.item() == 3.0
    other = EMA(net, 0.5)
    other.restore(ema.state())
    assert other.updates == 4 and torch.equal(other.average[0], ema.average[0])
