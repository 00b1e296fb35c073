"""One cached step of a decoder for many beams: what autoregressive decoding spends its time on.

Beams are kept beside their row, [R, B, w], not among the batch. So all beams of all rows of a prompt attend to its
context in one product, and beams of one row share the tokens before them (`prefix`) without a copy of their keys; only
the tokens that differ between beams (`own`) are re-ordered when beams are.

Shapes: R rows, B beams, P prompts (R = P x rows of a prompt, in this order), H heads, w width, t tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .transformer import Block, KeysValues, Transformer

Cache = list[KeysValues]  # of each block; `own`: [R, B, H, t, w / H], `prefix` and context: [R or P, H, t, w / H]
Weights = tuple[Tensor, Tensor]  # weight and bias


class Layer(NamedTuple):
    """One block at hand: for one token, looking up modules and calling them costs as much as the products."""

    norm_self: Weights
    project: Weights
    out: Weights
    norm_cross: Weights
    queries: Weights
    cross_out: Weights
    norm_feed: Weights
    inner: Weights
    outer: Weights
    context: KeysValues  # [P, H, M, w / H]


@dataclass
class Stepper:
    """A decoder at hand for many steps over the same prompts."""

    stack: Transformer
    layers: list[Layer]
    mask: Tensor | None  # of the context [P, 1, 1, M]; None = all of it
    norm: Weights
    heads: int
    prompts: int  # P

    @classmethod
    def of(cls, stack: Transformer, context: Tensor, mask: Tensor) -> Stepper:
        """Of a decoder with cross-attention to `context` [P, M, w]; `mask` [P, 1, 1, M]."""
        blocks = cast("list[Block]", list(stack.blocks))
        layers = [_layer(block, keys_values) for block, keys_values in zip(blocks, stack.context(context), strict=True)]
        whole = None if bool(mask.all()) else mask
        return cls(stack, layers, whole, _weights(stack.norm), blocks[0].self_attention.heads, len(context))


def _weights(module: nn.Linear | nn.LayerNorm) -> Weights:
    return module.weight, module.bias


def _layer(block: Block, context: KeysValues) -> Layer:
    cross, (inner, outer) = block.cross_attention, (m for m in block.feed_forward if isinstance(m, nn.Linear))
    width, (weight, bias) = cross.width, _weights(cross.project)
    return Layer(
        _weights(block.norm_self), _weights(block.self_attention.project), _weights(block.self_attention.out),
        _weights(block.norm_cross), (weight[:width], bias[:width]), _weights(cross.out),
        _weights(block.norm_feed), _weights(inner), _weights(outer), context,
    )  # fmt: skip


def step(stepper: Stepper, x: Tensor, own: Cache | None, prefix: Cache | None = None) -> tuple[Tensor, Cache]:
    """A new token of each beam through all blocks.

    Args:
        stepper: the decoder.
        x: the tokens [R, B, w].
        own: keys and values of the tokens before that are the beam's own.
        prefix: keys and values of the tokens that a row's beams share, before their own.

    Returns:
        Outputs [R, B, w], and `own` with the new token.
    """
    grown: Cache = []
    (R, B, w), P, H = x.shape, stepper.prompts, stepper.heads
    size = (w,)
    for i, layer in enumerate(stepper.layers):
        projected = F.linear(torch.layer_norm(x, size, *layer.norm_self), *layer.project).view(R, B, 3, H, 1, -1)
        query, keys, values = projected.unbind(2)  # [R, B, H, 1, w / H]
        if own is not None:
            keys, values = torch.cat([own[i][0], keys], dim=3), torch.cat([own[i][1], values], dim=3)
        if prefix is not None:
            seen = _attend(query[..., 0, :], keys, values, *prefix[i])
        elif own is None:  # a token that sees itself alone
            seen = values
        else:
            seen = F.scaled_dot_product_attention(query.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1))
        x = x + F.linear(seen.reshape(R, B, w), *layer.out)
        asked = F.linear(torch.layer_norm(x, size, *layer.norm_cross), *layer.queries)
        asked = asked.view(P, -1, H, w // H).transpose(1, 2)  # [P, H, rows of a prompt x B, w / H]
        found = F.scaled_dot_product_attention(asked, *layer.context, attn_mask=stepper.mask)
        x = x + F.linear(found.transpose(1, 2).reshape(R, B, w), *layer.cross_out)
        inner = F.gelu(F.linear(torch.layer_norm(x, size, *layer.norm_feed), *layer.inner))
        x = x + F.linear(inner, *layer.outer)
        grown.append((keys, values))
    return torch.layer_norm(x, size, *stepper.norm), grown


def _attend(query: Tensor, keys: Tensor, values: Tensor, before: Tensor, before_values: Tensor) -> Tensor:
    """Attention of each beam to the row's prefix [R, H, T, w / H] and to its own tokens [R, B, H, t, w / H]."""
    query = query.transpose(1, 2) * query.shape[-1] ** -0.5  # [R, H, B, w / H]
    keys, values = keys.transpose(1, 2), values.transpose(1, 2)  # [R, H, B, t, w / H]
    own = (keys @ query[..., None])[..., 0]  # [R, H, B, t]
    share = torch.cat([query @ before.transpose(-1, -2), own], dim=-1).softmax(-1)
    T = before.shape[2]
    seen = share[..., :T] @ before_values + (share[..., None, T:] @ values)[..., 0, :]
    return seen.transpose(1, 2)


def reorder(own: Cache, source: Tensor) -> Cache:
    """The caches of beams that continue the beams `source` [R, W]."""
    R, B = own[0][0].shape[:2]
    if B == 1 and source.shape[1] == 1:
        return own
    flat = (torch.arange(R, device=source.device)[:, None] * B + source).flatten()
    return [(_taken(k, flat, source), _taken(v, flat, source)) for k, v in own]


def _taken(x: Tensor, flat: Tensor, source: Tensor) -> Tensor:
    return x.flatten(0, 1).index_select(0, flat).view(*source.shape, *x.shape[2:])


def joined(prefix: Cache | None, own: Cache, beam: Tensor) -> Cache:
    """The prefix of the next tokens, once a row has settled on one of its beams [R, 1]."""
    chosen = [(k[:, 0], v[:, 0]) for k, v in reorder(own, beam)]  # [R, H, t, w / H]
    if prefix is None:
        return chosen
    return [(torch.cat([a, c], 2), torch.cat([b, d], 2)) for (a, b), (c, d) in zip(prefix, chosen, strict=True)]
