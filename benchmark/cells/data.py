"""The data of a cell: dataset, features, evaluation space, loaded once for all cells of a process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from ...datasets.build import asked_as
from ...datasets.health import text_health
from ...datasets.identity import load_known
from ...datasets.registry import dataset_card, find_dataset
from ...datasets.schema import PartName, Repeats, SlateDataset
from ...datasets.tasks import task_named
from ...datasets.vectors.evaluation import EvaluationSpace, evaluation_embedding
from ...datasets.vectors.features import Features, make_features
from ...datasets.vectors.text_encoder import unit_rows
from ...metrics.base import Truth, make_truth
from ...metrics.bertscore import SlateBertScore
from .cell import Cell


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset with what is computed from it once and used by every cell.

    Attributes:
        dataset: all of it: what is fitted on, and checked on while fitting.
        asked: the same with the requests that a cell asks.
    """

    dataset: SlateDataset
    asked: SlateDataset
    features: Features
    space: EvaluationSpace
    notice: str | None

    @cached_property
    def text_health(self) -> dict[str, float]:
        """How much of the texts nothing can use."""
        return text_health(self.dataset, self.space, self.features.text_encoder)

    def bertscore(self, model: str) -> SlateBertScore:
        """What measures BERTScore with `model`, its token vectors kept for the next cells."""
        return _bertscore(self, model)

    def truth(self, part: PartName, keep: set[str] | None = None) -> Truth:
        """What the metrics know of the requests asked of a part (or of the requests `keep` of all of it)."""
        return _truth(self, part, frozenset(keep) if keep is not None else None)


@lru_cache(maxsize=2)
def _bertscore(data: Data, model: str) -> SlateBertScore:
    return SlateBertScore(data.dataset.catalog.texts, model=model)


@lru_cache(maxsize=8)
def _truth(data: Data, part: PartName, keep: frozenset[str] | None) -> Truth:
    dataset = data.asked if keep is None else data.dataset
    spaces = {"evaluation": data.space.vectors, "model": unit_rows(data.features.items())}
    truth_part = dataset.part(part)
    if keep is not None:
        truth_part = truth_part.only(keep)
    return make_truth(truth_part, dataset.catalog, spaces, ordered=dataset.ordered)


def load_data(cell: Cell) -> Data:
    """Dataset, features and evaluation space of a cell (kept for the next cells of this process)."""
    usual = task_named(dataset_card(cell.dataset).task).asked.get(cell.budget)
    asked = usual if cell.requests is None else None if cell.requests == "all" else cell.requests
    return _load_data(
        cell.dataset, cell.source, cell.split_seed, cell.train_share, cell.encoder, cell.item_vectors, cell.repeats,
        asked,
    )  # fmt: skip


@lru_cache(maxsize=2)
def _load_data(
    name: str, source: Any, split_seed: int, train_share: float, encoder: str | None, item_vectors: str | None,
    repeats: Repeats, asked: int | None,
) -> Data:  # fmt: skip
    found = find_dataset(name, source)
    dataset = load_known(found, split_seed=split_seed, train_share=train_share)
    thinned = f"learnt from {train_share:.3g} of the train slates ({len(dataset.train):,})" if train_share < 1 else None
    notice = "; ".join(filter(None, [found.notice, thinned])) or None
    features = make_features(dataset, encoder=encoder, item_vectors=item_vectors)
    space = evaluation_embedding(dataset)
    whole = asked_as(dataset, repeats, None)
    return Data(whole, asked_as(whole, repeats, asked), features, space, notice)


def cutoffs_of(dataset: SlateDataset, k: int) -> list[int]:
    """Cut-offs of the metrics: the card's, none longer than the slate, and the whole slate."""
    shorter = [c for c in dataset.card.cutoffs if c <= k]
    return shorter if k in shorter else [*shorter, k]
