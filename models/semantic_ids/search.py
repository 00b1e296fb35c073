"""Search within the trie: a beam inside one item, and the choice of the item that goes into the slate.

Shapes: R rows, B and W beams, m used items, D levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .trie import Beams, Trie, TriePrior, advance

# ask(level, nodes [R, B], source [R, B]): logits [R, B, K] of the beams at `nodes`, each of which continues the beam
# `source` of the last call.
Ask = Callable[[int, Tensor, Tensor], Tensor | None]


@dataclass
class Candidates:
    """Items that a beam found for one slot, best first: places (see Trie) and log-probabilities [R, W].

    `back` [R, W]: the beam of the last call of `ask` that each item continues. `repeats`, `invalid` [R]: was the best
    item one that is used already, the best code (over all K, along the best beam) one that no item has?
    """

    places: Tensor
    scores: Tensor
    back: Tensor
    repeats: Tensor
    invalid: Tensor


def item_beam(trie: Trie, ask: Ask, rows: int, width: int, used: Tensor, prior: TriePrior | None) -> Candidates:
    """The best items for one slot of each row, by a beam through the D levels of codes and the digit.

    Args:
        trie: of the catalogue.
        ask: the network.
        rows: R.
        width: of the beam.
        used: places of items that may not be emitted [R, m], distinct, -1 = none.
        prior: of the rows.
    """
    gone = trie.exhausted(used[:, None])
    beams = Beams.root(rows, used.device)
    source = torch.zeros_like(beams.nodes)
    repeats = invalid = torch.zeros(rows, dtype=torch.bool, device=used.device)
    for level in range(trie.levels):
        found = advance(trie, level, beams, ask(level, beams.nodes, source), width, gone[level + 1], prior)
        beams, source, repeats = found.beams, found.source, repeats | found.repeats
        invalid = invalid if found.invalid is None else invalid | found.invalid
    found = advance(trie, trie.levels, beams, None, width, gone[-1], prior)
    back = source.gather(1, found.source)
    return Candidates(found.beams.nodes, found.beams.scores, back, repeats | found.repeats, invalid)


def pick(scores: Tensor, temperature: float, top_p: float, uniform: Tensor) -> Tensor:
    """Which of the candidates [R, W] (best first) each row takes [R].

    Args:
        scores: log-probabilities.
        temperature: 0 = the best; otherwise drawn from the candidates' probabilities to the power 1 / temperature.
        top_p: drawn from the smallest set of candidates that holds this share of their probability.
        uniform: in [0, 1), one number for each row [R].
    """
    if temperature == 0:
        return torch.zeros(len(scores), dtype=torch.long, device=scores.device)
    share = (scores.double() / temperature).softmax(-1).nan_to_num()
    share = torch.where(share.cumsum(-1) - share < top_p, share, 0)
    total = share.cumsum(-1)
    return (total <= uniform[:, None] * total[:, -1:]).sum(-1).clamp(max=scores.shape[1] - 1)
