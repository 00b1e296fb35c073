"""Our core and sampling loop beside a plain loop over diffusers' DDIMScheduler with torch's own TransformerDecoder.

Both have the same weights and give the same vectors; ours computes the context's keys and values once per call, asks
both sides of guidance in one batch and knows all step sizes beforehand. Rounds are interleaved in one run.
"""

import time

import numpy as np
import pytest
import torch
from slatebench.models.diffusion import gaussian
from slatebench.models.nn.transformer import Transformer, key_mask
from torch import Tensor, nn

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
            state[f"{name}.in_proj_weight"] = torch.cat([attention.query.weight, attention.key_value.weight])
            state[f"{name}.in_proj_bias"] = torch.cat([attention.query.bias, attention.key_value.bias])
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
    spent: dict[str, list[float]] = {name: [] for name in call}
    for _ in range(20 if batch == 1 else 5):
        for name, run in call.items():
            start = time.process_time()
            run()
            spent[name].append(time.process_time() - start)
    benchmark.extra_info["plain_over_ours"] = float(np.median(spent["plain"]) / np.median(spent["ours"]))
    print(f"\nwidth {width}, batch {batch}: plain / ours = {benchmark.extra_info['plain_over_ours']:.2f}")
    benchmark.pedantic(call["ours"], rounds=5)
