"""The trie over a catalogue's codes as flat arrays, so that constrained decoding has no Python loop over nodes.

Items are sorted by their code tuples. Then the nodes of a level are runs of items, the children of a node are a run of
nodes of the next level, and one offset per node says it all. Level 0 is the root, levels 1..D are code prefixes, level
D + 1 are the items: the children of a full code tuple, told apart by a digit (0 = most train slates), so that D + 1
numbers name exactly one item. The digit is decided by the trie (retrieval prior, else popularity), not by a network.

Shapes: R rows (a prompt's sample), B beams, C children, m used items, N items, D levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

DIGIT_STEP = 1e-4  # log-probability by which equal items of one code tuple are told apart, most popular first


@dataclass
class Trie:
    """Lists run over levels; a "place" is an item's position in the sorted order (its node of level D + 1)."""

    first: list[Tensor]  # levels 0..D: first child of each node, and one more: [n_d + 1]
    code: list[Tensor]  # levels 0..D+1: last code of each node [n_d]
    parent: list[Tensor]  # levels 0..D+1 [n_d]
    size: list[Tensor]  # levels 0..D+1: items below each node [n_d]
    above: list[Tensor]  # levels 0..D+1: each place's node [N]
    items: Tensor  # item of each place [N]
    place: Tensor  # place of each item [N]

    def __post_init__(self) -> None:
        self.count = [f.diff() for f in self.first]  # levels 0..D: children of each node [n_d]
        self.widest = max(int(c.max()) for c in self.count)  # children of one node
        self.smallest = [int(s.min()) for s in self.size]  # levels 0..D+1: items below the least of the nodes
        levels = range(1, len(self.code))
        self.names = torch.stack([self.code[d][self.above[d]] for d in levels], dim=-1)  # of places [N, D + 1]

    @classmethod
    def build(cls, codes: np.ndarray, order: np.ndarray) -> Trie:
        """Trie of items with `codes` [N, D]; items of equal codes are sorted as in `order` [N] (most popular first)."""
        N, D = codes.shape
        rank = np.empty(N, dtype=np.int64)
        rank[order] = np.arange(N)
        items = np.lexsort((rank, *codes.T[::-1]))  # the last key sorts first
        ordered = codes[items]
        above = [np.zeros(N, dtype=np.int64)]
        starts = [np.zeros(1, dtype=np.int64)]
        change = np.zeros(N, dtype=bool)
        change[0] = True
        for level in range(D):
            change[1:] |= ordered[1:, level] != ordered[:-1, level]
            above.append(np.cumsum(change) - 1)
            starts.append(np.flatnonzero(change))
        above.append(np.arange(N))
        starts.append(np.arange(N))
        digits = np.arange(N) - starts[D][above[D]]
        code = [np.zeros(1, np.int64), *(ordered[starts[d], d - 1] for d in range(1, D + 1)), digits]
        parent = [np.zeros(1, np.int64), *(above[d - 1][starts[d]] for d in range(1, D + 2))]
        first = [np.append(above[d + 1][starts[d]], len(starts[d + 1])) for d in range(D + 1)]
        size = [np.diff(np.append(s, N)) for s in starts]
        place = np.empty(N, dtype=np.int64)
        place[items] = np.arange(N)
        f, c, p, s, a = ([torch.from_numpy(x) for x in arrays] for arrays in (first, code, parent, size, above))
        return cls(f, c, p, s, a, torch.from_numpy(items), torch.from_numpy(place))

    @property
    def levels(self) -> int:
        """D, without the level of the items."""
        return len(self.first) - 1

    def __len__(self) -> int:
        return len(self.items)

    def to(self, device: torch.device) -> Trie:
        """The same on a device."""
        lists = (self.first, self.code, self.parent, self.size, self.above)
        f, c, p, s, a = ([x.to(device) for x in tensors] for tensors in lists)
        return Trie(f, c, p, s, a, self.items.to(device), self.place.to(device))

    def codes_of(self, items: Tensor) -> Tensor:
        """Codes and digit [..., D + 1] of items [...]."""
        return self.names[self.place[items]]

    def find(self, codes: Tensor) -> Tensor:
        """Node at level `codes.shape[-1]` of code prefixes [..., d]; -1 where no item has it.

        With D + 1 codes (the last is the digit) the node is a place: `items[place]` is the item.
        """
        node = torch.zeros(codes.shape[:-1], dtype=torch.long)
        for d in range(1, codes.shape[-1] + 1):
            wide = int(self.code[d].max()) + 1
            keys = self.parent[d] * wide + self.code[d]  # ascending
            code = codes[..., d - 1]
            wanted = node * wide + code
            at = torch.searchsorted(keys, wanted.contiguous()).clamp(max=len(keys) - 1)
            there = (keys[at] == wanted) & (node >= 0) & (code >= 0) & (code < wide)
            node = torch.where(there, at, -1)
        return node

    def exhausted(self, used: Tensor) -> list[Tensor]:
        """For levels 0..D+1 the nodes whose items are all used [..., m]; -1 = none; [..., 0] where none can be.

        Args:
            used: places of used items, distinct, -1 = none [..., m].
        """
        m, out = used.shape[-1], []
        real, place = used >= 0, used.clamp(min=0)
        for d in range(self.levels + 1):
            if self.smallest[d] > m:
                out.append(used[..., :0])
                continue
            node = torch.where(real, self.above[d][place], -1)
            count = (node[..., :, None] == node[..., None, :]).sum(-1)
            out.append(torch.where(real & (count == self.size[d][node]), node, -1))
        return [*out, used]

    def children(self, level: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Children of `nodes` [...] of a level: nodes of the next level [..., C], and which of them are real.

        The last column is never real: room for what is no child.
        """
        start, count = self.first[level][nodes], self.count[level][nodes]
        column = torch.arange(int(count.max()) + 1 if count.numel() else 1, device=nodes.device)
        real = column < count[..., None]
        return torch.where(real, start[..., None] + column, 0), real

    def child_logits(
        self, level: int, nodes: Tensor, logits: Tensor | None, prior: TriePrior | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits of the children of `nodes`, with the prior.

        Args:
            level: of `nodes`.
            nodes: [R, B].
            logits: over the codes of the next level [R, B, K]; None = all alike.
            prior: added to the logits.

        Returns:
            Logits [R, B, C] (-inf where there is no child) and the children.
        """
        if level == 0:  # all nodes are the root: its children are no run to look up
            codes = self.code[1]
            kids = torch.arange(len(codes), device=nodes.device).expand(*nodes.shape, -1)
            if logits is None:
                total = kids.new_zeros(kids.shape, dtype=torch.float32)
            else:
                total = logits if logits.shape[-1] == len(codes) else logits[..., codes]
            return total if prior is None else total + prior.logits(0, kids), kids
        kids, real = self.children(level, nodes)
        if level == self.levels:
            total = -DIGIT_STEP * self.code[level + 1][kids]
        elif logits is None:
            total = torch.zeros(kids.shape, device=nodes.device)
        else:
            total = logits.gather(-1, self.code[level + 1][kids])
        if prior is not None:
            total = total + prior.logits(level, kids)
        return torch.where(real, total, -torch.inf), kids

    def log_probs(
        self, level: int, nodes: Tensor, logits: Tensor | None, prior: TriePrior | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the children of `nodes`, a softmax over the codes that exist there; see child_logits."""
        total, kids = self.child_logits(level, nodes, logits, prior)
        return total.log_softmax(-1), kids


@dataclass
class TriePrior:
    """The trie-factorised retrieval prior: any scores of items as logits of codes, level by level.

    The mass below a node is the log-sum-exp of its items' scores, and the logit of a child is its mass (among a node's
    children). Without a network the product along a path is the softmax of the scores over the whole catalogue.

    Attributes:
        mass: levels 0..D+1, [P, n_d].
        rows: prompt of each row [R].
        scales: of levels 1..D+1 (learnt; 1 at the start, and at the items' level).
    """

    mass: list[Tensor]
    rows: Tensor
    scales: Tensor

    @classmethod
    def build(cls, trie: Trie, scores: Tensor, scales: Tensor | None = None) -> TriePrior:
        """From scores of all items [P, N], in the catalogue's order and on the scale of logits."""
        P, D = len(scores), trie.levels
        top = scores.amax(dim=1, keepdim=True)
        below = (scores[:, trie.items] - top).clamp(min=-80).exp().T.contiguous()  # [N, P], by place
        mass = [below]
        for d in range(D, -1, -1):
            sums = torch.zeros(len(trie.code[d]), P, device=scores.device)
            below = sums.index_add_(0, trie.parent[d + 1], below)
            mass.append(below)
        mass = [m.log().T + top for m in reversed(mass)]
        return cls(mass, torch.arange(P, device=scores.device), torch.ones(D + 1) if scales is None else scales)

    def take(self, rows: Tensor) -> TriePrior:
        """The same for rows that ask with these prompts."""
        return TriePrior(self.mass, self.rows[rows], self.scales)

    def logits(self, level: int, kids: Tensor) -> Tensor:
        """What the prior adds to the logits of children [R, B, C] of nodes of a level (at the root of all children)."""
        below = self.mass[level + 1]
        share = below[self.rows][:, None] if level == 0 else below[self.rows[:, None, None], kids]
        return share * self.scales[level]


# --- beams within the trie -------------------------------------------------------------------------------


@dataclass
class Beams:
    """Beams of R rows at one level, best first; -inf = a beam that leads nowhere."""

    nodes: Tensor  # [R, B]
    scores: Tensor  # summed log-probabilities [R, B]

    @classmethod
    def root(cls, rows: int, device: torch.device) -> Beams:
        """One beam at the root."""
        return cls(torch.zeros(rows, 1, dtype=torch.long, device=device), torch.zeros(rows, 1, device=device))


@dataclass
class Advanced:
    """One level further: the beams, where they come from, and what the trie had to repair.

    Attributes:
        beams: of the next level [R, W].
        source: the beam that each continues [R, W].
        repeats: rows whose best child is exhausted [R].
        invalid: rows whose largest logit along the best beam is a code that no item has [R]; None without logits.
    """

    beams: Beams
    source: Tensor
    repeats: Tensor
    invalid: Tensor | None


def advance(
    trie: Trie,
    level: int,
    beams: Beams,
    logits: Tensor | None,
    width: int,
    used: Tensor,
    prior: TriePrior | None,
    weight: float = 1.0,
) -> Advanced:
    """The `width` best children of all beams, none of them exhausted; fewer where there are fewer children.

    Args:
        trie: the trie.
        level: of the beams.
        beams: [R, B].
        logits: over the next codes [R, B, K], or None.
        width: beams wanted.
        used: exhausted nodes of the next level [R, B or 1, m], -1 = none: see `Trie.exhausted`.
        prior: of the rows.
        weight: of the new log-probabilities.
    """
    logits_of_kids, kids = trie.child_logits(level, beams.nodes, logits, prior)
    R, B, C = kids.shape
    log_probs = logits_of_kids.log_softmax(-1)
    total = beams.scores[..., None] + (log_probs if weight == 1 else weight * log_probs)
    m = used.shape[-1]
    best = total.flatten(1).amax(1) if m else None
    if m and level == 0:  # here there is no column for what is no child
        dump = torch.cat([total, total.new_empty(R, B, 1)], dim=2)
        total = dump.scatter_(2, torch.where(used >= 0, used, C).expand(R, B, m), -torch.inf)[..., :C]
    elif m:
        column = used - trie.first[level][beams.nodes][..., None]  # [R, B, m]
        total.scatter_(2, torch.where(column >= 0, column, C).clamp(max=C - 1), -torch.inf)
    scores, at = total.reshape(R, B * C).topk(min(width, B * C), dim=1)
    source = at // C
    nodes = at - source * C if level == 0 else kids.view(R, B * C).gather(1, at)
    repeats = scores.new_zeros(R, dtype=torch.bool) if best is None else best > scores[:, 0]
    invalid = None
    if logits is not None and prior is None:
        invalid = logits[:, 0].amax(-1) > logits_of_kids[:, 0].amax(-1)
    return Advanced(Beams(nodes, scores), source, repeats, invalid)
