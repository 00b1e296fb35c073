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
        logits = ask(level, beams.nodes, source)
        if prior is None and logits is not None:
            invalid = invalid | best_code_is_missing(trie, level, beams.nodes[:, 0], logits[:, 0])
        beams, source, repeat = advance(trie, level, beams, logits, width, gone[level + 1], prior)
        repeats = repeats | repeat
    beams, last, repeat = advance(trie, trie.levels, beams, None, width, gone[-1], prior)
    return Candidates(beams.nodes, beams.scores, source.gather(1, last), repeats | repeat, invalid)


def best_code_is_missing(trie: Trie, level: int, nodes: Tensor, logits: Tensor) -> Tensor:
    """Rows [R] whose largest logit [R, K] is a code that no child of `nodes` [R] has."""
    kids, real = trie.children(level, nodes)
    return ~((trie.code[level + 1][kids] == logits.argmax(-1)[:, None]) & real).any(-1)


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
