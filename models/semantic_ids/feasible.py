"""Which items a slot can still become when some of its codes are known, in any order: the trie only knows prefixes.

Shapes: N items by place (see Trie), D levels, K codes, S slots. OPEN marks a code that is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass
class Carriers:
    """The items with each code of each level, in lists: a slot with a known code is then one of few, not of N.

    Attributes:
        codes: of the items, and a row for what is no item [N + 1, D].
        items: with each code [D, K, L], N = none: lists are as long as the longest.
        count: of each list [D, K].
    """

    codes: Tensor
    items: Tensor
    count: Tensor

    @classmethod
    def of(cls, codes: Tensor, n_codes: int) -> Carriers:
        """Of items with `codes` [N, D], each below `n_codes`."""
        (N, D), device = codes.shape, codes.device
        count = torch.stack([codes[:, d].bincount(minlength=n_codes) for d in range(D)])
        items = torch.full((D, n_codes, int(count.max())), N, device=device)
        for d in range(D):
            order = codes[:, d].argsort(stable=True)
            code = codes[order, d]
            items[d, code, torch.arange(N, device=device) - (count[d].cumsum(0) - count[d])[code]] = order
        return cls(torch.cat([codes, codes.new_zeros(1, D)]), items, count)

    def mass(self, known: Tensor, weights: Tensor, column: Tensor) -> Tensor:
        """`code_mass` [S, D, K] of slots with one known code at least.

        Args:
            known: of the slots [S, D].
            weights: of the items [N, W].
            column: which of the W are a slot's [S].
        """
        (S, D), K, level = known.shape, self.count.shape[1], torch.arange(known.shape[1], device=known.device)
        count, few = self.count[level, known.clamp(min=0)].masked_fill(known == OPEN, len(self.codes)).min(1)
        longest = int(count.max()) if S else 0
        items = self.items[few, known.gather(1, few[:, None])[:, 0], :longest]  # [S, L]
        codes = self.codes[items]  # [S, L, D]
        fits = ((codes == known[:, None]) | (known == OPEN)[:, None]).all(-1) & (items < len(weights))
        own = fits * weights[items.clamp(max=len(weights) - 1), column[:, None]]
        mass = weights.new_zeros(S, D * K).scatter_add_(1, (codes + level * K).flatten(1), own.repeat_interleave(D, 1))
        return mass.view(S, D, K)
