"""MaskGR: masked diffusion over the semantic ids of a slate (Shah et al., arXiv 2511.23021, there for one item).

Forward: every code of the slate becomes MASK with probability t. The network, bidirectional and not told of t, says all
masked codes at once; cross entropy on those, weighted 1 / t. A slate is decoded from k x D masks in few passes:

- `catalog`: one pass scores every item in every slot, sum over its codes of log p(code | prompt), and slots pick from
  left to right; refinements keep the surest slots, mask the others again and ask once more;
- `levels`: D passes, from coarse to fine: pass d fixes code d of all slots, each code as often as it is probable;
- `confidence`: each pass fixes the surest codes, one per slot at most, among those that still lead to a free item.

Shapes: B slates, P prompts, R rows, M = k slots, D levels, K codes, N items (by place: see Trie), w width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ...datasets.schema import EMPTY
from ...datasets.train_data import TrainData
from ..base import ModelCard
from ..nn.context import Condition
from ..nn.transformer import KeysValues, Transformer
from ..nn.units import CodeUnits
from ..semantic_ids.catalogue import IdCatalogue
from ..semantic_ids.feasible import OPEN, Carriers, code_mass
from ..semantic_ids.trie import DIGIT_STEP, TriePrior
from ..semantic_ids.unmasking import best_items, fix_surest, pick_slots, settle, share_out, surest
from . import catalogue_pairs
from .base import LONG, Decoded, DecoderConfig, SlateDecoder, SlateSampling
from .loss import DecodingTask, SlateNetwork

SPAN = 80.0  # logits by which an item may lie below the best before its prior mass counts as nothing
ELSEWHERE = 1e4  # a slot's item is taken off its known codes only where no item with them is left

# --- the network ----------------------------------------------------------------------------------------------


class MaskedSlateNetwork(SlateNetwork):
    """One bidirectional transformer over all M x D codes of a slate, known or masked; they attend to the prompt."""

    units: CodeUnits

    def __init__(self, units: CodeUnits, text_dim: int, item_dim: int, c: Any) -> None:
        super().__init__(units, text_dim, item_dim, c)
        self.scales.requires_grad_(False)  # the prior is exact: log-mass of the items that are still possible
        self.mask = nn.Parameter(torch.randn(c.width) * 0.3)
        self.slots = nn.Embedding(c.slots, c.width)
        self.levels = nn.Embedding(units.levels, c.width)
        for table in (self.slots, self.levels):
            nn.init.normal_(table.weight, std=0.1)
        self.decoder = Transformer(c.width, c.layers, c.heads, c.feedforward, c.dropout, cross=True)

    def hidden(self, codes: Tensor, offset: Tensor, condition: Condition) -> Tensor:
        """See SlateNetwork; OPEN codes are masked."""
        context, mask = self.prompt(condition)
        slot = offset[:, None] + torch.arange(codes.shape[1], device=codes.device)
        return self.read(codes, slot, self.decoder.context(context), mask)

    def read(self, codes: Tensor, slot: Tensor, context: list[KeysValues], context_mask: Tensor) -> Tensor:
        """One pass over codes [B, M, D] in slots [B or 1, M] -> [B, M, D, w]."""
        known = (codes != OPEN)[..., None]
        embedded = [self.units.embed(codes[..., d].clamp(min=0), d) for d in range(self.units.levels)]
        x = torch.where(known, torch.stack(embedded, dim=2), self.mask)
        place = self.slots(slot.clamp(max=self.slots.num_embeddings - 1))[:, :, None] + self.levels.weight
        hidden, _ = self.decoder((x + place).flatten(1, 2), context=context, context_mask=context_mask)
        return hidden.unflatten(1, codes.shape[1:])

    def logits(self, hidden: Tensor) -> Tensor:
        """[B, M, D, w] -> [B, M, D, K]."""
        return torch.stack([self.units.logits(hidden[:, :, d], d) for d in range(self.units.levels)], dim=2)


# --- the loss -------------------------------------------------------------------------------------------------


def draw_masks(codes: Tensor, c: Any) -> tuple[Tensor, Tensor]:
    """Time t [B] of slates, and which of their codes [B, M, D] are masked.

    A share of the slates (the first of every so many) is masked whole, which is where decoding starts. Of the others a
    share is masked slot by slot, the rest code by code, with probability t.
    """
    (B, M, D), device = codes.shape, codes.device
    row = torch.arange(B, device=device)
    whole = ((row + 1) * c.whole_masks).ceil() > (row * c.whole_masks).ceil()
    t = torch.where(whole, 1.0, c.least_masked + (1 - c.least_masked) * torch.rand(B, device=device))
    by_slot = (torch.rand(B, device=device) < c.slot_masks)[:, None, None]
    of_slots, of_codes = torch.rand(B, M, 1, device=device), torch.rand(B, M, D, device=device)
    return t, torch.where(by_slot, of_slots, of_codes) < t[:, None, None]


def weighted_loss(nll: Tensor, learnt: Tensor, t: Tensor) -> Tensor:
    """Mean of `nll` [B, M, D] over the codes to be `learnt` [B, M, D], each weighted 1 / t of its slate [B].

    >>> float(weighted_loss(torch.tensor([[[1.0]], [[4.0]]]), torch.ones(2, 1, 1).bool(), torch.tensor([1.0, 0.5])))
    3.0
    """
    weight = learnt / t[:, None, None]
    return (weight * nll).sum() / weight.sum().clamp(min=1e-6)


class UnmaskingTask(DecodingTask):
    """Cross entropy of the masked codes of train slates."""

    def __init__(self, network: MaskedSlateNetwork, config: Any, data: TrainData, ids: IdCatalogue) -> None:
        super().__init__(network, config, data, ids)
        self.carriers = Carriers.of(ids.place_codes, network.units.codes)

    def forward(self, rows: Tensor) -> Tensor:
        """Self-normalised mean, weighted 1 / t, of -log p(code | known codes, prompt)."""
        items, real, offset, condition = self.examples(rows)
        network = cast(MaskedSlateNetwork, self.network)
        codes = self.ids.trie.codes_of(items)[..., :-1]
        t, masked = draw_masks(codes, self.config)
        known = codes.masked_fill(masked | ~real[..., None], OPEN)
        logits = network.logits(network.hidden(known, offset, condition))
        log_probs = (logits + self._possible(known, condition.pooled)).log_softmax(-1)
        nll = -log_probs.gather(-1, codes[..., None])[..., 0]
        return weighted_loss(nll, masked & real[..., None], t)

    @torch.no_grad()
    def _possible(self, known: Tensor, pooled: Tensor) -> Tensor:
        """What is added to the logits [B, M, D, K]: see `possible`. Where all codes are known it says nothing."""
        ids, c, n_codes = self.ids, self.config, cast(MaskedSlateNetwork, self.network).units.codes
        weights = torch.ones(len(ids.trie), 1, device=known.device)
        if c.prior:
            weights = mass_of((c.gamma * pooled @ ids.texts.T)[:, ids.trie.items])  # [N, B]
        start = possible(code_mass(ids.place_codes, weights, n_codes), c.prior)  # nothing known: [B or 1, D, K]
        out = start[:, None].expand(*known.shape[:2], -1, -1).clone()
        some = (known != OPEN).any(-1) & (known == OPEN).any(-1)
        column = some.nonzero()[:, 0] if c.prior else some.nonzero()[:, 0] * 0
        out[some] = possible(self.carriers.mass(known[some], weights, column), c.prior)
        return out


def mass_of(scores: Tensor) -> Tensor:
    """Scores of items [P, N] on the scale of logits as their weights [N, P], 1 for the best; -inf becomes 0."""
    below = scores - scores.amax(dim=1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
    return torch.where(scores.isneginf(), 0.0, below.clamp(min=-SPAN).exp()).T.contiguous()


def possible(mass: Tensor, prior: bool) -> Tensor:
    """Mass of the items below each code as an addend of its logit: -inf where there are none; 0 without prior."""
    return mass.log() if prior else torch.where(mass > 0, 0.0, -torch.inf)


# --- the model ------------------------------------------------------------------------------------------------

Ask = Callable[[Tensor, Tensor], Tensor]  # known codes [X, k, D] of slates for prompts [X] -> logits [X, k, D, K]


class MaskGR(SlateDecoder):
    """Masked diffusion over semantic ids."""

    name = "maskgr"
    version = "3"
    card = ModelCard(
        title="MaskGR: masked diffusion over a slate's semantic ids",
        paper="Masked Diffusion for Generative Recommendation, arXiv 2511.23021",
        conditions=frozenset({"prompt"}),
        summary="A bidirectional transformer with cross-attention to the prompt predicts all masked codes of the "
        "slate at once; one pass scores the whole catalogue in every slot, or codes are fixed level by level, each as "
        "often as it is probable, or in order of confidence.",
        departures=(
            "the condition is a prompt instead of a user's history, and only the slate is masked",
            "whole slates instead of one next item (the paper's text has k = 2): slot and level embeddings",
            "sizes, optimiser and training as for higr and s2s:sids, so that parameters are equal",
            "a quarter of the slates is masked whole, slot-wise masks are mixed in, t is at least .05",
            "the softmax is over the codes that lead to an item, in training as in decoding; the paper projects what "
            "is no item after decoding",
            "the default decoder scores the catalogue in one pass, preset levels decodes from coarse to fine: no beams",
            "train slates are shuffled, and filled up with near items of their own items; the "
            "emitted slate is ordered by the cosine of prompt and item text, as dmsg's (order=slot: as decoded)",
            "preset prior: the retrieval prior, log-mass of the items a slot can still become, is added to the logits",
        ),
    )

    class Config(DecoderConfig):
        """See DecoderConfig."""

        layers: int = Field(4, gt=0, description="decoder layers")
        whole_masks: float = Field(0.25, ge=0, le=1, description="share of train slates that are masked whole")
        slot_masks: float = Field(0.3, ge=0, le=1, description="share of the others that are masked slot by slot")
        least_masked: float = Field(0.05, gt=0, le=1, description="smallest t")

    class Sampling(SlateSampling):
        """See SlateSampling."""

        decoder: Literal["catalog", "levels", "confidence"] = Field(
            "catalog", description="score all items in every slot at once; fix a level of codes, or the surest, by pass"
        )
        refinements: int = Field(0, ge=0, description="of catalog: passes after the first, which keep the surest slots")
        passes: int = Field(0, ge=0, description="of confidence; 0 = one for each code of the slate")
        residual: float = Field(
            0.5, ge=0, description="of catalog, and of confidence's last choice: weight of the network beside a prior"
        )
        candidates: int = Field(50, gt=0, description="of catalog: best items of a slot that a temperature draws from")

    SPACE: ClassVar = {
        "refinements": [0, 1, 2, 4],
        "learning_rate": (3e-4, 3e-3, "log"), "dropout": (0.0, 0.3, 0.05),
    }  # fmt: skip
    PRESETS: ClassVar = {
        "prior": {"prior": True, "max_steps": 150},
        "pairs": catalogue_pairs.PRESET,
        "long": LONG,
        "levels": {"decoder": "levels"},
        "confidence": {"decoder": "confidence", "passes": 8},
        "sampled": {"temperature": 1.0},
        "large": {"width": 256, "layers": 6, "learning_rate": 7e-4},
    }
    BUDGETS: ClassVar = {
        "smoke": {"max_steps": 20, "width": 32, "layers": 1, "batch_size": 16, "codes": 64, "tokenizer_steps": 60},
        "paper": {"max_steps": 10_000, "width": 512, "layers": 8, "heads": 8, "batch_size": 256, "precision": "bf16",
                  "learning_rate": 3e-4, "warmup_steps": 500, "codes": 1024},
    }  # fmt: skip
    network: MaskedSlateNetwork

    def _new_network(self) -> MaskedSlateNetwork:
        c = self.config
        units = CodeUnits(c.levels, self._code_count(), c.width)
        return MaskedSlateNetwork(units, self.features.item_texts().shape[1], self.features.items().shape[1], c)

    def _new_task(self, data: TrainData) -> DecodingTask:
        return UnmaskingTask(self.network, self.config, data, self.ids)

    def _passes(self, k: int, s: Any) -> int:
        if s.decoder == "catalog":
            return 1 + s.refinements
        if s.decoder == "levels":
            return self.ids.trie.levels
        codes = k * self.ids.trie.levels
        return min(s.passes or codes, codes)

    def _draws(self, k: int, s: Any) -> tuple[int, ...]:
        """A number for each pass and slot; of levels also for the items, of confidence for each code to be fixed."""
        each = (self.ids.trie.levels, self._code_count()) if s.decoder == "confidence" else ()
        return (self._passes(k, s) + (s.decoder == "levels"), k, *each)

    def _row_size(self, k: int, s: Any) -> int:
        N, codes = len(self.ids.trie), self.ids.trie.levels * self._code_count()
        return 3 * (N + k * codes) if s.decoder == "levels" else 3 * k * (N + codes)

    def _decode(self, context: Tensor, mask: Tensor, rows: Tensor, k: int, used: Tensor, prior: TriePrior | None,
                s: Any, uniform: Tensor) -> Decoded:  # fmt: skip
        network, P, trie = self.network, len(context), self.ids.trie
        keys_values, slot = network.decoder.context(context), torch.arange(k, device=rows.device)[None]

        def ask(known: Tensor, prompts: Tensor) -> Tensor:
            own, own_mask = keys_values, mask
            if len(prompts) != P:  # as many: one row for each prompt, in order
                own, own_mask = [(keys[prompts], values[prompts]) for keys, values in keys_values], mask[prompts]
            return network.logits(network.read(known, slot, own, own_mask))

        if s.decoder == "levels":
            return self._by_levels(ask, P, rows, k, used, prior, s, uniform)
        base = (-DIGIT_STEP * trie.code[-1]).expand(P, -1)  # [P, N]
        base = base if prior is None else base + prior.mass[-1]
        seeds = used[:: max(1, len(rows) // P)]  # samples of a prompt have the same
        blocked = torch.zeros(P, len(trie) + 1, dtype=torch.bool, device=rows.device)
        blocked.scatter_(1, torch.where(seeds >= 0, seeds, len(trie)), True)
        base = base.masked_fill(blocked[:, :-1], -torch.inf)
        decode = self._by_catalogue if s.decoder == "catalog" else self._by_confidence
        return decode(ask, base, rows, k, s, uniform)

    # --- one pass over the catalogue ---------------------------------------------------------------------------

    def _item_scores(self, logits: Tensor, base: Tensor, s: Any) -> Tensor:
        """Scores of all items in every slot [X, k, N]: sum of their codes' logits [X, k, D, K], and `base` [X, N].

        Where `base` holds the prior, a logit is what its code's probability adds to it; as the codes of an item say
        much the same, their sum would count it several times.
        """
        codes, total = self.ids.place_codes, base[:, None]
        logits = s.residual * logits if self.config.prior else logits
        for d in range(codes.shape[1]):
            total = total + logits[:, :, d].flatten(0, 1).index_select(1, codes[:, d]).unflatten(0, logits.shape[:2])
        return total

    def _by_catalogue(self, ask: Ask, base: Tensor, rows: Tensor, k: int, s: Any,
                      uniform: Tensor) -> Decoded:  # fmt: skip
        P, codes = len(base), self.ids.place_codes
        width = min(len(codes), max(k, s.candidates if s.temperature > 0 else k))
        nothing = torch.full((P, k, codes.shape[1]), OPEN, device=rows.device)
        logits = ask(nothing, torch.arange(P, device=rows.device))
        scores, places = (x[rows] for x in best_items(self._item_scores(logits, base, s), width))
        slate = torch.full((len(rows), k), EMPTY, device=rows.device)
        slate, sure, repeats = pick_slots(scores, places, slate, s, uniform[:, 0])
        health = {"raw_duplicate_rate": repeats / k, "invalid_id_rate": torch.zeros(len(rows))}
        if not self.config.prior:
            health["invalid_id_rate"] = (self.ids.trie.find(logits.argmax(-1)) < 0).float().mean(1)[rows].cpu()
        kept = torch.zeros_like(slate, dtype=torch.bool)
        for turn in range(1, 1 + s.refinements):
            kept = surest(slate, sure, kept, round(k * turn / (1 + s.refinements)))
            known = torch.where(kept[..., None], codes[slate.clamp(min=0)], OPEN)
            scores, places = best_items(self._item_scores(ask(known, rows), base[rows], s), width)
            slate, now, _ = pick_slots(scores, places, torch.where(kept, slate, EMPTY), s, uniform[:, turn])
            sure = torch.where(kept, sure, now)
        return Decoded(slate, sure, health)

    # --- level by level, from coarse to fine -------------------------------------------------------------------

    def _by_levels(self, ask: Ask, P: int, rows: Tensor, k: int, used: Tensor, prior: TriePrior | None, s: Any,
                   uniform: Tensor) -> Decoded:  # fmt: skip
        trie, R, D = self.ids.trie, len(rows), self.ids.trie.levels
        known = torch.full((R, k, D), OPEN, device=rows.device)
        nodes, total = torch.zeros(R, k, dtype=torch.long, device=rows.device), torch.zeros(R, k, device=rows.device)
        repeats, invalid = (torch.zeros(R, k, dtype=torch.bool, device=rows.device) for _ in range(2))
        real = torch.ones_like(repeats)
        for level in range(D + 1):
            logits = None
            if level == 0:  # nothing is known: the same for all samples of a prompt
                logits = ask(known[:P], torch.arange(P, device=rows.device))[rows][:, :, 0]
            elif level < D:
                logits = ask(known, rows)[:, :, level]
            of_kids, kids = trie.child_logits(level, nodes, logits, prior)
            if logits is not None and prior is None:
                invalid |= real & (logits.amax(-1) > of_kids.amax(-1))
            room = trie.size[level + 1].repeat(R, 1)
            seeds = trie.above[level + 1][used.clamp(min=0)]
            room.scatter_add_(1, seeds, -(used >= 0).to(room.dtype))
            log_probs = of_kids.log_softmax(-1).masked_fill(~real[..., None], -torch.inf)
            nodes, sure, crowded = share_out(log_probs, kids, room, s, uniform[:, level])
            real, repeats, total = nodes != EMPTY, repeats | crowded, total + sure
            nodes = nodes.clamp(min=0)
            if level < D:
                known[..., level] = torch.where(real, trie.code[level + 1][nodes], OPEN)
        rates = {"raw_duplicate_rate": repeats, "invalid_id_rate": invalid}
        places = torch.where(real, nodes, EMPTY)
        return Decoded(places, total, {name: slots.float().mean(1).cpu() for name, slots in rates.items()})

    # --- code by code, in order of confidence ---------------------------------------------------------------------

    def _by_confidence(self, ask: Ask, base: Tensor, rows: Tensor, k: int, s: Any,
                       uniform: Tensor) -> Decoded:  # fmt: skip
        codes, R, D, T = self.ids.place_codes, len(rows), self.ids.trie.levels, self._passes(k, s)
        known = torch.full((R, k, D), OPEN, device=rows.device)
        slate = torch.full((R, k), EMPTY, device=rows.device)
        weights = mass_of(base)[:, rows]  # [N, R]
        repeats = invalid = torch.zeros(R, k, dtype=torch.bool, device=rows.device)
        logits = first = torch.zeros(R, k, D, self._code_count(), device=rows.device)
        for turn in range(T):
            fits, dead = settle(codes, known, slate, weights)
            repeats = repeats | dead
            if (slate != EMPTY).all():
                break
            logits = ask(known, rows)
            first = logits if turn == 0 else first
            mass = code_mass(codes, fits * weights.repeat_interleave(k, dim=1), logits.shape[-1]).unflatten(0, (R, k))
            addend = possible(mass, self.config.prior)
            # nan: the slot has no item left
            sure = (logits + addend).log_softmax(-1).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
            open_ = (known == OPEN) & (slate == EMPTY)[..., None]
            sure = sure.masked_fill(~open_[..., None], -torch.inf)
            if s.temperature > 0:
                sure = sure / s.temperature - (-uniform[:, turn].clamp(min=1e-12).log()).log().float()
            share = (open_.sum((1, 2)) / (T - turn)).ceil()
            fixed = fix_surest(sure, known, share)
            if not self.config.prior:
                wrong = addend.gather(-1, logits.argmax(-1, keepdim=True))[..., 0].isneginf()
                invalid = invalid | (wrong & (fixed != known)).any(-1)
            known = fixed
        fits, dead = settle(codes, known, slate, weights)
        left, repeats = slate == EMPTY, repeats | dead
        strange = ~fits.T.unflatten(0, (R, k)) * ELSEWHERE
        found = best_items(self._item_scores(logits, base[rows], s) - strange, min(len(codes), k))
        slate, _, _ = pick_slots(*found, slate, s.model_copy(update={"temperature": 0.0}), uniform[:, 0])
        before = self._item_scores(first, base[rows], s).log_softmax(-1)  # with nothing fixed yet
        sure = before.gather(-1, slate.clamp(min=0)[..., None])[..., 0].masked_fill(slate == EMPTY, -torch.inf)
        sure, order = sure.sort(dim=1, descending=True, stable=True)  # slots are trained in any order: they have none
        health = {"raw_duplicate_rate": repeats, "invalid_id_rate": invalid, "repair_rate": repeats | left}
        rates = {name: slots.float().mean(1).cpu() for name, slots in health.items()}
        return Decoded(slate.gather(1, order), sure, rates)

    def cost(self, k: int, sampling: Any = None) -> dict[str, float]:
        """Passes of the whole network."""
        parameters = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        passes = self._passes(k, self._asked(sampling))
        return {"parameters": parameters, "nfe": passes, "heavy_steps": passes}
