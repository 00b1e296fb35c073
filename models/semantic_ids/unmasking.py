"""Slates from scores of items and codes, in any order of slots and codes: what masked diffusion decodes with.

Shapes: R rows, k slots, D levels, K codes, N items by place (see Trie), C candidates of a slot. A slate holds places,
EMPTY where a slot has none yet; known codes are OPEN where they are not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...datasets.schema import EMPTY
from .feasible import OPEN, feasible
from .search import pick_item


def best_items(scores: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities over the catalogue and places [X, k, width] of the best of `scores` [X, k, N]."""
    best, places = scores.topk(width, dim=-1)
    return (best - scores.logsumexp(-1, keepdim=True)).nan_to_num(nan=-torch.inf, neginf=-torch.inf), places


def pick_slots(scores: Tensor, places: Tensor, slate: Tensor, s: Any, uniform: Tensor
                ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Each EMPTY slot of `slate` [R, k], from left to right, takes a candidate [R, k, C] that no slot has.

    Returns:
        The slate, the candidates' log-probabilities [R, k], how many slots wanted first what was taken [R].
    """
    slate, sure, repeats = slate.clone(), torch.zeros(slate.shape, device=slate.device), torch.zeros(len(slate))
    waits = slate == EMPTY
    for m in range(slate.shape[1]):
        taken = (places[:, m, :, None] == slate[:, None]).any(-1)
        free = scores[:, m].masked_fill(taken, -torch.inf)
        _, place, score = pick_item(places[:, m], free, s, uniform[:, m])
        slate[:, m] = torch.where(waits[:, m], place[:, 0], slate[:, m])
        sure[:, m] = score[:, 0]
        repeats += (taken[:, 0] & waits[:, m]).cpu()
    return slate, sure, repeats


def surest(slate: Tensor, sure: Tensor, kept: Tensor, count: int) -> Tensor:
    """`count` filled slots: those `kept` already, then those of largest log-probability. All [R, k]."""
    rank = sure.masked_fill(slate == EMPTY, -torch.inf).masked_fill(kept, torch.inf)
    best = rank.topk(count, dim=1).indices
    return torch.zeros_like(slate, dtype=torch.bool).scatter_(1, best, True) & (slate != EMPTY)


def share_out(log_probs: Tensor, kids: Tensor, room: Tensor, s: Any, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each slot's child of its node, slots from left to right: a child comes up as often as it is probable.

    Where n slots have a child, it counts as p / (n + 1) for the next: the rule of highest averages (d'Hondt), by which
    parties get their seats. The most probable child alone would come up in every slot. With a temperature, which draws
    in proportion by itself, the rule counts the less, and at 1 not at all.

    Args:
        log_probs: of the children of each slot's node [R, k, C]; -inf = none.
        kids: those children, nodes of one level [R, k, C].
        room: how many slots can still go through each node of that level [R, n].
        s: Sampling, with temperature and top_p.
        uniform: random numbers [R, k].

    Returns:
        The children [R, k] (EMPTY where none has room), their log-probabilities, and the slots whose most probable
        child had no room [R, k].
    """
    nodes, sure = torch.full(log_probs.shape[:2], EMPTY, device=kids.device), torch.empty_like(log_probs[..., 0])
    taken, crowded = torch.zeros_like(room), torch.zeros_like(nodes, dtype=torch.bool)
    for m in range(nodes.shape[1]):
        own, log_p = kids[:, m], log_probs[:, m]
        n = taken.gather(1, own)
        free = log_p.masked_fill(n >= room.gather(1, own), -torch.inf)
        score = free - max(0.0, 1 - s.temperature) * n.float().log1p()
        if s.temperature > 0:
            score, best_first = score.sort(dim=1, descending=True, stable=True)
            own, free = own.gather(1, best_first), free.gather(1, best_first)
        at, node, _ = pick_item(own, score, s, uniform[:, m])
        nodes[:, m], sure[:, m] = node[:, 0], free.gather(1, at)[:, 0]
        crowded[:, m] = log_p.amax(1) > free.amax(1)
        taken.scatter_add_(1, node.clamp(min=0), (node >= 0).to(taken.dtype))
    return nodes, sure, crowded


def settle(codes: Tensor, known: Tensor, slate: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Slots that can be one item only become it; slots that can be none lose their codes. Changes all but `codes`.

    Args:
        codes: of the items [N, D].
        known: [R, k, D].
        slate: places [R, k].
        weights: of the items [N, R]; 0 = not free, which the settled ones become.

    Returns:
        The items that agree with the known codes of each slot [N, R x k], and the slots that could be none [R, k].
    """
    R, k = slate.shape
    fits = feasible(codes, known.flatten(0, 1))
    mass = fits * weights.repeat_interleave(k, dim=1)  # [N, R k]
    waits, count = slate == EMPTY, (mass > 0).sum(0).view(R, k)
    dead = waits & (count == 0)
    known[dead] = OPEN
    fits[:, dead.flatten()] = True
    ready = waits & ~dead & ((count == 1) | (known != OPEN).all(-1))
    best = mass.argmax(0).view(R, k)
    wanted = torch.where(ready, best, -1 - torch.arange(k, device=best.device))  # distinct where not ready
    ready &= ~(wanted[:, :, None] == wanted[:, None]).tril(-1).any(-1)  # of two that want the same, the first
    row, slot = ready.nonzero(as_tuple=True)
    slate[row, slot] = best[row, slot]
    known[row, slot] = codes[best[row, slot]]
    weights[best[row, slot], row] = 0
    return fits, dead


def fix_surest(sure: Tensor, known: Tensor, share: Tensor) -> Tensor:
    """Known codes [R, k, D] and, the surest first, `share` [R] more: one per slot at most, no two slots alike.

    Args:
        sure: of each code [R, k, D, K]; -inf = can't be.
        known: [R, k, D].
        share: how many codes each row fixes.
    """
    (_, k, _, K), row = sure.shape, torch.arange(len(sure), device=sure.device)
    best, token = sure.flatten(2).topk(min(k, sure[0, 0].numel()), dim=-1)  # [R, k, C]
    level, code = token // K, token % K
    digit = (K + 1) ** torch.arange(known.shape[2], device=known.device)
    name = ((known + 1) * digit).sum(-1)[..., None] + (code + 1) * digit[level]  # of the codes that a slot would have
    best, level, code, name = (x.flatten(1) for x in (best, level, code, name))
    slot = torch.arange(k, device=known.device).repeat_interleave(best.shape[1] // k)
    known = known.clone()
    for turn in range(min(k, int(share.max()))):
        at = best.argmax(1)
        go = best[row, at].isfinite() & (turn < share)
        into = (row, slot[at], level[row, at])
        known[into] = torch.where(go, code[row, at], known[into])
        gone = (slot == slot[at][:, None]) | (name == name[row, at][:, None])
        best = best.masked_fill(gone, -torch.inf)
    return known
