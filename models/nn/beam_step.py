"""One cached step of a decoder for many beams: what autoregressive decoding spends its time on.

Beams are kept beside their row, [R, B, w], not among the batch. So all beams of all rows of a prompt attend to its
context in one product, and beams of one row share the tokens before them (`prefix`) without a copy of their keys; only
the tokens that differ between beams (`own`) are re-ordered when beams are.

Shapes: R rows, B beams, P prompts (R = P x rows of a prompt, in this order), H heads, w width, t tokens.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .transformer import Block, KeysValues, Transformer

Cache = list[KeysValues]  # of each block; `own`: [R, B, H, t, w / H], `prefix` and context: [R or P, H, t, w / H]


def step(
    stack: Transformer, x: Tensor, own: Cache | None, context: Cache, context_mask: Tensor, prefix: Cache | None = None
) -> tuple[Tensor, Cache]:
    """A new token of each beam through all blocks.

    Args:
        stack: decoder with cross-attention.
        x: the tokens [R, B, w].
        own: keys and values of the tokens before that are the beam's own.
        context: keys and values of the P prompts' contexts: `stack.context`.
        context_mask: [P, 1, 1, M].
        prefix: keys and values of the tokens that a row's beams share, before their own.

    Returns:
        Outputs [R, B, w], and `own` with the new token.
    """
    grown: Cache = []
    for i, block in enumerate(cast("list[Block]", list(stack.blocks))):
        attention, normed = block.self_attention, block.norm_self(x)
        projected = attention.project(normed).unflatten(-1, (3, attention.heads, -1))  # [R, B, 3, H, w / H]
        query, keys, values = projected[:, :, 0], projected[:, :, 1, :, None], projected[:, :, 2, :, None]
        if own is not None:
            keys, values = torch.cat([own[i][0], keys], dim=3), torch.cat([own[i][1], values], dim=3)
        if own is None and prefix is None:  # a token that sees itself alone
            seen = values.squeeze(3)
        elif prefix is None:
            seen = F.scaled_dot_product_attention(
                query[..., None, :].flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1)
            ).view(query.shape)
        else:
            seen = _attend(query, keys, values, *prefix[i])
        x = x + attention.out(seen.flatten(2))
        asked = block.norm_cross(x).view(len(context_mask), -1, x.shape[-1])  # [P, rows of a prompt x B, w]
        cross = block.cross_attention
        x = x + cross(cross.queries(asked), context[i], context_mask).view_as(x)
        x = x + block.feed_forward(block.norm_feed(x))
        grown.append((keys, values))
    return stack.norm(x), grown


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
    """The prefix of the next tokens, once a row has settled on one of its beams [R]."""
    chosen = [(k[:, 0], v[:, 0]) for k, v in reorder(own, beam[:, None])]  # [R, H, t, w / H]
    if prefix is None:
        return chosen
    return [(torch.cat([a, c], 2), torch.cat([b, d], 2)) for (a, b), (c, d) in zip(prefix, chosen, strict=True)]
