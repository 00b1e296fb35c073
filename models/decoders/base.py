"""What s2s, higr and maskgr share: settings, the loss over train slates, fitting, the frame of generating, saving.

A slate is a sequence of items, an item a tuple of units (its semantic id, or the item itself). The loss is next-unit
cross entropy with the units before it given, a softmax over the units that exist in the trie; with `prior`, the
trie-factorised retrieval prior is added to the logits, and the network (heads at zero) learns what it leaves over.

Shapes: B slates, P prompts, S samples, R = P x S rows, M slots, N items, D levels, w width.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field, model_validator
from torch import Tensor

from ...datasets.schema import EMPTY, Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, Progress, Settings, SlateModel, no_progress, noise
from ..nn.context import Condition
from ..nn.saved import network_arrays, network_state
from ..ordering import by_cosine, by_score
from ..ranking import BLOCK
from ..semantic_ids.catalogue import IdCatalogue
from ..semantic_ids.tokenizer import TokenizerConfig, semantic_ids
from ..semantic_ids.trie import TriePrior
from ..training.config import TrainingConfig, pick_device
from ..training.fit import checkpoint_file, fit_network
from ..training.seeds import seed_of, seeded
from .alignment import AlignmentConfig, align
from .loss import DecodingTask, SlateNetwork

LONG = {"max_steps": 2000, "order": "slot"}  # preset for many train slates, and titles unlike prompts


class DecoderConfig(TrainingConfig, TokenizerConfig):
    """Network, training and semantic ids; the same names in all decoders."""

    learning_rate: float = Field(1e-3, gt=0, description="of AdamW, after warm-up; falls along a cosine to 5 %")
    weight_decay: float = Field(0.05, ge=0, description="of AdamW, on matrices only")
    beta2: float = Field(0.98, gt=0, lt=1, description="of AdamW: memory of the squared gradient")
    batch_size: int = Field(64, gt=0, description="slates per step")
    max_steps: int = Field(400, gt=0, description="optimiser steps")
    warmup_steps: int = Field(40, ge=0, description="steps of linear warm-up")
    width: int = Field(128, gt=0, description="of the network")
    heads: int = Field(4, gt=0, description="attention heads")
    feedforward: int = Field(4, gt=0, description="inner width of feed-forward layers, in widths")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the network")
    prompt_layers: int = Field(0, ge=0, description="trainable encoder layers over the prompt's frozen token states")
    prompt_tokens: int = Field(10, ge=0, description="token states used, from the start of the prompt")
    prompt_dropout: float = Field(0.1, ge=0, lt=1, description="share of train slates without condition")
    seed_rate: float = Field(0.1, ge=0, le=1, description="share of train slates with some items as seed items")
    slots: int = Field(20, gt=0, description="slot embeddings; slots beyond use the last")
    fill: Literal["none", "neighbours"] = Field(
        "neighbours", description="short train slates: as they are, or filled with near items of their own items"
    )
    catalogue_pairs: int = Field(0, ge=0, description="auxiliary pairs (item text or category -> item) per step")
    prior: bool = Field(False, description="add the trie-factorised retrieval prior to the logits")
    gamma: float = Field(40.0, gt=0, description="of the prior: logit = gamma x cosine of prompt and item")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class SlateSampling(Settings):
    """How slates are decoded; the same names in all decoders."""

    temperature: float = Field(
        0.0, ge=0, description="of the draw among a slot's candidates (the beam's); 0 = the best"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="share of the candidates' probability that is drawn from")
    bm25_weight: float = Field(0.0, ge=0, description="of BM25 (over its largest) beside the cosine, in the prior")
    order: Literal["slot", "confidence", "prompt"] = Field(
        "prompt", description="of the emitted slate: slot, confidence or prompt"
    )


class DecoderSampling(SlateSampling):
    """With beams."""

    beam: int = Field(10, gt=0, description="beams: inside an item, or of whole slates where the search is slate")

    @model_validator(mode="after")
    def _draws_need_candidates(self) -> Self:
        if self.temperature > 0 and self.beam == 1:
            raise ValueError("a temperature draws among the beam's candidates: it needs beam > 1")
        return self


# --- the model ----------------------------------------------------------------------------------------------


class Decoded:
    """What decoding gives: places [R, k] (-1 = empty), their log-probabilities [R, k], and health by name [R]."""

    def __init__(self, places: Tensor, scores: Tensor, health: dict[str, Tensor]) -> None:
        self.places, self.scores, self.health = places, scores, health


class SlateDecoder(SlateModel):
    """Base of s2s, higr and maskgr. A subclass says `_new_network` and `_decode`."""

    seeded_fit = True
    Config: ClassVar[type[Settings]] = DecoderConfig
    Sampling: ClassVar[type[Settings]] = DecoderSampling
    network: Any

    @abstractmethod
    def _new_network(self) -> SlateNetwork:
        """An untrained network for `self.ids` and `self.features`."""

    @abstractmethod
    def _decode(self, context: Tensor, mask: Tensor, rows: Tensor, k: int, used: Tensor, prior: TriePrior | None,
                s: Any, uniform: Tensor) -> Decoded:  # fmt: skip
        """Decode k slots.

        Args:
            context: of the prompts [P, M, w].
            mask: its mask [P, 1, 1, M].
            rows: prompt of each row [R], all samples of a prompt together.
            k: slots.
            used: places that may not be emitted [R, m], -1 = none.
            prior: of the rows.
            s: Sampling.
            uniform: random numbers of each row [R, *_draws].
        """

    def _new_task(self, data: TrainData) -> DecodingTask:
        """What is trained: `self.network` with its loss over `data`."""
        return DecodingTask(self.network, self.config, data, self.ids)

    def _draws(self, k: int, s: Any) -> tuple[int, ...]:
        """Shape of the random numbers that a row draws from: one for each slot."""
        return (k,)

    def _row_size(self, k: int, s: Any) -> int:
        """Numbers that one row of decoding holds at once."""
        return 4 * s.beam * max(256, self.ids.trie.widest)

    def _item_units(self) -> bool:
        """Are items their own units, without semantic ids?"""
        return False

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Fit the tokenizer (or take it from the cache) and train the network."""
        data = replace(data, slates=data.slates.filter(pl.col("items").list.len() > 0))
        c, self.catalog, self.features = self.config, data.catalog, data.features
        device, health = pick_device(c), {}
        if self._item_units():
            own = np.arange(len(data.catalog))[:, None]
            self.ids = IdCatalogue(data.catalog, data.features, own, None, device)
        else:
            found = semantic_ids(data, c, seed)
            health, self.ids = found.health, IdCatalogue.of(found, data.catalog, data.features, device)
        with seeded(seed, "init"):
            self.network = self._new_network()
        task, checkpoint = self._new_task(data), checkpoint_file(self, data, seed)
        valid = evaluate and (lambda: evaluate(self.generate(data.valid_requests, data.slate_length)))
        report = fit_network(
            task, data.slates.height, c, seed=seed_of(seed, "train"), evaluate=valid, progress=progress,
            checkpoint=checkpoint,
        )  # fmt: skip
        if isinstance(c, AlignmentConfig) and c.alignment != "none" and report.state == "done":
            report = align(task, data, report, seed=seed, evaluate=valid, progress=progress, checkpoint=checkpoint)
        self.network.to(device).eval()
        report.health |= health
        return report

    @torch.inference_mode()
    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]; diagnostics: raw_duplicate_rate and invalid_id_rate, before the trie repairs them."""
        s, P = self._asked(sampling), requests.height
        drawn = samples if s.temperature > 0 else 1  # otherwise all samples are the same
        items = np.full((P, drawn, k), EMPTY, dtype=np.int64)
        scores = np.zeros(items.shape)
        health: dict[str, np.ndarray] = {}
        step = max(1, min(256, BLOCK // (drawn * self._row_size(k, s))))
        for start in range(0, P, step):
            block = slice(start, min(P, start + step))
            part = requests[block]
            decoded = self._decode_part(part, min(k, len(self.catalog)), drawn, seed, s)
            found = self.ids.items_of(decoded.places).cpu().numpy()
            shape = (part.height, drawn, found.shape[1])
            items[block, :, : found.shape[1]] = found.reshape(shape)
            scores[block, :, : found.shape[1]] = decoded.scores.nan_to_num(neginf=0).cpu().numpy().reshape(shape)
            for name, rate in decoded.health.items():
                health.setdefault(name, np.zeros((P, drawn)))[block] = rate.cpu().numpy().reshape(-1, drawn)
        if s.order == "confidence":
            items = by_score(items, scores)
        elif s.order == "prompt":
            prompts = self.features.prompts(requests["prompt"].to_list())
            items = by_cosine(items, prompts, self.features.item_texts())
        times = samples // drawn
        return Slates(np.repeat(items, times, axis=1), {n: np.repeat(v, times, axis=1) for n, v in health.items()})

    def _decode_part(self, requests: pl.DataFrame, k: int, samples: int, seed: int, s: Any) -> Decoded:
        c, device, P = self.config, self.ids.device, requests.height
        condition = Condition.of(requests, self.features, self.ids.vectors, c.prompt_tokens)
        context, keys = self.network.prompt(condition)
        rows = torch.arange(P, device=device).repeat_interleave(samples)
        prior = None
        if c.prior:
            learnt = self.network.correction(condition.pooled), self.network.prior_scales()
            prior = self.ids.prior(requests, c.gamma, s.bm25_weight, *learnt).take(rows)
        shape = self._draws(k, s)
        uniform = torch.zeros(()).expand(len(rows), *shape)
        if s.temperature > 0:
            pairs = [(request, m) for request in requests["request"] for m in range(samples)]
            uniform = torch.tensor(np.stack([noise(seed, r, m).random(shape) for r, m in pairs])) if pairs else uniform
        used = self.ids.seed_places(requests, samples)
        return self._decode(context, keys, rows, k, used, prior, s, uniform.to(device))

    def stochastic(self, sampling: Settings | None = None) -> bool:
        """With a temperature."""
        return self._asked(sampling).temperature > 0

    def with_catalog(self, catalog: Catalog, features: Features) -> Self:
        """The same network over other items; new ones get their codes from the same tokenizer."""
        other = self._over(catalog, features)
        other.ids = self.ids.over(catalog, features)
        other.network = other._new_network()
        other.network.load_state_dict(self.network.state_dict())
        other.network.to(other.ids.device).eval()
        return other

    def arrays(self) -> dict[str, np.ndarray]:
        """Network, codes and tokenizer."""
        return {
            **network_arrays(self.network),
            **self.ids.arrays(),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `arrays` gave."""
        self.ids = IdCatalogue.from_arrays(arrays, self.catalog, self.features, pick_device(self.config))
        self.network = self._new_network()
        self.network.load_state_dict(network_state(arrays))
        self.network.to(self.ids.device).eval()

    def _code_count(self) -> int:
        """Codes of a level: the tokenizer's, whatever the present catalogue uses."""
        assert self.ids.tokenizer is not None
        return self.ids.tokenizer.codebooks.shape[1]
