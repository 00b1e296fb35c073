"""Tasks: what a request asks with, and by which metrics its answers are read.

A card names its task; whoever wants to know what a board leads with, or what a model must be able to answer, asks the
task and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import unknown_name

HEADLINE_AT = 10  # cutoff of the metrics that a board shows, where slates are long enough

Condition = Literal["prompt", "history"]


@dataclass(frozen=True)
class Task:
    """One kind of question.

    Attributes:
        name: as cards and specs say it.
        condition: what every request holds, and a model must be able to answer.
        ranked: metrics with a cutoff that a board shows unless told otherwise, the one that orders it first.
        beyond: those without a cutoff.
        floors: models that run along with every board.
        valid_requests: how many validation requests a fit is checked on, at most.
        asked: how many requests of a part a budget asks, where the part is larger; a budget that is not there: all.
        bertscore: is BERTScore measured unless told otherwise?
    """

    name: str
    condition: Condition
    ranked: tuple[str, ...]
    beyond: tuple[str, ...]
    floors: tuple[str, ...]
    valid_requests: int
    asked: Mapping[str, int]
    bertscore: bool

    def headline(self, cutoffs: Sequence[int]) -> str:
        """The metric that orders a board: at 10, or at the largest cutoff below.

        >>> PROMPT_TO_SLATE.headline([10, 5, 20]), PROMPT_TO_SLATE.headline([3])
        ('ndcg_sim_at_10', 'ndcg_sim_at_3')
        """
        return self.main_metrics(cutoffs)[0]

    def main_metrics(self, cutoffs: Sequence[int]) -> list[str]:
        """The metrics that a board shows unless told otherwise, the headline first.

        >>> HISTORY_TO_SLATE.main_metrics([10, 5])[:4]
        ['ndcg_at_10', 'recall_at_10', 'recall_at_5', 'ndcg_at_5']
        """
        k = max([cutoff for cutoff in cutoffs if cutoff <= HEADLINE_AT] or [min(cutoffs)])
        named = [name if "_at_" in name else f"{name}_at_{k}" for name in self.ranked]
        there = {f"_at_{cutoff}" for cutoff in cutoffs}
        return [*(name for name in dict.fromkeys(named) if name[name.rindex("_at_") :] in there), *self.beyond]


PROMPT_TO_SLATE = Task(
    name="prompt->slate",
    condition="prompt",
    ranked=("ndcg_sim", "ndcg", "map_sim", "map", "recall"),
    beyond=("freshness", "popularity", "coverage", "train_seen_share"),
    floors=("random", "popularity"),
    valid_requests=200,
    asked={},
    bertscore=True,
)
HISTORY_TO_SLATE = Task(
    name="history->slate",
    condition="history",
    ranked=("ndcg", "recall", "recall_at_5", "ndcg_at_5", "mrr", "ndcg_ordered", "ndcg_sim", "map_sim"),
    beyond=("popularity", "coverage", "train_seen_share"),
    floors=("random", "popularity", "markov", "item-knn"),
    valid_requests=2_000,
    asked={"smoke": 500, "standard": 5_000},
    bertscore=False,  # beside one or a few reference items it says what similarity says, at many times the cost
)
TASKS = {task.name: task for task in (PROMPT_TO_SLATE, HISTORY_TO_SLATE)}


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        UsageError: unknown name.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]
