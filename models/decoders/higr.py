"""HiGR: a heavy planner over items, a light generator inside them (Tencent, arXiv 2512.24787; PCRQ-VAE from v3 on).

    p_m = Planner(BOS, i_1 .. i_{m-1} | prompt)      i_j = sum of the embeddings of item j's codes
    s_m^d ~ Generator(project(p_m), s_m^1 .. s_m^{d-1} | prompt)

The planner takes M steps instead of the flat decoder's M x D, for one slate whatever the beam; the generator's beams
live inside one item (greedy slate, beam item: GSBI). Preset `parallel`: the planner is not told of the items before,
so it needs one pass, and all items are decoded at once.

Shapes: B slates, P prompts, R rows, W beams, M slots, D levels, w width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..base import ModelCard
from ..nn.beam_step import Cache, Stepper, reorder, step
from ..nn.context import Condition
from ..nn.transformer import KeysValues, Transformer
from ..nn.units import CodeUnits
from ..semantic_ids.search import Candidates, item_beam, pick_item
from ..semantic_ids.trie import TriePrior
from . import catalogue_pairs
from .alignment import AlignmentConfig
from .base import LONG, Decoded, DecoderConfig, DecoderSampling, SlateDecoder
from .loss import SlateNetwork

# --- the network ----------------------------------------------------------------------------------------------


class HierarchicalDecoder(SlateNetwork):
    """Planner over slots, projection, one generator shared by all slots; both attend to the prompt."""

    units: CodeUnits

    def __init__(self, units: CodeUnits, text_dim: int, item_dim: int, c: Any) -> None:
        super().__init__(units, text_dim, item_dim, c)
        self.feedback = not c.parallel
        self.start = nn.Parameter(torch.randn(c.width) * 0.3)
        self.slots = nn.Embedding(c.slots, c.width)
        self.levels = nn.Embedding(self.units.levels, c.width)
        for table in (self.slots, self.levels):
            nn.init.normal_(table.weight, std=0.1)
        sizes = (c.heads, c.feedforward, c.dropout)
        self.planner = Transformer(c.width, c.layers, *sizes, cross=True)
        self.project = nn.Linear(c.width, c.width)
        self.generator = Transformer(c.width, c.generator_layers, *sizes, cross=True)

    def slot(self, slot: Tensor) -> Tensor:
        """Slot embeddings [..., w]."""
        return self.slots(slot.clamp(max=self.slots.num_embeddings - 1))

    def plan(self, before: Tensor, slot: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Preference embeddings, projected [B, M, w]; `before` [B, M, w] is the item before each slot."""
        keys_values = self.planner.context(context)
        planned, _ = self.planner(before + self.slot(slot), causal=True, context=keys_values, context_mask=mask)
        return self.project(planned)

    def hidden(self, codes: Tensor, offset: Tensor, condition: Condition) -> Tensor:
        """See SlateNetwork."""
        B, M, D = codes.shape
        context, mask = self.prompt(condition)
        before = self.start.expand(B, M, -1)
        if self.feedback:
            before = torch.cat([before[:, :1], self.units.item(codes[:, :-1])], dim=1)
        plan = self.plan(before, offset[:, None] + torch.arange(M, device=codes.device), context, mask)
        inputs = [plan, *(self.units.embed(codes[..., d], d) for d in range(D - 1))]
        x = torch.stack(inputs, dim=2) + self.levels.weight  # [B, M, D, w]
        keys_values = [_per_slot(kv, M) for kv in self.generator.context(context)]
        hidden, _ = self.generator(
            x.flatten(0, 1), causal=True, context=keys_values, context_mask=mask.repeat_interleave(M, dim=0)
        )
        return hidden.unflatten(0, (B, M))


def _per_slot(keys_values: KeysValues, slots: int) -> KeysValues:
    """The context's keys and values for each slot of its slate."""
    keys, values = keys_values
    return keys.repeat_interleave(slots, dim=0), values.repeat_interleave(slots, dim=0)


# --- the model ------------------------------------------------------------------------------------------------


class HiGR(SlateDecoder):
    """Hierarchical planning and generation over semantic ids."""

    name = "higr"
    version = "3"
    card = ModelCard(
        title="HiGR: hierarchical slate decoder over semantic ids",
        paper="HiGR: Efficient Generative Slate Recommendation via Hierarchical Planning and Multi-Objective "
        "Preference Alignment, arXiv 2512.24787",
        conditions=frozenset({"prompt"}),
        summary="A causal planner turns prompt and items so far into a preference embedding for each slot; a light "
        "generator, shared by all slots, decodes it into the item's codes by a beam inside the item.",
        departures=(
            "the condition is a prompt instead of a user's history",
            "sizes, optimiser and training are not in the paper: chosen so that parameters equal s2s:sids",
            "the default tokenizer is RQ-VAE: on Bundle CRQ-VAE did not beat it (tokenizer=crqvae)",
            "preference alignment only with the presets orpo, dpo and simpo; without feedback of users the train slate "
            "itself is preferred, over negatives made from it",
            "a trie keeps to items of the catalogue and repeats none; items of equal codes are told apart by the "
            "prior, else by popularity",
            "train slates are shuffled (bundles have no order), and filled up with near items of their own items; the "
            "emitted slate is ordered by the cosine of prompt and item text, as dmsg's (order=slot: as decoded)",
            "preset parallel: no feedback of items; the paper's texts disagree on how far decoding is parallel",
            "preset prior: the trie-factorised retrieval prior is added to the logits; a linear map, learnt "
            "with the rest, corrects its prompt vector",
        ),
    )

    class Config(AlignmentConfig, DecoderConfig):
        """See DecoderConfig and AlignmentConfig."""

        layers: int = Field(3, gt=0, description="of the planner")
        generator_layers: int = Field(1, gt=0, description="of the item generator")
        learnt_query: bool = Field(False, description="a learnt linear map corrects the prior's prompt vector")
        parallel: bool = Field(False, description="a planner without feedback of items; all items decoded at once")

    class Sampling(DecoderSampling):
        """See DecoderSampling."""

    SPACE: ClassVar = {
        "beam": [2, 5, 10, 20, 40],
        "learning_rate": (3e-4, 3e-3, "log"), "dropout": (0.0, 0.3, 0.05),
    }  # fmt: skip
    PRESETS: ClassVar = {
        "parallel": {"parallel": True},
        "prior": {"prior": True, "learnt_query": True, "max_steps": 150},
        "pairs": catalogue_pairs.PRESET,
        "long": LONG,
        "orpo": {"alignment": "orpo"},
        "dpo": {"alignment": "dpo"},
        "simpo": {"alignment": "simpo"},
        "sampled": {"temperature": 1.0, "beam": 20},
        "large": {"width": 256, "layers": 5, "learning_rate": 7e-4},
    }
    BUDGETS: ClassVar = {
        "smoke": {"max_steps": 20, "width": 32, "layers": 1, "batch_size": 16, "codes": 64, "tokenizer_steps": 60,
                  "alignment_steps": 5},
        "paper": {"max_steps": 10_000, "width": 512, "layers": 7, "heads": 8, "batch_size": 256, "precision": "bf16",
                  "learning_rate": 3e-4, "warmup_steps": 500, "codes": 1024},
    }  # fmt: skip
    network: HierarchicalDecoder

    def _new_network(self) -> HierarchicalDecoder:
        c = self.config
        units = CodeUnits(c.levels, self._code_count(), c.width)
        return HierarchicalDecoder(units, self.features.item_texts().shape[1], self.features.items().shape[1], c)

    def _decode(self, context: Tensor, mask: Tensor, rows: Tensor, k: int, used: Tensor, prior: TriePrior | None,
                s: Any, uniform: Tensor) -> Decoded:  # fmt: skip
        generator = Stepper.of(self.network.generator, context, mask)
        decode = self._all_at_once if self.config.parallel else self._slot_by_slot
        return decode(context, mask, generator, rows, k, used, prior, s, uniform)

    def _items(self, plan: Tensor, generator: Stepper, width: int, used: Tensor, prior: TriePrior | None,
               keep: int = 0) -> Candidates:  # fmt: skip
        """A beam inside each item, from the preference embeddings `plan` [R, w]; `keep`: see `item_beam`."""
        network, trie = self.network, self.ids.trie
        own: Cache | None = None

        def ask(level: int, nodes: Tensor, source: Tensor) -> Tensor:
            nonlocal own
            x = plan[:, None]
            if level and own is not None:
                own, x = reorder(own, source), network.units.embed(trie.code[level][nodes], level - 1)
            hidden, own = step(generator, x + network.levels.weight[level], own)
            return network.units.logits(hidden, level)

        return item_beam(trie, ask, len(plan), width, used, prior, keep=keep)

    def _slot_by_slot(self, context: Tensor, mask: Tensor, generator: Stepper, rows: Tensor, k: int, used: Tensor,
                      prior: TriePrior | None, s: Any, uniform: Tensor) -> Decoded:  # fmt: skip
        """GSBI: plan a slot, settle on an item, feed its codes back."""
        network, trie, R, seeds = self.network, self.ids.trie, len(rows), used.shape[1]
        planner, slots = Stepper.of(network.planner, context, mask), network.slot(torch.arange(k, device=rows.device))
        before, own = network.start.expand(R, 1, -1), None
        scores, repeats, invalid = [], torch.zeros(R), torch.zeros(R)
        for slot in range(k):
            planned, own = step(planner, before + slots[slot], own)
            found = self._items(network.project(planned)[:, 0], generator, s.beam, used, prior)
            _, place, score = pick_item(found.places, found.scores, s, uniform[:, slot])
            used = torch.cat([used, place], dim=1)
            scores.append(score)
            repeats, invalid = repeats + found.repeats.cpu(), invalid + found.invalid.cpu()
            before = network.units.item(trie.names[place.clamp(min=0), : trie.levels])
        health = {"raw_duplicate_rate": repeats / max(1, k), "invalid_id_rate": invalid / max(1, k)}
        return Decoded(used[:, seeds:], torch.cat(scores, dim=1) if scores else used[:, seeds:].float(), health)

    def _all_at_once(self, context: Tensor, mask: Tensor, generator: Stepper, rows: Tensor, k: int, used: Tensor,
                     prior: TriePrior | None, s: Any, uniform: Tensor) -> Decoded:  # fmt: skip
        """One pass of the planner, all items at once, then from left to right each slot's best item that is free.

        Slots may all want the same items, so that each keeps at least as many candidates as there are slots.
        """
        network, R, seeds, P = self.network, len(rows), used, len(context)
        slot = torch.arange(k, device=rows.device)
        plan = network.plan(network.start.expand(P, k, -1), slot.expand(P, -1), context, mask)  # [P, k, w]
        plan = plan[rows]  # [R, k, w]
        each = torch.arange(R, device=rows.device).repeat_interleave(k)
        asked = prior.take(each) if prior is not None else None
        found = self._items(plan.flatten(0, 1), generator, s.beam, seeds[each], asked, keep=k)
        candidates, found_scores = found.places.unflatten(0, (R, k)), found.scores.unflatten(0, (R, k))
        scores, repeats = [], torch.zeros(R)
        for m in range(k):
            items = candidates[:, m]
            taken = (items[..., None] == used[:, None]).any(-1)
            repeats += taken[:, 0].cpu()
            free = found_scores[:, m].masked_fill(taken, -torch.inf)
            _, place, score = pick_item(items, free, s, uniform[:, m])
            none_left = score.isneginf()
            if none_left.any():  # all of a slot's candidates are taken: search again without those
                again = self._items(plan[:, m], generator, s.beam, used, prior)
                _, place2, score2 = pick_item(again.places, again.scores, s, uniform[:, m])
                place, score = torch.where(none_left, place2, place), torch.where(none_left, score2, score)
            used = torch.cat([used, place], dim=1)
            scores.append(score)
        invalid = found.invalid.unflatten(0, (R, k)).float().sum(1).cpu()
        health = {"raw_duplicate_rate": repeats / max(1, k), "invalid_id_rate": invalid / max(1, k)}
        return Decoded(used[:, seeds.shape[1] :], torch.cat(scores, dim=1) if scores else used.float(), health)

    def cost(self, k: int, sampling: Any = None) -> dict[str, float]:
        """Heavy steps (planner) and light ones (generator)."""
        D, parallel = self.ids.trie.levels, self.config.parallel
        heavy, light = (1, D) if parallel else (k, k * D)
        parameters = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        return {"parameters": parameters, "nfe": heavy + light, "heavy_steps": heavy, "light_steps": light,
                "beam": self._asked(sampling).beam}  # fmt: skip
