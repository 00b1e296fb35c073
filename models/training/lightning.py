"""What Lightning is handed: the module with its loss and optimiser, and the callback that watches over a fit.

Imported when a fit starts (`fit_network`), because the import of Lightning takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ..base import FitReport, Progress
from .config import TrainingConfig, learning_rate_factor
from .ema import EMA
from .seeds import bucketed_rows, rows_of_step, seed_of

CURVE_POINTS = 100  # of the loss curve; also how often the loss is read and looked at
CHECKPOINTS = 20  # written over a whole fit
DIVERGED = 1e3  # times the loss at the start


class Endless:
    """A loader without content: the rows of a step are worked out from its number."""

    def __iter__(self) -> Iterator[int]:
        return count()


class TrainingModule(pl.LightningModule):
    """A task with its optimiser: what a step does hangs on (seed, step) alone."""

    def __init__(
        self, task: nn.Module, n_rows: int, config: TrainingConfig, seed: int, lengths: np.ndarray | None = None
    ) -> None:
        super().__init__()
        self.task, self.n_rows, self.config, self.seed, self.lengths = task, n_rows, config, seed, lengths

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of the step's rows; with several processes, of this one's share of them."""
        step, rank, ranks = self.global_step, self.global_rank, self.trainer.world_size
        torch.manual_seed(seed_of(self.seed, "step", step, rank))
        if self.lengths is None:
            rows = rows_of_step(step, self.config.batch_size, self.n_rows, self.seed)[rank::ranks]
        else:
            rows = bucketed_rows(step, self.config.batch_size, self.lengths, self.seed)[rank::ranks]
        return self.task(torch.from_numpy(rows.copy()).to(self.device))

    def configure_optimizers(self) -> Any:
        """AdamW, matrices alone decayed, under the schedule of `learning_rate_factor`."""
        config = self.config
        parameters = [p for p in self.task.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        fused = config.precision == "32"  # Lightning can't clip under mixed precision where it is fused
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), fused=fused)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, config))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Watch(pl.Callback):
    """Average of the weights, curves, checks with early stop, divergence, checkpoints."""

    def __init__(
        self,
        task: nn.Module,
        config: TrainingConfig,
        evaluate: Callable[[], float] | None,
        progress: Progress,
        checkpoint: Path | None,
    ) -> None:
        self.task, self.config, self.evaluate = task, config, evaluate
        self.progress, self.checkpoint = progress, checkpoint
        self.ema = EMA(task, config.ema)
        self.window = max(1, config.max_steps // CURVE_POINTS)
        self.curves: dict[str, list[tuple[int, float]]] = {"loss": [], "learning_rate": [], "valid": []}
        self.losses: list[Tensor] = []  # of the present window
        self.best: dict[str, Any] | None = None  # {"step", "value", "average"}
        self.worse, self.steps, self.resumed, self.diverged = 0, 0, 0, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The average goes where the weights are."""
        self.ema.average = [a.to(p.device) for a, p in zip(self.ema.average, self.ema.parameters, strict=True)]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        """Average, and now and then: read the loss, check, save."""
        self.steps = step = trainer.global_step
        self.ema.update()
        self.losses.append(outputs["loss"].detach())
        last = step >= self.config.max_steps
        check = self.evaluate is not None and self.config.patience > 0 and (step % self.config.check_every == 0 or last)
        if step % self.window == 0 or check or last:
            self._look(trainer, step)
        if check and not self.diverged:
            self._check(trainer, step)
        save = step % (self.window * (CURVE_POINTS // CHECKPOINTS)) == 0 or last
        if self.checkpoint is not None and save and not trainer.should_stop:
            self._save(trainer, self.checkpoint)

    def _look(self, trainer: pl.Trainer, step: int) -> None:
        loss = float(trainer.strategy.reduce(torch.stack(self.losses).mean(), reduce_op="mean"))
        self.losses = []
        self.curves["loss"].append((step, loss))
        self.curves["learning_rate"].append((step, float(trainer.optimizers[0].param_groups[0]["lr"])))
        self.progress(step, self.config.max_steps, f"loss {loss:.4f}")
        if not math.isfinite(loss) or abs(loss) > DIVERGED * max(1.0, abs(self.curves["loss"][0][1])):
            self.diverged = trainer.should_stop = True

    def _check(self, trainer: pl.Trainer, step: int) -> None:
        assert self.evaluate is not None
        value = 0.0
        if trainer.is_global_zero:
            with self.ema.applied():
                self.task.eval()
                value = float(self.evaluate())
                self.task.train()
        value = trainer.strategy.broadcast(value)
        self.curves["valid"].append((step, value))
        self.progress(step, self.config.max_steps, f"validation {value:.4f}")
        if self.best is None or value > self.best["value"]:
            self.best = {"step": step, "value": value, "average": self.ema.state()["average"]}
            self.worse = 0
        else:
            self.worse += 1
            trainer.should_stop = self.worse >= self.config.patience

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".tmp")
        trainer.save_checkpoint(beside)
        if trainer.is_global_zero:
            beside.replace(path)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the fit so far."""
        return {
            "ema": self.ema.state(),
            "curves": self.curves,
            "best": self.best,
            "worse": self.worse,
            "steps": self.steps,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.ema.restore(state_dict["ema"])
        self.curves, self.best, self.worse = state_dict["curves"], state_dict["best"], state_dict["worse"]
        self.steps = self.resumed = state_dict["steps"]

    def finish(self) -> None:
        """The averaged weights, of the best check if there was one, become the task's."""
        if self.best is not None:
            self.ema.restore({"updates": self.ema.updates, "average": self.best["average"]})
        self.ema.average = [a.to(p.device) for a, p in zip(self.ema.average, self.ema.parameters, strict=True)]
        self.ema.swap()
        self.task.eval()

    def report(self) -> FitReport:
        """What the fit did."""
        notes: dict[str, Any] = {
            "steps": self.steps,
            "resumed_at_step": self.resumed,
            "parameters": sum(p.numel() for p in self.ema.parameters),
        }
        if self.best is not None:
            notes |= {"best_step": self.best["step"], "best_valid": self.best["value"]}
        curves = {name: [(int(s), float(v)) for s, v in curve] for name, curve in self.curves.items() if curve}
        return FitReport("diverged" if self.diverged else "done", curves, notes=notes)
