"""S2S: encoder-decoder over the prompt that emits the slate token by token; units are whole items or semantic ids.

`s2s` is the DMSG paper's baseline as far as it is known (a sequence-to-sequence model over items); `s2s:sids` emits D
codes for each item, the flat twin of HiGR in the manner of OneRec's session-wise decoder (arXiv 2502.18965).

Shapes: B slates, P prompts, R rows, W beams, M slots, D levels, w width.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ..base import ModelCard
from ..nn.beam_step import Cache, Stepper, joined, reorder, step
from ..nn.context import Condition
from ..nn.transformer import Transformer
from ..nn.units import CodeUnits, ContentUnits
from ..semantic_ids.search import item_beam, pick_item
from ..semantic_ids.trie import Beams, TriePrior, advance
from . import catalogue_pairs
from .alignment import AlignmentConfig
from .base import LONG, Decoded, DecoderConfig, DecoderSampling, SlateDecoder
from .loss import SlateNetwork

SLOT_STEP = 1e-3  # by which a slot counts less than the one before in a beam over slates: of equal sets, best first

SPARE = 32  # beams up to which all are asked for at the last level: the winner's keys may cost a step of their own

# --- the network ----------------------------------------------------------------------------------------------


class FlatDecoder(SlateNetwork):
    """One causal transformer over all M x D units of a slate; each takes in the unit before it, slot and level."""

    def __init__(self, units: nn.Module, text_dim: int, item_dim: int, c: Any) -> None:
        super().__init__(units, text_dim, item_dim, c)
        self.start = nn.Parameter(torch.randn(c.width) * 0.3)
        self.slots = nn.Embedding(c.slots, c.width)
        self.levels = nn.Embedding(self.units.levels, c.width)
        for table in (self.slots, self.levels):
            nn.init.normal_(table.weight, std=0.1)
        self.decoder = Transformer(c.width, c.layers, c.heads, c.feedforward, c.dropout, cross=True)

    def place(self, slot: Tensor, level: int) -> Tensor:
        """What says where in the slate a token stands [..., w]."""
        return self.slots(slot.clamp(max=self.slots.num_embeddings - 1)) + self.levels.weight[level]

    def hidden(self, codes: Tensor, offset: Tensor, condition: Condition) -> Tensor:
        """See SlateNetwork."""
        (B, M, D), context_mask = codes.shape, self.prompt(condition)
        embedded = torch.stack([self.units.embed(codes[..., d], d) for d in range(D)], dim=2)  # [B, M, D, w]
        before = torch.cat([self.start.expand(B, 1, -1), embedded.flatten(1, 2)[:, :-1]], dim=1)  # [B, M D, w]
        slot = offset[:, None] + torch.arange(M, device=codes.device)
        where = torch.stack([self.place(slot, d) for d in range(D)], dim=2).flatten(1, 2)
        context, mask = context_mask
        hidden, _ = self.decoder(before + where, causal=True, context=self.decoder.context(context), context_mask=mask)
        return hidden.unflatten(1, (M, D))


# --- the model ------------------------------------------------------------------------------------------------


class S2S(SlateDecoder):
    """Autoregressive decoder over the slate."""

    name = "s2s"
    version = "3"
    card = ModelCard(
        title="S2S: sequence-to-sequence slate decoder",
        paper="baseline of Tomasi et al., RecSys 2025, arXiv 2408.06883 (units: items); preset sids: session-wise "
        "decoding over semantic ids as in OneRec, Deng et al., arXiv 2502.18965",
        conditions=frozenset({"prompt"}),
        summary="A transformer decoder with cross-attention to the prompt's tokens emits the slate unit by unit: whole "
        "items, content in and content out, or D codes per item, within the trie of the whole catalogue.",
        departures=(
            "sizes and training of the paper's baseline are not known: chosen as for higr",
            "the prompt's encoder is the suite's frozen text encoder",
            "items have no free embeddings: most items of new slates occur in no train slate",
            "OneRec: dense feed-forward layers instead of a mixture of experts, the suite's tokenizers instead of "
            "balanced k-means, preference alignment (alignment=dpo, off by default) without a reward model",
            "train slates are shuffled, and filled up with near items of their own items; the "
            "emitted slate is ordered by the cosine of prompt and item text, as dmsg's (order=slot: as decoded)",
            "preset prior: the trie-factorised retrieval prior is added to the logits; a linear map, learnt "
            "with the rest, corrects its prompt vector",
        ),
    )

    class Config(AlignmentConfig, DecoderConfig):
        """See DecoderConfig and AlignmentConfig."""

        units: Literal["items", "sids"] = Field("items", description="what is emitted: items or their semantic ids")
        learnt_query: bool = Field(False, description="a learnt linear map corrects the prior's prompt vector")
        layers: int = Field(4, gt=0, description="decoder layers")

    class Sampling(DecoderSampling):
        """See DecoderSampling."""

        search: Literal["item", "slate"] = Field(
            "item", description="beams inside an item (greedy slate), or over whole slates"
        )

        @model_validator(mode="after")
        def _draws_are_inside_items(self) -> Self:
            if self.temperature > 0 and self.search == "slate":
                raise ValueError("a temperature draws among an item's candidates: it needs search=item")
            return self

    SPACE: ClassVar = {
        "beam": [2, 5, 10, 20, 40],
        "learning_rate": (3e-4, 3e-3, "log"), "dropout": (0.0, 0.3, 0.05),
    }  # fmt: skip
    PRESETS: ClassVar = {
        "sids": {"units": "sids"},
        "prior": {"prior": True, "learnt_query": True, "max_steps": 150},
        "pairs": catalogue_pairs.PRESET,
        "long": LONG,
        "slate-beam": {"search": "slate", "temperature": 0.0},
        "sampled": {"temperature": 1.0, "beam": 20, "search": "item"},
        "large": {"width": 256, "layers": 6, "learning_rate": 7e-4},
    }
    BUDGETS: ClassVar = {
        "smoke": {"max_steps": 20, "width": 32, "layers": 1, "batch_size": 16, "codes": 64, "tokenizer_steps": 60,
                  "alignment_steps": 5},
        "paper": {"max_steps": 10_000, "width": 512, "layers": 8, "heads": 8, "batch_size": 256, "precision": "bf16",
                  "learning_rate": 3e-4, "warmup_steps": 500, "codes": 1024},
    }  # fmt: skip
    network: FlatDecoder

    def _item_units(self) -> bool:
        return self.config.units == "items"

    def _new_network(self) -> FlatDecoder:
        c, vectors = self.config, torch.tensor(self.features.items())
        units = ContentUnits(vectors, c.width)
        if c.units == "sids":
            units = CodeUnits(c.levels, self._code_count(), c.width)
        return FlatDecoder(units, self.features.item_texts().shape[1], vectors.shape[1], c)

    def _decode(self, context: Tensor, mask: Tensor, rows: Tensor, k: int, used: Tensor, prior: TriePrior | None,
                s: Any, uniform: Tensor) -> Decoded:  # fmt: skip
        decode = self._slate_beams if s.search == "slate" else self._item_beams
        return decode(_Steps(self.network, context, mask), len(rows), k, used, prior, s, uniform)

    def _item_beams(self, steps: _Steps, R: int, k: int, used: Tensor, prior: TriePrior | None,
                    s: Any, uniform: Tensor) -> Decoded:  # fmt: skip
        """Greedy slate: a beam inside each item, which ends with one item; its tokens are then shared by all beams."""
        trie, seeds = self.ids.trie, used.shape[1]
        before = self.network.start.expand(R, 1, -1)  # what the next token takes in [R, B, w]
        scores, repeats, invalid = [], torch.zeros(R), torch.zeros(R)
        for slot in range(k):
            steps.new_item(before, slot)
            found = item_beam(trie, lambda *a: steps.ask(trie, *a), R, s.beam, used, prior, spare=SPARE)
            choice, place, score = pick_item(found.places, found.scores, s, uniform[:, slot])
            used = torch.cat([used, place], dim=1)
            scores.append(score)
            repeats, invalid = repeats + found.repeats.cpu(), invalid + found.invalid.cpu()
            if slot < k - 1:
                codes = trie.names[place.clamp(min=0)]  # [R, 1, D + 1]
                if found.whole:
                    steps.settle(found.back.gather(1, choice))
                else:
                    steps.settle_anew(found.parent.gather(1, choice), codes[..., trie.levels - 2])
                before = self.network.units.embed(codes[..., -2], trie.levels - 1)
        health = {"raw_duplicate_rate": repeats / max(1, k), "invalid_id_rate": invalid / max(1, k)}
        return Decoded(used[:, seeds:], torch.cat(scores, dim=1) if scores else used[:, seeds:].float(), health)

    def _slate_beams(self, steps: _Steps, R: int, k: int, used: Tensor, prior: TriePrior | None,
                     s: Any, uniform: Tensor) -> Decoded:  # fmt: skip
        """A beam over whole slates, the session-wise decoder's: every token may re-order all that came before."""
        trie, seeds = self.ids.trie, used.shape[1]
        k = min(k, len(trie) - int((used >= 0).sum(1).max())) if R else k
        used = used[:, None]  # [R, B, m]
        beams = Beams.root(R, used.device)
        before = self.network.start.expand(R, 1, -1)
        repeats, invalid = torch.zeros(R), torch.zeros(R)
        scores = torch.zeros(R, 1, 0, device=used.device)  # of the items so far [R, B, m]
        for slot in range(k):
            gone, origin = (
                trie.exhausted(used),
                torch.arange(beams.nodes.shape[1], device=used.device).expand_as(beams.nodes),
            )
            start, weight = beams.scores, 1 - SLOT_STEP * min(slot, 100)
            beams = Beams(torch.zeros_like(beams.nodes), start)
            source = origin
            hit = missing = torch.zeros(R, dtype=torch.bool)
            for level in range(trie.levels + 1):
                logits = steps.all_of(before, source, slot, level) if level < trie.levels else None
                now = gone[level + 1]
                now = now.gather(1, origin[..., None].expand(-1, -1, now.shape[2]))
                found = advance(trie, level, beams, logits, s.beam, now, prior, weight)
                beams, source, hit = found.beams, found.source, hit | found.repeats.cpu()
                missing = missing if found.invalid is None else missing | found.invalid.cpu()
                origin = origin.gather(1, source)
                if level < trie.levels:
                    before = self.network.units.embed(trie.code[level + 1][beams.nodes], level)
                    back = source
                else:
                    before = before.gather(1, source[..., None].expand(-1, -1, before.shape[-1]))
                    steps.pending = back.gather(1, source)
            place = torch.where(beams.scores.isfinite(), beams.nodes, -1)
            gained = beams.scores - start.gather(1, origin)
            used = torch.cat([used.gather(1, origin[..., None].expand(-1, -1, used.shape[2])), place[..., None]], dim=2)
            scores = torch.cat([scores.gather(1, origin[..., None].expand(-1, -1, slot)), gained[..., None]], dim=2)
            repeats, invalid = repeats + hit, invalid + missing
        health = {"raw_duplicate_rate": repeats / max(1, k), "invalid_id_rate": invalid / max(1, k)}
        return Decoded(used[:, 0, seeds:], scores[:, 0], health)

    def cost(self, k: int, sampling: Any = None) -> dict[str, float]:
        """One pass of the whole decoder for each unit."""
        D = self.ids.trie.levels
        parameters = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        return {"parameters": parameters, "nfe": k * D, "heavy_steps": k * D, "beam": self._asked(sampling).beam}


class _Steps:
    """The cached decoder at work: keys and values of the tokens so far."""

    def __init__(self, network: FlatDecoder, context: Tensor, mask: Tensor) -> None:
        self.network, self.decoder = network, Stepper.of(network.decoder, context, mask)
        self.prefix: Cache | None = None  # of the items that a row has settled on
        self.own: Cache | None = None  # of the beams' tokens after it
        self.pending: Tensor | None = None

    def new_item(self, before: Tensor, slot: int) -> None:
        """The next item begins; `before` [R, 1, w] is the unit before it."""
        self.before, self.slot, self.own = before, torch.tensor(slot, device=before.device), None

    def ask(self, trie: Any, level: int, nodes: Tensor, source: Tensor) -> Tensor:
        """Logits [R, B, K] of a level (see search.Ask)."""
        if level:
            assert self.own is not None
            self.earlier = self.own
            self.own = reorder(self.own, source)
            self.before = self.network.units.embed(trie.code[level][nodes], level - 1)
        x = self.before + self.network.place(self.slot, level)
        hidden, self.own = step(self.decoder, x, self.own, self.prefix)
        return self.network.units.logits(hidden, level)

    def settle(self, beam: Tensor) -> None:
        """Each row goes on with this beam [R, 1] of its last step."""
        assert self.own is not None
        self.prefix = joined(self.prefix, self.own, beam)

    def settle_anew(self, beam: Tensor, code: Tensor) -> None:
        """Each row goes on with this beam [R, 1] of the step before its last, and `code` [R, 1], not asked there."""
        assert self.own is not None
        last = len(self.network.levels.weight) - 1
        x = self.network.units.embed(code, last - 1) + self.network.place(self.slot, last)
        _, own = step(self.decoder, x, reorder(self.earlier, beam), self.prefix)
        self.prefix = joined(self.prefix, own, torch.zeros_like(beam))

    def all_of(self, before: Tensor, source: Tensor, slot: int, level: int) -> Tensor:
        """Logits [R, B, K] of beams over whole slates, which take in `before` and continue the beams `source`."""
        if self.own is not None:
            self.own = reorder(self.own, source if self.pending is None else self.pending)
            self.pending = None
        x = before + self.network.place(torch.tensor(slot, device=before.device), level)
        hidden, self.own = step(self.decoder, x, self.own)
        return self.network.units.logits(hidden, level)
