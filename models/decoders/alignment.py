"""Preference alignment of slate decoders: a short second stage after training that sets train slates over worse ones.

    L = -log p(y+) + alpha x mean over negatives j, weighted w_j, of  preference(y+, y-_j)

    orpo   -log sigmoid(z(y+) - z(y-)),  z = log p - log(1 - p) of the mean token log-probability      (no reference)
    simpo  -log sigmoid(beta (log p(y+) - log p(y-)) - margin),  mean token log-probabilities          (no reference)
    dpo    -log sigmoid(beta (log p/p_ref (y+) - log p/p_ref (y-))),  sums; p_ref = the network before the stage

There is no feedback of users here, so y+ is a train slate itself. HiGR's three negatives (arXiv 2512.24787):

    rank        y+ in another order; only where the order of train slates means something
    interest    some items of y+ swapped for items near the prompt that no train slate of the prompt holds
    diversity   the first item of y+, then its nearest neighbours

ORPO: Hong et al., arXiv 2403.07691; DPO: Rafailov et al., arXiv 2305.18290; SimPO: Meng et al., arXiv 2405.14734.
DPO and SimPO are used with the -log p(y+) term too, so that methods differ in the preference term alone.

Shapes: B slates, J negatives of each, M slots, D levels, N items.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from ...datasets.text import composed
from ...datasets.train_data import TrainData
from ..base import FitReport, Progress, Settings
from ..nn.context import Condition
from ..semantic_ids.trie import TriePrior
from ..training.config import pick_device
from ..training.fit import fit_network
from ..training.seeds import seed_of, seeded

if TYPE_CHECKING:
    from .loss import DecodingTask

CANDIDATES = 60  # items nearest to the prompt, outside its train slates, that `interest` swaps in
METHODS = ("orpo", "dpo", "simpo")
PROBE = 128  # train slates on which the gap of log-odds is measured before and after


class AlignmentConfig(Settings):
    """How a decoder is aligned; the Config of a model that offers it inherits these."""

    alignment: Literal["none", "plain", "orpo", "dpo", "simpo"] = Field(
        "none", description="preference of the second stage; plain: as many plain steps on the same slates, a control"
    )
    alignment_steps: int = Field(100, gt=0, description="of the second stage")
    alignment_learning_rate: float = Field(3e-4, gt=0, description="of the second stage")
    alignment_weight: float = Field(1.0, gt=0, description="alpha, of the preference term")
    dpo_beta: float = Field(0.1, gt=0, description="of dpo: scale of the slates' log-probabilities")
    simpo_beta: float = Field(2.0, gt=0, description="of simpo: scale of the mean token log-probabilities")
    simpo_margin: float = Field(0.5, ge=0, description="of simpo")
    rank_weight: float = Field(
        0.0, ge=0, description="of shuffled slates as negatives; above 0 the second stage keeps the slates' order"
    )
    interest_weight: float = Field(1.0, ge=0, description="of slates with swapped items as negatives")
    diversity_weight: float = Field(1.0, ge=0, description="of a first item's near items as negatives")
    swapped: float = Field(
        0.5, gt=0, le=1, description="share of the items swapped in interest negatives; at least one"
    )

    @model_validator(mode="after")
    def _something_to_align(self) -> Self:
        if self.alignment in METHODS and not weights(self):
            raise ValueError("a negative is needed: rank_weight, interest_weight or diversity_weight above 0")
        if self.alignment != "none" and getattr(self, "devices", 1) > 1:  # a field of TrainingConfig
            raise ValueError("alignment is a second fit, and several devices are for one fit a command: devices=1")
        return self


def weights(config: Any) -> dict[str, float]:
    """The negatives in use with their weights, which sum to 1."""
    found = {name: getattr(config, f"{name}_weight") for name in ("rank", "interest", "diversity")}
    total = sum(found.values())
    return {name: weight / total for name, weight in found.items() if weight > 0}


# --- losses -------------------------------------------------------------------------------------------------


def log_odds(log_p: Tensor) -> Tensor:
    """log p - log(1 - p) in float32, exact at both ends: log(1 - p) = log(-expm1(log p)) = log1p(-p).

    Args:
        log_p: below 0.
    """
    log_p = log_p.float().clamp(max=-1e-7)
    near_one = log_p > -0.6931472
    # Each branch sees only what it is exact for: a NaN in the gradient of the other would come through `where`.
    small = torch.where(near_one, log_p, -1.0)
    large = torch.where(near_one, -1.0, log_p)
    return log_p - torch.where(near_one, (-torch.expm1(small)).log(), torch.log1p(-large.exp()))


def slate_log_prob(log_probs: Tensor, own: Tensor, mean: bool = True) -> Tensor:
    """Mean (or sum) token log-probability [...] of slates, in float32.

    Args:
        log_probs: of tokens [..., M, D].
        own: slots that count [..., M].
        mean: over slots and levels.
    """
    total = (log_probs.float() * own[..., None]).sum((-1, -2))
    return total / (own.sum(-1) * log_probs.shape[-1]).clamp(min=1) if mean else total


def preference_loss(
    config: Any, plus: Tensor, minus: Tensor, own: Tensor, reference: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """The preference term of each pair [J, B].

    Args:
        config: alignment, dpo_beta, simpo_beta, simpo_margin.
        plus: token log-probabilities of y+ [B, M, D].
        minus: of the negatives [J, B, M, D].
        own: slots that count [B, M].
        reference: `plus` and `minus` under the reference network; for dpo.
    """
    mean = config.alignment != "dpo"
    up, down = slate_log_prob(plus, own, mean), slate_log_prob(minus, own, mean)
    if config.alignment == "orpo":
        return -F.logsigmoid(log_odds(up) - log_odds(down))
    if config.alignment == "simpo":
        return -F.logsigmoid(config.simpo_beta * (up - down) - config.simpo_margin)
    assert reference is not None
    up_then, down_then = (slate_log_prob(then, own, mean) for then in reference)
    return -F.logsigmoid(config.dpo_beta * ((up - up_then) - (down - down_then)))


# --- negatives ----------------------------------------------------------------------------------------------


def shuffled(items: Tensor, own: Tensor) -> Tensor:
    """The own items of each slate in a random order [B, M]."""
    turn = torch.where(own, torch.rand(items.shape, device=items.device), 2.0).argsort(dim=1, stable=True)
    return items.gather(1, turn)


def swapped(items: Tensor, own: Tensor, candidates: Tensor, share: float) -> Tensor:
    """A share of the own items, at least one, swapped for different candidates, drawn at random [B, M].

    Args:
        items: [B, M].
        own: slots of real items, the first of each row [B, M].
        candidates: that may come in, none of them in the slate [B, C]; -1 = none.
        share: of the own items.
    """
    count = own.sum(1, keepdim=True)
    wanted = (share * count).round().clamp(min=1)
    turn = torch.where(own, torch.rand(items.shape, device=items.device), 2.0).argsort(dim=1).argsort(dim=1)
    draw = torch.where(candidates >= 0, torch.rand(candidates.shape, device=items.device), 2.0).argsort(dim=1)
    new = F.pad(candidates.gather(1, draw), (0, max(0, items.shape[1] - candidates.shape[1])), value=-1)
    new = new.gather(1, turn)  # the slot that is swapped first takes the first candidate
    return torch.where(own & (turn < wanted) & (new >= 0), new, items)


def echoed(items: Tensor, own: Tensor, vectors: Tensor) -> Tensor:
    """The first item and, in the other own slots, the items nearest to it, nearest first [B, M].

    Args:
        items: [B, M].
        own: slots of real items, the first of each row [B, M].
        vectors: of the catalogue [N, d].
    """
    first = items[:, :1]
    close = (vectors[first[:, 0]] @ vectors.T).scatter(1, first, -torch.inf)
    near = close.topk(min(items.shape[1], len(vectors)) - 1, dim=1).indices
    echo = torch.cat([first, near, items[:, 1 + near.shape[1] :]], dim=1)
    return torch.where(own, echo, items)


class PromptItems(nn.Module):
    """The train items of each prompt (any case), so that a hard negative is none of them."""

    prompt: Tensor  # of each train slate [n]
    items: Tensor  # of all prompts, one after the other
    start: Tensor  # of each prompt's items
    size: Tensor

    def __init__(self, prompts: list[str], slates: list[list[int]]) -> None:
        super().__init__()
        names = [composed(prompt).strip().casefold() for prompt in prompts]
        of: dict[str, set[int]] = {}
        for name, slate in zip(names, slates, strict=True):
            of.setdefault(name, set()).update(slate)
        number = {name: row for row, name in enumerate(of)}
        size = torch.tensor([len(items) for items in of.values()])
        for name, buffer in {
            "prompt": torch.tensor([number[name] for name in names]),
            "items": torch.tensor([item for items in of.values() for item in sorted(items)]),
            "start": size.cumsum(0) - size,
            "size": size,
        }.items():
            self.register_buffer(name, buffer, persistent=False)

    def near(self, rows: Tensor, scores: Tensor, count: int) -> Tensor:
        """The `count` items of largest score [B, C] that no train slate of the row's prompt holds; -1 = none left.

        Args:
            rows: train slates [B].
            scores: of all items for their prompts [B, N].
            count: C, or N where that is less.
        """
        prompt = self.prompt[rows]
        size = self.size[prompt]
        row = torch.arange(len(rows), device=rows.device).repeat_interleave(size)
        at = torch.arange(len(row), device=rows.device) - (size.cumsum(0) - size)[row] + self.start[prompt][row]
        free = scores.index_put((row, self.items[at]), scores.new_tensor(-torch.inf))
        best = free.topk(min(count, scores.shape[1]), dim=1)
        return torch.where(best.values.isneginf(), -1, best.indices)


# --- the second stage ---------------------------------------------------------------------------------------


@dataclass
class Pairs:
    """Train slates and their negatives, with what they are conditioned on."""

    positive: Tensor  # [B, M]
    negatives: Tensor  # [J, B, M]
    own: Tensor  # slots of real items, the first of each row [B, M]
    offset: Tensor  # first slot of each slate [B]
    condition: Condition
    prior: TriePrior | None


class AlignmentTask(nn.Module):
    """Rows of train slates -> the plain loss and, beside it, the preference for the slates over their negatives."""

    def __init__(self, plain: DecodingTask, data: TrainData) -> None:
        super().__init__()
        self.plain, self.config, self.weights = plain, plain.config, weights(plain.config)
        plain.ordered = "rank" in self.weights
        slates = [seeds + items for seeds, items in data.slates.select("seed_items", "items").iter_rows()]
        self.known = PromptItems(data.slates["prompt"].to_list(), slates)
        self.reference: nn.Module | None = None
        if self.config.alignment == "dpo":
            self.reference = copy.deepcopy(plain.network).requires_grad_(False)

    def forward(self, rows: Tensor) -> Tensor:
        """The loss of a step."""
        c, network, B = self.config, cast(Any, self.plain.network), len(rows)
        items, real, offset, condition = self.plain.examples(rows)
        with torch.no_grad():  # the prior stays what it is, also for the reference
            prior = self.plain.retrieval(condition)
        found = self.plain.log_probs(network, items, offset, condition, prior)
        loss = -found[real].mean()
        if c.alignment == "plain":
            return loss
        pairs = self.pairs(rows, items, offset, condition, prior)
        plus, minus = found[:B, : pairs.own.shape[1]], self.log_probs(network, pairs.negatives, pairs)
        reference = None
        if self.reference is not None:
            with torch.no_grad():
                then = self.log_probs(self.reference.eval(), torch.cat([pairs.positive[None], pairs.negatives]), pairs)
            reference = then[0], then[1:]
        each = preference_loss(c, plus, minus, pairs.own, reference).mean(1)  # [J]
        return loss + c.alignment_weight * (each * each.new_tensor(list(self.weights.values()))).sum()

    def pairs(
        self, rows: Tensor, items: Tensor, offset: Tensor, condition: Condition, prior: TriePrior | None
    ) -> Pairs:
        """Negatives of the examples of `rows` (what else is behind them, catalogue pairs, has none)."""
        plain, B = self.plain, len(rows)
        count = (plain.lengths[rows] - condition.seed_mask[:B].sum(1)).clamp(max=plain.longest)
        M = int(count.max())
        items, own = items[:B, :M], torch.arange(M, device=rows.device) < count[:, None]
        negatives = []
        for name in self.weights:
            if name == "rank":
                negatives.append(shuffled(items, own))
            elif name == "interest":
                near = self.known.near(rows, condition.pooled[:B] @ plain.ids.texts.T, CANDIDATES)
                negatives.append(swapped(items, own, near, self.config.swapped))
            else:
                negatives.append(echoed(items, own, plain.vectors))
        return Pairs(items, torch.stack(negatives), own, offset[:B], condition, prior)

    def log_probs(self, network: Any, slates: Tensor, pairs: Pairs) -> Tensor:
        """Token log-probabilities [J, B, M, D] of slates [J, B, M] that share the condition of `pairs`."""
        J, B, _ = slates.shape
        row = torch.arange(B, device=slates.device).repeat(J)
        condition = pairs.condition.take(row)
        prior = None if pairs.prior is None else pairs.prior.take(row)
        found = self.plain.log_probs(network, slates.flatten(0, 1), pairs.offset[row], condition, prior)
        return found.unflatten(0, (J, B))

    @torch.no_grad()
    def gaps(self, seed: int) -> dict[str, float]:
        """Mean of z(y+) - z(y-) by negative, over the same train slates at every call with this seed."""
        plain, training = self.plain, self.training
        if not self.weights:
            return {}
        self.eval()
        with seeded(seed, "probe"):
            rows = torch.randperm(len(plain.slates))[:PROBE].to(plain.slates.device)
            items, _, offset, condition = plain.examples(rows)
            pairs = self.pairs(rows, items, offset, condition, plain.retrieval(condition))
        found = self.log_probs(plain.network, torch.cat([pairs.positive[None], pairs.negatives]), pairs)
        z = log_odds(slate_log_prob(found, pairs.own))  # [1 + J, B]
        self.train(training)
        return {name: float((z[0] - z[1 + j]).mean()) for j, name in enumerate(self.weights)}


def align(
    plain: DecodingTask,
    data: TrainData,
    first: FitReport,
    *,
    seed: int,
    evaluate: Callable[[], float] | None,
    progress: Progress,
    checkpoint: Path | None,
) -> FitReport:
    """The second stage, on a network that `fit_network` has trained: `alignment_steps` more steps.

    Args:
        plain: the task of the first stage; its config says what to do.
        data: of both stages.
        first: what the first stage reported.
        seed: of the fit.
        evaluate: see `fit_network`.
        progress: told the steps of both stages together.
        checkpoint: of the first stage; this one's lies beside it.

    Returns:
        Report of both; health has the gap of log-odds between slates and negatives, by negative, before and after.
    """
    c, done = plain.config, int(first.notes["steps"])
    task = AlignmentTask(plain, data)
    task.to(pick_device(c))
    before = task.gaps(seed)
    own = {"max_steps": c.alignment_steps, "learning_rate": c.alignment_learning_rate,
           "warmup_steps": min(c.warmup_steps, c.alignment_steps // 10)}  # fmt: skip
    second = fit_network(
        task,
        data.slates.height,
        c.model_copy(update=own),
        seed=seed_of(seed, "align"),
        evaluate=evaluate,
        progress=later_part(progress, done, c.alignment_steps),
        checkpoint=checkpoint and checkpoint.with_name(f"{checkpoint.stem}-alignment.ckpt"),
    )
    task.to(pick_device(c))
    after = task.gaps(seed)
    for name, curve in second.curves.items():
        first.curves.setdefault(name, []).extend((done + step, value) for step, value in curve)
    for name in task.weights:
        first.health |= {f"log_odds_gap_{name}_before": before[name], f"log_odds_gap_{name}": after[name]}
    first.notes |= {"steps": done + second.notes["steps"], "alignment_steps": second.notes["steps"]}
    if second.notes["resumed_at_step"]:
        first.notes["resumed_at_step"] = done + second.notes["resumed_at_step"]
    if "best_step" in second.notes:
        first.notes |= {"best_step": done + second.notes["best_step"], "best_valid": second.notes["best_valid"]}
    if plain.ordered:
        first.notes["order"] = "rank negatives: the order of the train slates was taken for a ranking"
    return replace(first, state=second.state)


def later_part(progress: Progress, done: int, more: int) -> Progress:
    """A Progress of the last `more` steps, after `done` others."""
    return lambda step, total, message="": progress(done + step, done + more, message)
