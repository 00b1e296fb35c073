"""The consensus of sampled slates: the ranked slate that gains most if the samples were the reference.

Minimum-Bayes-risk decoding (Kumar and Byrne, HLT-NAACL 2004) of a model that can be sampled, for slates that are
judged by similarity: where one sample must commit itself, a list that is judged item by item should hold first what
is like something in most of the samples, then what is like the rest of them. Similarities are cosines of the model's
own item vectors.

Shapes: B slates to make, V sampled slates (votes) for each, K slots, N items, C candidates, d dims.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...datasets.schema import EMPTY
from .rounding import BLOCK, DIGITS, Rounded

CANDIDATES = 256  # items nearest to the mean of all votes, prior included


@torch.inference_mode()
def consensus(
    votes: Tensor,
    lengths: Tensor,
    items: Tensor,
    k: int,
    *,
    bonus: Tensor | None = None,
    excluded: Sequence[Sequence[int]] = (),
) -> Rounded:
    """Slates [B, k], the item of largest expected gain first.

    Greedy: the next item is the one of the largest gain, i.e. its cosine to the nearest vector of a vote that no item
    before it has used up, at least 0, averaged over the votes, + bonus(item). When all vectors are used they are free
    again.

    Args:
        votes: sampled vectors [B, V, K, d].
        lengths: how many of a vote's K vectors count, 1 to K [B, V].
        items: vectors of the catalogue, rows of unit length [N, d].
        k: items wanted.
        bonus: added to the gains [B, N], e.g. a retrieval prior.
        excluded: items that must not be chosen, per slate; or empty.
    """
    B, V, K, _ = votes.shape
    votes = torch.nn.functional.normalize(votes, dim=-1)
    C = min(len(items), max(CANDIDATES, k))
    step = max(1, BLOCK // max(C * V * K, len(items)))
    parts = []
    for start in range(0, B, step):
        rows = slice(start, min(B, start + step))
        gone = excluded[rows] if excluded else ()
        part = _consensus(votes[rows], lengths[rows], items, k, C, bonus[rows] if bonus is not None else None, gone)
        parts.append(part)
    chosen, gains, cosines = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Rounded(chosen, gains, cosines, np.zeros(B))


def _consensus(
    votes: Tensor,
    lengths: Tensor,
    items: Tensor,
    k: int,
    C: int,
    bonus: Tensor | None,
    excluded: Sequence[Sequence[int]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, gains and mean cosine to the votes' nearest vectors, each [B, k]."""
    (B, V, K, _), device = votes.shape, votes.device
    counts = torch.arange(K, device=device) < lengths[..., None]  # [B, V, K]
    mean = (votes * (counts / lengths[..., None])[..., None]).sum(dim=(1, 2)) / V
    near = mean @ items.T  # [B, N]
    if bonus is not None:
        near += bonus
    for row, gone in enumerate(excluded):
        if len(gone):
            near[row, torch.as_tensor(gone, device=device)] = -torch.inf
    candidates = near.topk(C, dim=1)
    ids, by_id = candidates.indices.sort(dim=1)  # ties go to the lowest id
    out = candidates.values.gather(1, by_id).isneginf()  # [B, C]: excluded, then also those taken
    extra = 0.0 if bonus is None else bonus.gather(1, ids)
    cosine = torch.einsum("bcd,bvkd->bcvk", items[ids], votes).masked_fill(~counts[:, None], 0.0).clamp(min=0)
    nearest = cosine.amax(dim=3).mean(dim=2)  # [B, C]
    rows, free = torch.arange(B, device=device), counts.clone()
    chosen, gains, cosines = [], [], []
    for _ in range(k):  # each turn needs what the turns before used
        best = (cosine * free[:, None]).max(dim=3)  # [B, C, V]
        gain = torch.round((best.values.mean(dim=2) + extra) * DIGITS) / DIGITS
        top = gain.masked_fill(out, -torch.inf).max(dim=1)
        chosen.append(torch.where(top.values.isneginf(), EMPTY, ids[rows, top.indices]))
        gains.append(top.values)
        cosines.append(torch.where(top.values.isneginf(), 0.0, nearest[rows, top.indices]))
        out[rows, top.indices] = True
        used = torch.nn.functional.one_hot(best.indices[rows, top.indices], K).bool()  # [B, V, K]
        free &= ~(used & (best.values[rows, top.indices] > 0)[..., None])
        free = torch.where(free.any(dim=(1, 2), keepdim=True), free, counts)
    return tuple(torch.stack(x, dim=1).cpu().numpy() for x in (chosen, gains, cosines))  # type: ignore[return-value]
