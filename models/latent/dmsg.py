"""DMSG: diffusion over the item vectors of a whole slate, conditioned on a prompt (Tomasi et al., RecSys 2025).

Reads like the paper: items as latents (latent_space.py), what a slate is conditioned on (nn/context.py), the network of
its figure (denoiser.py), the loss (loss.py), training (training/fit.py), sampling (here and gaussian.py), rounding to
items (rounding.py).

Shapes: B slates, P prompts, S samples, K slots, N items, d latent dims.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from ...datasets.schema import Catalog, Slates
from ...datasets.train_data import TrainData
from ...datasets.vectors.features import Features
from ..base import Evaluate, FitReport, ModelCard, Progress, Settings, SlateModel, no_progress, noise
from ..nn.context import Condition
from ..nn.saved import network_arrays, network_state
from ..ordering import Order, by_cosine, by_score
from ..retrieval.prior import UNIT, RetrievalPrior
from ..retrieval.prompt2vec import Prompt2Vec
from ..retrieval.prompt_centre import PromptCentre
from ..training.config import TrainingConfig, pick_device
from ..training.fit import checkpoint_file, fit_network
from ..training.seeds import seed_of, seeded
from . import gaussian
from .consensus import consensus
from .cross_fitting import cross_fitted_centres
from .denoiser import SlateDenoiser
from .gaussian import T
from .joint_latents import JointLatents, JointTask
from .latent_space import LatentSpace
from .loss import DenoisingTask, LatentTask
from .overlap import TrainSlates
from .rounding import Rounded, Rounding, Search, hnsw_index, round_to_items

ROWS = 512  # slates that go through the network at once when sampling
CENTRES: dict[str, type[Prompt2Vec]] = {"prompt2vec": Prompt2Vec, "neighbours": PromptCentre}  # by Config.centre


class DMSG(SlateModel):
    """Samples a slate's item vectors from noise, then takes the nearest items."""

    name = "dmsg"
    version = "3"
    seeded_fit = True
    card = ModelCard(
        title="DMSG: diffusion model for slate generation",
        paper="Tomasi et al., Prompt-to-Slate: Diffusion Models for Prompt-Conditioned Slate Generation, RecSys 2025, "
        "arXiv 2408.06883",
        conditions=frozenset({"prompt"}),
        summary="Denoises the vectors of all slots together, with cross-attention to the prompt's tokens, and gives "
        "each slot the nearest catalogue item that is still free.",
        departures=(
            "sizes, optimiser, schedule and latent scale are not in the paper: chosen on validation data",
            "few DDIM steps by default instead of 50 (preset ddim50)",
            "classifier-free guidance and prompt dropout, of which the paper does not speak",
            "no PAD and no positions: short slates fill the slots cyclically, and the emitted slate is ordered by the "
            "cosine of prompt and item text",
            "the figure's GroupNorm is taken within each slot, so that slates may be longer than those trained on; its "
            "in- and out-projections are single linear layers, as in the U-Net block they come from",
            "latents are a PCA of the frozen item vectors on one global scale; latents=joint trains them too",
            "preset residual: diffuses the offset from a cross-fitted Prompt2Vec centre; preset prior: adds a "
            "retrieval prior to the rounding",
            "preset consensus: residual, but 32 slates are sampled and the one emitted is what gains most with all of "
            "them as the reference, retrieval prior included (minimum-Bayes-risk decoding)",
            "preset playlist, where prompts share no words with titles and train slates abound: as consensus, but the "
            "offset is from the mean slate of the nearest train prompts (cross-fitted); 8 slots, less of the prior",
        ),
    )

    class Config(TrainingConfig):
        """Network, latents and training."""

        width: int = Field(128, gt=0, description="of the network")
        layers: int = Field(3, gt=0, description="denoiser blocks")
        heads: int = Field(4, gt=0, description="attention heads; also the groups of GroupNorm")
        feedforward: int = Field(2, gt=0, description="inner width of feed-forward layers, in widths")
        dropout: float = Field(0.1, ge=0, lt=1, description="in the network")
        prompt_layers: int = Field(1, ge=0, description="trainable encoder layers over the prompt's token states")
        prompt_tokens: int = Field(8, ge=0, description="token states used, from the start of the prompt")
        prompt_dropout: float = Field(0.1, ge=0, lt=1, description="share of train slates without condition")
        seed_rate: float = Field(0.1, ge=0, le=1, description="share of train slates with some items as seed items")
        slots: int = Field(4, gt=0, description="slots of a train slate; slates of any length can be sampled")
        latent_dim: int = Field(128, gt=0, description="principal components of the item vectors")
        latents: Literal["fixed", "joint"] = Field("fixed", description="of the items: kept, or trained as well")
        schedule: gaussian.ScheduleName = Field("cosine", description="of noise, at zero terminal SNR")
        target: Literal["v", "x0"] = Field("v", description="what the network predicts")
        centre: Literal["none", "prompt2vec", "neighbours"] = Field("none", description="what is taken off the latents")

        @model_validator(mode="after")
        def _heads_divide_width(self) -> Self:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
            return self

    class Sampling(Settings):
        """How slates are drawn from the fitted model."""

        steps: int = Field(5, gt=0, le=T, description="denoising steps")
        sampler: gaussian.Sampler = Field("ddim", description="ddim, ddpm or dpm++ (2M)")
        spacing: gaussian.Spacing = Field("trailing", description="of the steps over the diffusion time")
        eta: float = Field(0.0, ge=0, le=1, description="fresh noise of DDIM: 0 none, 1 as much as DDPM")
        guidance: float = Field(2.0, ge=0, description="classifier-free guidance; 1 = off")
        guidance_rescale: float = Field(0.0, ge=0, le=1, description="pulls the guided output to the plain deviation")
        noise_scale: float = Field(1.0, ge=0, description="of the start noise")
        rounding: Rounding = Field("greedy", description="greedy or assignment")
        search: Search = Field("exact", description="of the nearest items: exact, or hnsw beyond a million items")
        prior_weight: float = Field(0.0, ge=0, description="of the retrieval prior in the rounding")
        votes: int = Field(1, gt=0, description="sampled slates of which the consensus is taken; 1 = round the sample")
        order: Order = Field("prompt", description="of the emitted slate: slot, confidence, prompt or prompt2vec")
        compile: bool = Field(False, description="torch.compile the network: the first call takes a minute or more")

        @model_validator(mode="after")
        def _options_fit(self) -> Self:
            if self.eta > 0 and self.sampler != "ddim":
                raise ValueError(f"eta is an option of the sampler ddim, not of {self.sampler}")
            if self.prior_weight > 0 and self.search != "exact":
                raise ValueError("prior_weight needs search=exact: the prior scores all items")
            if self.votes > 1 and (self.rounding, self.search) != ("greedy", "exact"):
                raise ValueError("votes > 1 take their own way to items: leave rounding=greedy and search=exact")
            return self

    SPACE: ClassVar = {
        "steps": [2, 3, 5, 10, 20, 50], "guidance": (1.0, 5.0, 0.25), "eta": (0.0, 1.0, 0.1),
        "learning_rate": (5e-4, 5e-3, "log"), "dropout": (0.0, 0.3, 0.05), "latent_dim": [64, 128, 256],
    }  # fmt: skip
    PRESETS: ClassVar = {
        "residual": {"centre": "prompt2vec", "guidance": 1.0},
        "prior": {"prior_weight": 1.0, "order": "confidence"},
        "consensus": {
            "centre": "prompt2vec", "guidance": 1.0, "steps": 3, "votes": 32, "prior_weight": 0.3, "order": "slot",
        },
        "ddim50": {"steps": 50},
        "long": {"max_steps": 6000, "order": "slot"},  # see decoders/base.LONG
        "playlist": {
            "centre": "neighbours", "slots": 8,
            "guidance": 1.0, "steps": 3, "votes": 16, "prior_weight": 0.1, "order": "slot",
        },
    }  # fmt: skip
    BUDGETS: ClassVar = {
        "smoke": {
            "max_steps": 150, "width": 64, "layers": 1, "latent_dim": 32, "batch_size": 32, "warmup_steps": 10,
            "learning_rate": 4e-3,
        },
        "standard": {"patience": 4},
        "paper": {
            "max_steps": 20_000, "width": 512, "layers": 6, "heads": 8, "feedforward": 4, "prompt_layers": 2,
            "batch_size": 256, "learning_rate": 1e-4, "warmup_steps": 1000, "ema": 0.999, "precision": "bf16",
        },
    }  # fmt: skip
    Task: ClassVar[type[LatentTask]] = DenoisingTask

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Train the network; with `patience`, `evaluate` picks the step whose weights are kept."""
        data = replace(data, slates=data.slates.filter(pl.col("items").list.len() > 0))
        c, items = self.config, data.features.items()
        self.space = LatentSpace.of(items, c.latent_dim)
        self.centre_models = self._new_centre_models()
        for model in self.centre_models.values():
            model.fit(data)
        self.train_slates = TrainSlates.of(data)
        self.offset_scale, self.joint = 1.0, None
        self._enter(data.catalog, data.features)
        centres = np.zeros((1, self.space.basis.shape[1]), np.float32)
        latents = self.latents.cpu()
        if c.centre != "none":
            centres = self.space(cross_fitted_centres(data, seed, CENTRES[c.centre]))
            slate = np.repeat(np.arange(data.slates.height), data.slates["items"].list.len().to_numpy())
            offsets = latents.numpy()[data.slates["items"].explode().to_numpy()] - centres[slate]
            self.offset_scale = float(1 / offsets.std())
        with seeded(seed, "init"):
            self.network = self._new_network(data.features.item_texts().shape[1])
            task = self.Task(
                self.network, c, data, latents * self.offset_scale, torch.tensor(centres) * self.offset_scale
            )
        joint = JointTask(task) if c.latents == "joint" else None

        def take_over() -> None:
            if joint is not None:
                self.joint = joint.learned(data.catalog.ids, self.offset_scale)
                self._place_items()

        def check() -> float:
            assert evaluate is not None
            take_over()
            return evaluate(self.generate(data.valid_requests, data.slate_length))

        report = fit_network(
            joint or task, data.slates.height, c, seed=seed_of(seed, "train"), evaluate=evaluate and check,
            progress=progress, checkpoint=checkpoint_file(self, data, seed),
        )  # fmt: skip
        self.network.to(pick_device(c))
        take_over()
        kept = float(((items - self.space.mean) @ self.space.basis).var(axis=0).sum() / items.var(axis=0).sum())
        report.health["latent_variance_kept"] = kept
        if self.joint is not None:  # 1: nothing moved
            report.health["joint_latents_cosine"] = float(cosine_similarity(self.latents.cpu(), latents).mean())
        return report

    def _new_centre_models(self) -> dict[str, Prompt2Vec]:
        """Unfitted: Prompt2Vec, which can order any slate, and the one that the slates are diffused around."""
        return {name: kind() for name, kind in CENTRES.items() if name in ("prompt2vec", self.config.centre)}

    def _new_network(self, text_dim: int) -> SlateDenoiser:
        c = self.config
        return SlateDenoiser(
            self.space.basis.shape[1], text_dim, width=c.width, layers=c.layers, heads=c.heads, factor=c.feedforward,
            dropout=c.dropout, prompt_layers=c.prompt_layers,
        )  # fmt: skip

    def _enter(self, catalog: Catalog, features: Features) -> None:
        """Everything that hangs on the catalogue."""
        self.catalog, self.features = catalog, features
        self._place_items()
        for model in self.centre_models.values():
            model.catalog, model.features = catalog, features
        self._prior: RetrievalPrior | None = None  # made when first asked for
        self._compiled: Any = None

    def _place_items(self) -> None:
        """Latents of the catalogue's items [N, d]."""
        latents = self.space(self.features.items())
        if self.joint is not None:
            latents = self.joint(self.catalog.ids, latents)
        self.latents = torch.tensor(latents, device=(device := pick_device(self.config)))
        lengths = torch.tensor(self.features.items(), device=device).norm(dim=-1, keepdim=True)  # 1, if not a guess
        self.directions = normalize(self.latents, dim=-1) * lengths
        self._index: Any = None  # made when first asked for

    # --- sampling ---------------------------------------------------------------------------------

    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]; diagnostics: raw_duplicate_rate, rounding_gap, train_slate_overlap."""
        s, P = self._asked(sampling), requests.height
        items = np.full((P, samples, k), -1, dtype=np.int64)
        scores, duplicates, gap = np.zeros(items.shape), np.zeros(items.shape[:2]), np.zeros(items.shape[:2])
        step = max(1, ROWS // (samples * s.votes))
        for start in range(0, P, step):
            rows = slice(start, min(P, start + step))
            rounded = self._slates(requests[rows], k, samples, seed, s)
            items[rows] = rounded.items.reshape(-1, samples, k)
            scores[rows] = rounded.scores.reshape(-1, samples, k)
            duplicates[rows] = rounded.raw_duplicate_rate.reshape(-1, samples)
            filled = np.maximum(1, (rounded.items >= 0).sum(axis=1))
            gap[rows] = (rounded.cosines.sum(axis=1) / filled).reshape(-1, samples)
        ordered = self._ordered(requests, items, scores, s.order)
        overlap = self.train_slates.nearest_overlap(ordered)
        return Slates(ordered, {"raw_duplicate_rate": duplicates, "rounding_gap": gap, "train_slate_overlap": overlap})

    def _slates(self, requests: pl.DataFrame, k: int, samples: int, seed: int, s: Any) -> Rounded:
        """Slates [P * samples, k]: a sample rounded, or the consensus of several."""
        bonus, excluded = self._bonus(requests, samples, s), self._excluded(requests, samples)
        if s.votes == 1:
            vectors = self._vectors(requests, k, samples, seed, s)
            if s.search == "hnsw":
                self._index = self._index or hnsw_index(self.directions)
            index = self._index if s.search == "hnsw" else None
            return round_to_items(
                vectors, self.directions, method=s.rounding, bonus=bonus, excluded=excluded, index=index
            )
        K = min(k, self.config.slots)
        votes = self._vectors(requests, K, samples, seed, s).unflatten(0, (-1, s.votes))
        train = np.clip(self.train_slates.lengths, 1, K)  # votes are as long as train slates, so far as there are slots
        streams = [noise(seed, request, m, "lengths") for request in requests["request"] for m in range(samples)]
        lengths = np.stack([stream.choice(train, s.votes) for stream in streams])
        lengths = torch.from_numpy(lengths).to(votes.device)
        return consensus(votes, lengths, self.directions, k, bonus=bonus, excluded=excluded)

    @torch.inference_mode()
    def _vectors(self, requests: pl.DataFrame, k: int, samples: int, seed: int, s: Any) -> Tensor:
        """Sampled latents [P * samples * votes, k, d]."""
        P, device, d = requests.height, self.latents.device, self.latents.shape[1]
        generators = [noise(seed, request, m) for request in requests["request"] for m in range(samples)]

        def fresh() -> Tensor:
            drawn = np.concatenate([g.standard_normal((s.votes, k, d), dtype=np.float32) for g in generators])
            return torch.from_numpy(drawn).to(device)

        abar, times = gaussian.schedule(self.config.schedule, T), gaussian.timesteps(T, s.steps, s.spacing)
        condition = Condition.of(requests, self.features, self.latents, self.config.prompt_tokens)
        condition = replace(condition, seeds=condition.seeds * self.offset_scale)
        if s.guidance != 1:
            condition = condition.with_empty()
        prepared = self.network.prepare(condition, torch.tensor(times, device=device)[:, None])
        if s.compile:
            self._compiled = self._compiled or torch.compile(self.network, dynamic=True)
        network = self._compiled if s.compile else self.network
        rows = torch.arange(P, device=device).repeat_interleave(samples * s.votes)
        if s.guidance == 1:
            prepared = prepared.take(rows)
            predict = lambda x, i: network(x, prepared, i)  # noqa: E731
        else:  # with and without condition in one batch
            prepared = prepared.take(torch.cat([rows, torch.full_like(rows, P)]))

            def predict(x: Tensor, i: int) -> Tensor:
                conditional, unconditional = network(torch.cat([x, x]), prepared, i).chunk(2)
                return gaussian.guided(conditional, unconditional, s.guidance, s.guidance_rescale)

        x0 = gaussian.sample(
            predict, s.noise_scale * fresh(), abar, times,
            target=self.config.target, sampler=s.sampler, eta=s.eta, noise=fresh,
        )  # fmt: skip
        if self.config.centre == "none":
            return x0
        centres = torch.tensor(self.space(self.centre_models[self.config.centre].centres(requests)), device=device)
        return x0 / self.offset_scale + centres[rows, None]

    def _bonus(self, requests: pl.DataFrame, samples: int, s: Any) -> Tensor | None:
        """The weighted retrieval prior [P * samples, N]."""
        if s.prior_weight == 0:
            return None
        self._prior = self._prior or RetrievalPrior.build(self.catalog, self.features)
        prior = torch.tensor(self._prior.scores(requests, "zscored"), dtype=torch.float32, device=self.latents.device)
        return (s.prior_weight * UNIT * prior).repeat_interleave(samples, dim=0)

    def _excluded(self, requests: pl.DataFrame, samples: int) -> list[list[int]]:
        """The seed items of each slate."""
        seeds = [[i for i in row if 0 <= i < len(self.catalog)] for row in requests["seed_items"].to_list()]
        return [row for row in seeds for _ in range(samples)] if any(seeds) else []

    def _ordered(self, requests: pl.DataFrame, items: np.ndarray, scores: np.ndarray, order: Order) -> np.ndarray:
        """The slates as they are emitted."""
        if order == "prompt":
            prompts = self.features.prompts(requests["prompt"].to_list())
            return by_cosine(items, prompts, self.features.item_texts())
        if order == "prompt2vec":
            return by_cosine(items, self.centre_models["prompt2vec"].centres(requests), self.features.items())
        return by_score(items, scores if order == "confidence" else np.zeros(items.shape))

    def stochastic(self, sampling: Settings | None = None) -> bool:
        """Yes, as long as there is noise."""
        s = self._asked(sampling)
        return s.noise_scale > 0 or s.eta > 0 or s.sampler == "ddpm"

    def cost(self, k: int, sampling: Settings | None = None) -> dict[str, float]:
        """One evaluation per step; guidance evaluates two rows at once."""
        s = self._asked(sampling)
        parameters = sum(p.numel() for p in self.network.parameters())
        parameters += 0 if self.joint is None else self.joint.rows.size
        rows = s.votes * (1 if s.guidance == 1 else 2)
        return {"parameters": parameters, "nfe": s.steps, "rows_per_evaluation": rows}

    def with_catalog(self, catalog: Catalog, features: Features) -> Self:
        """The same network over other items: they only need vectors of the same encoder."""
        other = self._over(catalog, features)
        for name in ("space", "network", "offset_scale", "joint"):
            setattr(other, name, getattr(self, name))
        other.train_slates = self.train_slates.over(catalog)
        other.centre_models = {n: m.with_catalog(catalog, features) for n, m in self.centre_models.items()}
        other._enter(catalog, features)
        return other

    # --- saving -----------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        """Network, latent space, centre models, train slates."""
        return {
            **network_arrays(self.network),
            **{
                f"{centre}.{name}": value
                for centre, model in self.centre_models.items()
                for name, value in model.arrays().items()
            },
            "space.mean": self.space.mean,
            "space.basis": self.space.basis,
            "scales": np.array([self.space.scale, self.offset_scale]),
            **self.train_slates.arrays(),
            **(self.joint.arrays() if self.joint else {}),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `arrays` gave."""
        scale, self.offset_scale = map(float, arrays["scales"])
        self.space = LatentSpace(arrays["space.mean"], arrays["space.basis"], scale)
        self.train_slates = TrainSlates.of_arrays(arrays, self.catalog)
        self.centre_models = self._new_centre_models()
        for centre, model in self.centre_models.items():
            prefix = f"{centre}."
            model.restore({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
        self.joint = JointLatents.of_arrays(arrays)
        self._enter(self.catalog, self.features)
        state = network_state(arrays)
        self.network = self._new_network(state["tokens.weight"].shape[1])
        self.network.load_state_dict(state)
        self.network.to(self.latents.device).eval()
