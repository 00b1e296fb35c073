"""Our core and sampling loop beside a plain loop over diffusers' DDIMScheduler with torch's own TransformerDecoder.

Both have the same weights and give the same vectors; ours computes the context's keys and values once per call, asks
both sides of guidance in one batch and knows all step sizes beforehand. Rounds are interleaved in one run.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slatebench.models.latent import gaussian
from slatebench.models.latent.denoiser import SlateDenoiser
from slatebench.models.nn.context import Condition
from slatebench.models.nn.transformer import Transformer, key_mask

K, L, HEADS = 10, 9, 4


def pair(width: int, layers: int) -> tuple[Transformer, nn.TransformerDecoder]:
    """The same pre-norm decoder twice: our core, torch's own."""
    torch.manual_seed(0)
    core = Transformer(width, layers, HEADS, factor=2, cross=True).eval()
    layer = nn.TransformerDecoderLayer(width, HEADS, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
    decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(width)).eval()
    for block, theirs in zip(core.blocks, decoder.layers, strict=True):
        state = {}
        for name, attention in (("self_attn", block.self_attention), ("multihead_attn", block.cross_attention)):
            state[f"{name}.in_proj_weight"] = attention.project.weight
            state[f"{name}.in_proj_bias"] = attention.project.bias
            state |= {f"{name}.out_proj.{k}": v for k, v in attention.out.state_dict().items()}
        linear = {"linear1": block.feed_forward[0], "linear2": block.feed_forward[3]}
        norms = {"norm1": block.norm_self, "norm2": block.norm_cross, "norm3": block.norm_feed}
        for name, module in (linear | norms).items():
            state |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
        theirs.load_state_dict(state)
    decoder.norm.load_state_dict(core.norm.state_dict())
    return core, decoder


def inputs(batch: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Start noise, context (last row: no condition) and its mask."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, K, width, generator=generator)
    context = torch.randn(batch + 1, L, width, generator=generator)
    mask = torch.arange(L) < torch.randint(2, L + 1, (batch + 1, 1), generator=generator)
    return x, context, mask


@torch.inference_mode()
def ours(core: Transformer, x: Tensor, context: Tensor, mask: Tensor, steps: int, guidance: float) -> Tensor:
    """As DMSG samples."""
    B, abar, times = len(x), gaussian.schedule("cosine", 1000), gaussian.timesteps(1000, steps)
    rows = torch.cat([torch.arange(B), torch.full((B,), B)])
    keys_values = [(k[rows], v[rows]) for k, v in core.context(context)]
    seen = key_mask(mask[rows])

    def predict(x_t: Tensor, i: int) -> Tensor:
        both, _ = core(torch.cat([x_t, x_t]), context=keys_values, context_mask=seen)
        return gaussian.guided(*both.chunk(2), guidance)

    return gaussian.sample(predict, x, abar, times)


@torch.no_grad()
def plain(
    decoder: nn.TransformerDecoder, x: Tensor, context: Tensor, mask: Tensor, steps: int, guidance: float
) -> Tensor:
    """As one would write it down first."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        1000,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    B = len(x)
    nothing, hidden = context[B:].expand(B, -1, -1), ~mask[B:].expand(B, -1)
    for t in scheduler.timesteps:
        conditional = decoder(x, context[:B], memory_key_padding_mask=~mask[:B])
        unconditional = decoder(x, nothing, memory_key_padding_mask=hidden)
        x = scheduler.step(unconditional + guidance * (conditional - unconditional), t, x).prev_sample
    return x


@pytest.mark.parametrize(("width", "layers"), [(128, 3), (256, 4)])
@pytest.mark.parametrize("batch", [1, 32])
def test_ours_against_the_plain_loop(benchmark, width, layers, batch):
    torch.set_num_threads(1)
    core, decoder = pair(width, layers)
    x, context, mask = inputs(batch, width)
    call = {
        "ours": lambda: ours(core, x, context, mask, 5, 2.0),
        "plain": lambda: plain(decoder, x, context, mask, 5, 2.0),
    }
    assert torch.allclose(call["ours"](), call["plain"](), atol=1e-4)
    spent = interleaved(call, rounds=20 if batch == 1 else 5)
    benchmark.extra_info["plain_over_ours"] = spent["plain"] / spent["ours"]
    print(f"\nwidth {width}, batch {batch}: plain / ours = {benchmark.extra_info['plain_over_ours']:.2f}")
    benchmark.pedantic(call["ours"], rounds=5)


@torch.inference_mode()
def test_compiled_network_against_plain(benchmark):
    """What Sampling(compile=True) buys at batch 1; compiling takes a minute or more."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = SlateDenoiser(128, 384, width=128, layers=3, heads=4, factor=2, dropout=0.1, prompt_layers=1).eval()
    text, mask = torch.randn(2, 8, 384), torch.ones(2, 8, dtype=torch.bool)
    none, keep = torch.zeros(2, 0, 128), torch.tensor([True, False])
    condition = Condition(text, mask, text[:, 0], none, none[..., 0].bool(), keep)
    prepared = network.prepare(condition, torch.tensor([[999.0], [499.0]]))
    call = {"plain": network, "compiled": torch.compile(network, dynamic=True)}
    x = torch.randn(2, K, 128)
    for i in range(2):
        assert torch.allclose(call["compiled"](x, prepared, i), call["plain"](x, prepared, i), atol=1e-4)
    spent = interleaved({name: partial(run, x, prepared, 1) for name, run in call.items()}, rounds=100)
    print(f"\nplain / compiled = {spent['plain'] / spent['compiled']:.2f}")
    benchmark.extra_info["plain_over_compiled"] = spent["plain"] / spent["compiled"]
    benchmark.pedantic(call["compiled"], args=(x, prepared, 1), rounds=20)


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each call, taken in turns."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, run in calls.items():
            start = time.process_time()
            run()
            spent[name].append(time.process_time() - start)
    return {name: float(np.median(times)) for name, times in spent.items()}
