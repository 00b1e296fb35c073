"""The Lightning side of training, imported when a fit starts."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..base import FitReport, Progress
from .config import TrainingConfig, learning_rate_factor
from .ema import EMA
from .seeds import rows_of_step, seed_of

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningModule


CURVE_POINTS = 100  # of the loss curve; also how often the loss is read and looked at


CHECKPOINTS = 20  # written over a whole fit


DIVERGED = 1e3  # times the loss at the start


class _Endless:
    """A loader without content: the rows of a step are worked out from its number."""

    def __iter__(self) -> Iterator[int]:
        return count()


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's advice about loaders, loggers and devices."""
    import pytorch_lightning  # noqa: F401  (sets its own log levels when first imported)

    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_)?lightning.*")
        warnings.filterwarnings("ignore", message=r".*(lightning|`isinstance\(treespec, LeafSpec\)`).*")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _lightning(
    task: nn.Module,
    n_rows: int,
    config: TrainingConfig,
    seed: int,
    evaluate: Callable[[], float] | None,
    progress: Progress,
    checkpoint: Path | None,
) -> tuple[LightningModule, Callback]:
    """The LightningModule (loss and optimiser) and the callback that watches over it; made here: lazy import."""
    import pytorch_lightning as pl

    ema = EMA(task, config.ema)
    window = max(1, config.max_steps // CURVE_POINTS)
    save_every = window * (CURVE_POINTS // CHECKPOINTS)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.task = task

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            step, rank, ranks = self.global_step, self.global_rank, self.trainer.world_size
            torch.manual_seed(seed_of(seed, "step", step, rank))
            rows = rows_of_step(step, config.batch_size, n_rows, seed)[rank::ranks]
            return self.task(torch.from_numpy(rows.copy()).to(self.device))

        def configure_optimizers(self) -> Any:
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

        def __init__(self) -> None:
            self.curves: dict[str, list[tuple[int, float]]] = {"loss": [], "learning_rate": [], "valid": []}
            self.losses: list[Tensor] = []  # of the present window
            self.best: dict[str, Any] | None = None  # {"step", "value", "average"}
            self.worse, self.steps, self.resumed, self.diverged = 0, 0, 0, False

        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            ema.average = [a.to(p.device) for a, p in zip(ema.average, ema.parameters, strict=True)]

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
            self.steps = step = trainer.global_step
            ema.update()
            self.losses.append(outputs["loss"].detach())
            last = step >= config.max_steps
            check = evaluate is not None and config.patience > 0 and (step % config.check_every == 0 or last)
            if step % window == 0 or check or last:
                self._look(trainer, step)
            if check and not self.diverged:
                self._check(trainer, step)
            if checkpoint is not None and not trainer.should_stop and (step % save_every == 0 or last):
                self._save(trainer, checkpoint)

        def _look(self, trainer: pl.Trainer, step: int) -> None:
            loss = float(trainer.strategy.reduce(torch.stack(self.losses).mean(), reduce_op="mean"))
            self.losses = []
            self.curves["loss"].append((step, loss))
            self.curves["learning_rate"].append((step, float(trainer.optimizers[0].param_groups[0]["lr"])))
            progress(step, config.max_steps, f"loss {loss:.4f}")
            if not math.isfinite(loss) or abs(loss) > DIVERGED * max(1.0, abs(self.curves["loss"][0][1])):
                self.diverged = trainer.should_stop = True

        def _check(self, trainer: pl.Trainer, step: int) -> None:
            assert evaluate is not None
            value = 0.0
            if trainer.is_global_zero:
                with ema.applied():
                    task.eval()
                    value = float(evaluate())
                    task.train()
            value = trainer.strategy.broadcast(value)
            self.curves["valid"].append((step, value))
            progress(step, config.max_steps, f"validation {value:.4f}")
            if self.best is None or value > self.best["value"]:
                self.best = {"step": step, "value": value, "average": ema.state()["average"]}
                self.worse = 0
            else:
                self.worse += 1
                trainer.should_stop = self.worse >= config.patience

        def _save(self, trainer: pl.Trainer, path: Path) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(".tmp")
            trainer.save_checkpoint(beside)
            if trainer.is_global_zero:
                beside.replace(path)

        def state_dict(self) -> dict[str, Any]:
            return {
                "ema": ema.state(),
                "curves": self.curves,
                "best": self.best,
                "worse": self.worse,
                "steps": self.steps,
            }

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            ema.restore(state_dict["ema"])
            self.curves, self.best, self.worse = state_dict["curves"], state_dict["best"], state_dict["worse"]
            self.steps = self.resumed = state_dict["steps"]

        def finish(self) -> None:
            """The averaged weights, of the best check if there was one, become the task's."""
            if self.best is not None:
                ema.restore({"updates": ema.updates, "average": self.best["average"]})
            ema.average = [a.to(p.device) for a, p in zip(ema.average, ema.parameters, strict=True)]
            ema.swap()
            task.eval()

        def report(self) -> FitReport:
            notes: dict[str, Any] = {
                "steps": self.steps,
                "resumed_at_step": self.resumed,
                "parameters": sum(p.numel() for p in ema.parameters),
            }
            if self.best is not None:
                notes |= {"best_step": self.best["step"], "best_valid": self.best["value"]}
            curves = {name: [(int(s), float(v)) for s, v in curve] for name, curve in self.curves.items() if curve}
            return FitReport("diverged" if self.diverged else "done", curves, notes=notes)

    return Module(), Watch()
