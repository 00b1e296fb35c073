"""What SASRec, BERT4Rec and HSTU share: sequences as batches, one fit, one way to answer.

Shapes: U users, B rows of a batch, L items of the longest row, n predictions, N items, w width, P requests.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ...datasets.schema import EMPTY, Slates, forbidden
from ...datasets.train_data import TrainData
from ..base import Evaluate, FitReport, Progress, Settings, SlateModel, no_progress
from ..nn.saved import network_arrays, network_state
from ..ranking import blocks, inner, rank, top_k
from ..retrieval.interactions import train_sequences
from ..training.config import TrainingConfig, pick_device
from ..training.fit import checkpoint_file, fit_network
from ..training.seeds import seed_of, seeded
from .loss import binary_loss, softmax_loss

AT_ONCE = 512  # histories encoded together
DECIMALS = 5  # a state is rounded here, so that it does not hang on the batch it was encoded in


class SequenceConfig(TrainingConfig):
    """Sizes and training of a network over sequences."""

    width: int = Field(64, gt=0, description="of item vectors and network")
    layers: int = Field(1, gt=0, description="blocks")
    heads: int = Field(1, gt=0, description="of attention")
    dropout: float = Field(0.3, ge=0, lt=1, description="of item vectors and of the residual branches")
    max_length: int = Field(50, gt=0, description="items of a history that are looked at, the newest ones")
    loss: Literal["softmax", "binary"] = Field("softmax", description="cross entropy, or binary with one negative")
    negatives: int = Field(0, ge=0, description="of the cross entropy, drawn for each batch; 0: the whole catalogue")
    learning_rate: float = Field(1e-3, gt=0, description="of Adam, after warm-up; falls along a cosine to 5 %")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW, on matrices only; 0: Adam")
    beta2: float = Field(0.98, gt=0, lt=1, description="of Adam: memory of the squared gradient")
    batch_size: int = Field(256, gt=0, description="users per step")
    max_steps: int = Field(2600, gt=0, description="optimiser steps")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights, which are what is kept")
    check_every: int = Field(260, gt=0, description="steps between two checks on the validation requests")
    patience: int = Field(3, ge=0, description="checks without improvement before stopping; 0: no checks, to the end")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class SequenceSampling(Settings):
    """How a slate is made."""

    decode: Literal["top", "rollout"] = Field(
        "top", description="top: the k best next items; rollout: the best one, then the best after it, and so on"
    )


ROLLOUT = {"decode": "rollout"}
LONG = {"max_length": 200, "width": 128, "layers": 2, "batch_size": 64, "max_steps": 6000, "check_every": 600,
        "dropout": 0.2}  # fmt: skip
PAPER = {"width": 128, "layers": 2, "batch_size": 128, "max_steps": 30_000, "check_every": 1000, "patience": 10}


class SequenceNetwork(nn.Module):
    """A network over item sequences with one table of item vectors, in and out (tied).

    Rows of a batch are left-aligned: `items` [B, L], `real` [B, L] says which places hold one. `times` [B, L + 1] are
    the items' times and, behind the last, that of the next item; None where the data have none.
    """

    def __init__(self, n_items: int, c: Any) -> None:
        super().__init__()
        self.config, self.n_items = c, n_items
        self.table = nn.Embedding(n_items + 1, c.width)  # the last row: mask, or nothing
        nn.init.normal_(self.table.weight, std=0.02)

    @abstractmethod
    def train_states(self, items: Tensor, real: Tensor, times: Tensor | None) -> tuple[Tensor, Tensor]:
        """States [n, w] to be trained, and the right items [n]."""

    @abstractmethod
    def last_states(self, items: Tensor, real: Tensor, times: Tensor | None) -> Tensor:
        """The states that predict what comes next [B, w]."""

    def item_vectors(self) -> Tensor:
        """What states are compared with, by inner product [N, w]."""
        return self.table.weight[: self.n_items]

    def loss(self, items: Tensor, real: Tensor, times: Tensor | None) -> Tensor:
        """The loss of a batch."""
        states, targets = self.train_states(items, real, times)
        if self.config.loss == "binary":
            return binary_loss(states, self.item_vectors(), targets)
        return softmax_loss(states, self.item_vectors(), targets, self.config.negatives)


class SequenceTask(nn.Module):
    """Train sequences in non-persistent buffers; rows -> loss. Each is its last max_length + 1 items."""

    items: Tensor  # [U, longest], left-aligned
    times: Tensor | None  # [U, longest]

    def __init__(self, network: SequenceNetwork, sequences: pl.DataFrame) -> None:
        super().__init__()
        self.network: Any = network
        most = network.config.max_length + 1
        sequences = sequences.filter(pl.col("items").list.len() > 1)
        lists = sequences["items"].list.tail(most)
        self.lengths = lists.list.len().to_numpy().astype(np.int64)  # [U]
        table, _ = padded(lists.to_list())
        self.register_buffer("items", table, persistent=False)
        when = None
        if is_timed(sequences):  # of a user without times, all items count as of one
            pairs = zip(lists.to_list(), sequences["times"].list.tail(most).to_list(), strict=True)
            when, _ = padded([times or [0] * len(items) for items, times in pairs])
        self.register_buffer("times", when, persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Loss of the sequences `rows` [B]."""
        lengths = torch.from_numpy(self.lengths[rows.cpu().numpy()]).to(rows.device)
        longest = int(lengths.max())
        items = self.items[rows, :longest]
        real = torch.arange(longest, device=rows.device) < lengths[:, None]
        times = None if self.times is None else self.times[rows, :longest]
        return self.network.loss(items, real, times)


def is_timed(sequences: pl.DataFrame) -> bool:
    """Are times of anybody known?"""
    return sequences["times"].null_count() < sequences.height


def padded(lists: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Lists as one left-aligned table [B, longest], zero behind their ends, and which places are real."""
    lengths = np.array([len(row) for row in lists], dtype=np.int64)
    real = np.arange(max(1, lengths.max(initial=0))) < lengths[:, None]
    table = np.zeros(real.shape, dtype=np.int64)
    table[real] = np.concatenate([np.asarray(row, np.int64) for row in lists]) if len(lists) else []
    return torch.from_numpy(table), torch.from_numpy(real)


class SequenceModel(SlateModel):
    """Base of sasrec, bert4rec and hstu. A subclass says `_new_network`."""

    seeded_fit = True
    Config: ClassVar[type[Settings]] = SequenceConfig
    Sampling: ClassVar[type[Settings]] = SequenceSampling
    network: SequenceNetwork

    @abstractmethod
    def _new_network(self, n_items: int, timed: bool) -> SequenceNetwork:
        """An untrained network over so many items; `timed`: times are known."""

    def fit(self, data: TrainData, *, seed: int = 0, evaluate: Evaluate | None = None,
            progress: Progress = no_progress) -> FitReport:  # fmt: skip
        """Train the network on the users' sequences."""
        c, self.catalog, self.features = self.config, data.catalog, data.features
        sequences = train_sequences(data, self.name)
        self.timed = is_timed(sequences)
        with seeded(seed, "init"):
            self.network = self._new_network(len(data.catalog), self.timed)
        task = SequenceTask(self.network, sequences)
        valid = evaluate and (lambda: evaluate(self.generate(data.valid_requests, data.slate_length,
                                                             sampling=SequenceSampling(decode="top"))))  # fmt: skip
        report = fit_network(
            task, len(task.lengths), c, seed=seed_of(seed, "train"), evaluate=valid, progress=progress,
            checkpoint=checkpoint_file(self, data, seed), lengths=task.lengths,
        )  # fmt: skip
        self.network.to(pick_device(c)).eval()
        return report

    @torch.inference_mode()
    def generate(self, requests: pl.DataFrame, k: int, *, samples: int = 1, seed: int = 0,
                 sampling: Settings | None = None) -> Slates:  # fmt: skip
        """Slates [P, samples, k]."""
        if self._asked(sampling).decode == "rollout":
            return Slates(np.repeat(self._rolled_out(requests, k)[:, None], samples, axis=1))
        vectors = self.network.item_vectors().cpu().numpy()

        def score(part: pl.DataFrame) -> np.ndarray:
            return inner(self._states(part["history"].to_list(), *_times(part)), vectors)

        return rank(requests, k, score, self.catalog, samples=samples)

    def _rolled_out(self, requests: pl.DataFrame, k: int) -> np.ndarray:
        """Slates [P, k] item by item: each is appended to the history, at the time of the request."""
        vectors, order = self.network.item_vectors().cpu().numpy(), self.catalog.by_popularity
        barred, histories = forbidden(requests), requests["history"].to_list()
        times, asked = _times(requests)
        items = np.full((requests.height, k), EMPTY, dtype=np.int64)
        for slot in range(min(k, len(self.catalog))):
            for rows in blocks(requests.height, len(vectors)):
                states = self._states(histories[rows], times and times[rows], asked and asked[rows])
                items[rows, slot] = top_k(inner(states, vectors), 1, order, barred[rows])[:, 0]
            for p in np.flatnonzero(items[:, slot] != EMPTY):
                item = int(items[p, slot])
                histories[p], barred[p] = [*histories[p], item], [*barred[p], item]
                had, now = (times[p], asked[p]) if times is not None and asked is not None else (None, None)
                if times is not None and had is not None:
                    times[p] = [*had, *([now] if now is not None else had[-1:])]
        return items

    def _states(
        self, histories: list[list[int]], times: list[list[int] | None] | None, asked: list[int | None] | None
    ) -> np.ndarray:
        """States [P, w] that predict what comes next; zero for an empty history, whose order is that of popularity."""
        c, N, device = self.config, len(self.catalog), next(self.network.parameters()).device
        states = np.zeros((len(histories), c.width), np.float64)
        kept = [[place for place, item in enumerate(row) if 0 <= item < N][-c.max_length :] for row in histories]
        length = np.array([len(row) for row in kept])
        by_length = np.argsort(length, kind="stable")
        for rows in np.split(by_length, range(AT_ONCE, len(by_length), AT_ONCE)):
            rows = rows[length[rows] > 0].tolist()
            if not rows:
                continue
            items, real = padded([[histories[p][place] for place in kept[p]] for p in rows])
            when = None
            if self.timed and times is not None and asked is not None:
                when, _ = padded([_known_times(times[p], asked[p], kept[p]) for p in rows])
                when = when.to(device)
            found = self.network.last_states(items.to(device), real.to(device), when)
            states[rows] = found.double().cpu().numpy().round(DECIMALS)
        return states

    def arrays(self) -> dict[str, np.ndarray]:
        """The network, and whether it was trained with times."""
        return network_arrays(self.network) | {"timed": np.array(self.timed)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `arrays` gave."""
        self.timed = bool(arrays["timed"])
        self.network = self._new_network(len(self.catalog), self.timed)
        self.network.load_state_dict(network_state(arrays))
        self.network.to(pick_device(self.config)).eval()

    def cost(self, k: int, sampling: Settings | None = None) -> dict[str, float]:
        """Trained numbers; one pass, or one for each slot."""
        passes = k if self._asked(sampling).decode == "rollout" else 1
        return {"parameters": float(sum(p.numel() for p in self.network.parameters())), "nfe": float(passes)}


def _times(requests: pl.DataFrame) -> tuple[list[list[int] | None] | None, list[int | None] | None]:
    """Times of the histories and of the requests, where the requests have such columns."""
    if "history_times" not in requests.columns:
        return None, None
    return requests["history_times"].to_list(), requests["request_time"].to_list()


def _known_times(times: list[int] | None, asked: int | None, kept: list[int]) -> list[int]:
    """Times of the items kept, and that of the request; all alike where they are unknown."""
    if times is None or len(times) <= kept[-1]:
        return [0] * (len(kept) + 1)
    found = [times[place] for place in kept]
    return [*found, found[-1] if asked is None else asked]
