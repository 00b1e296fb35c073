"""Which items a slot can still become when some of its codes are known, in any order: the trie only knows prefixes.

Shapes: N items by place (see Trie), D levels, K codes, S slots. OPEN marks a code that is not known.
"""

from __future__ import annotations

import torch
from torch import Tensor

OPEN = -1


def feasible(codes: Tensor, known: Tensor) -> Tensor:
    """Items that agree with all known codes of a slot: bool [N, S].

    Args:
        codes: of the items [N, D].
        known: of the slots [S, D].

    >>> feasible(torch.tensor([[5, 1], [5, 2], [7, 1]]), torch.tensor([[OPEN, 1], [5, 2]])).T.tolist()
    [[True, False, True], [False, True, False]]
    """
    fits = torch.ones(len(codes), len(known), dtype=torch.bool, device=codes.device)
    for d in range(codes.shape[1]):
        fits &= (codes[:, d, None] == known[:, d]) | (known[:, d] == OPEN)
    return fits


def code_mass(codes: Tensor, weights: Tensor, n_codes: int) -> Tensor:
    """Summed weights of the items that have each code of each level: [S, D, K].

    Args:
        codes: of the items [N, D].
        weights: of the items in each slot [N, S], 0 = can't be its item.
        n_codes: K.
    """
    mass = weights.new_zeros(codes.shape[1], n_codes, weights.shape[1])
    for d in range(codes.shape[1]):
        mass[d].index_add_(0, codes[:, d], weights)
    return mass.permute(2, 0, 1)
