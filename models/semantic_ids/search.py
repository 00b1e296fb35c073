"""Search within the trie: a beam inside one item, and the choice of the item that goes into the slate.

Shapes: R rows, B and W beams, m used items, D levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .trie import Beams, Trie, TriePrior, advance

# ask(level, nodes [R, B], source [R, B]): logits [R, B, K] of the beams at `nodes`, each of which continues the beam
# `source` of the last call.
Ask = Callable[[int, Tensor, Tensor], Tensor | None]


@dataclass
class Candidates:
    """Items that a beam found for one slot, best first: places (see Trie) and log-probabilities [R, W].

    `back` [R, W]: the beam before the last level that each item continues, `parent` [R, W]: the one before that.
    `whole`: were all beams of the last level asked for? `repeats`, `invalid` [R]: was the best item one that is used
    already, the best code (over all K, along the best beam) one that no item has?
    """

    places: Tensor
    scores: Tensor
    back: Tensor
    parent: Tensor
    whole: bool
    repeats: Tensor
    invalid: Tensor


def item_beam(
    trie: Trie, ask: Ask, rows: int, width: int, used: Tensor, prior: TriePrior | None, spare: int = 1, keep: int = 0
) -> Candidates:
    """The best items for one slot of each row, by a beam through the D levels of codes and the digit.

    Args:
        trie: of the catalogue.
        ask: the network.
        rows: R.
        width: of the beam.
        used: places of items that may not be emitted [R, m], distinct, -1 = none.
        prior: of the rows.
        spare: at the last level, of more than so many beams only the best and those with a choice left are asked for
            (most items are alone below their first codes: their last code is certain, its log-probability 0).
        keep: candidates wanted, also where the beam is narrower: from the code before the last on, the beam is at
            least so wide (which costs little: see `spare`).
    """
    gone = trie.exhausted(used[:, None])
    beams = Beams.root(rows, used.device)
    source = torch.zeros_like(beams.nodes)
    repeats = invalid = torch.zeros(rows, dtype=torch.bool, device=used.device)
    before, whole = source, True
    for level in range(trie.levels):
        before, open_ = source, None
        if level == trie.levels - 1 and source.shape[1] > spare:
            open_ = _open_beams(trie, level, beams.nodes)
        if open_ is None:
            logits = ask(level, beams.nodes, source)
        else:
            whole, logits = False, ask(level, beams.nodes.gather(1, open_), source.gather(1, open_))
            if logits is not None:
                wide = logits.new_zeros(*source.shape, logits.shape[-1])
                logits = wide.scatter_(1, open_[..., None].expand(-1, -1, logits.shape[-1]), logits)
        if level >= trie.levels - 2:
            width = max(width, keep)
        found = advance(trie, level, beams, logits, width, gone[level + 1], prior)
        beams, source, repeats = found.beams, found.source, repeats | found.repeats
        invalid = invalid if found.invalid is None else invalid | found.invalid
    found = advance(trie, trie.levels, beams, None, width, gone[-1], prior)
    back = source.gather(1, found.source)
    parent = before.gather(1, back)
    repeats = repeats | found.repeats
    return Candidates(found.beams.nodes, found.beams.scores, back, parent, whole, repeats, invalid)


def _open_beams(trie: Trie, level: int, nodes: Tensor) -> Tensor | None:
    """The first beam and those whose node has several children [R, n], others where a row has fewer; None = all."""
    open_ = trie.count[level][nodes] > 1  # [R, B]
    open_[:, 0] = True
    n = int(open_.sum(1).amax()) if len(nodes) else 0
    return None if n == nodes.shape[1] else open_.int().argsort(dim=1, descending=True, stable=True)[:, :n]


def pick_item(places: Tensor, scores: Tensor, s: Any, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The candidate that each row takes for its slot.

    Args:
        places: of the candidates [R, W].
        scores: their log-probabilities [R, W], best first; -inf = not to be had, wherever it stands.
        s: Sampling, with temperature and top_p.
        uniform: see `pick`.

    Returns:
        Which one it is, its place (-1 where none is to be had) and its log-probability, all [R, 1].
    """
    choice = pick(scores, s.temperature, s.top_p, uniform)[:, None]
    score = scores.gather(1, choice)
    return choice, torch.where(score.isfinite(), places.gather(1, choice), -1), score


def pick(scores: Tensor, temperature: float, top_p: float, uniform: Tensor) -> Tensor:
    """Which of the candidates [R, W] each row takes [R].

    Args:
        scores: log-probabilities, best first but for those that are -inf: not to be had.
        temperature: 0 = the best; otherwise drawn from the candidates' probabilities to the power 1 / temperature.
        top_p: drawn from the smallest set of candidates that holds this share of their probability.
        uniform: in [0, 1), one number for each row [R].
    """
    if temperature == 0:
        return scores.argmax(1)
    share = (scores.double() / temperature).softmax(-1).nan_to_num()
    share = torch.where(share.cumsum(-1) - share < top_p, share, 0)
    total = share.cumsum(-1)
    return (total <= uniform[:, None] * total[:, -1:]).sum(-1).clamp(max=scores.shape[1] - 1)
