"""The one training path of all neural models.

A model hands in a task, a `torch.nn.Module` that holds its network and its train data and whose forward is
`rows [B] -> loss`. Lightning does the rest: device, precision, strategy, clipping, optimiser and schedule. It is
imported only here, inside `fit_network`, because its import takes seconds.

What the fit does at a step hangs on (seed, step) alone: the rows and, through torch's generator which is seeded anew
at every step, noise and dropout. So a run that was killed goes on from its checkpoint to the same weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ...datasets.schema import TrainData
from ..base import FitReport, Progress, Settings, SlateModel, no_progress
from .ema import EMA

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningModule

CURVE_POINTS = 100  # of the loss curve; also how often the loss is read and looked at
CHECKPOINTS = 20  # written over a whole fit
FLOOR = 0.05  # share of the learning rate at the end of the cosine
DIVERGED = 1e3  # times the loss at the start


class TrainingConfig(Settings):
    """How a network is trained; the Config of a neural model inherits these."""

    learning_rate: float = Field(2e-3, gt=0, description="of AdamW, after warm-up; falls along a cosine to 5 %")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW, on matrices only")
    beta2: float = Field(0.99, gt=0, lt=1, description="of AdamW: memory of the squared gradient")
    batch_size: int = Field(96, gt=0, description="slates per step")
    max_steps: int = Field(2000, gt=0, description="optimiser steps")
    warmup_steps: int = Field(50, ge=0, description="steps of linear warm-up")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights, which are what is kept")
    check_every: int = Field(250, gt=0, description="steps between two checks on the validation requests")
    patience: int = Field(0, ge=0, description="checks without improvement before stopping; 0: no checks, to the end")
    precision: Literal["32", "bf16"] = Field("32", description="of training")
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="of training; auto: a GPU where there is one")
    devices: int = Field(1, gt=0, description="processes of data-parallel training; more than one: one fit a command")
    strategy: Literal["auto", "ddp"] = Field("auto", description="Lightning's strategy")


def seed_of(seed: int, *names: object) -> int:
    """A seed derived by name: what one part draws never hangs on the order of the parts."""
    return int.from_bytes(hashlib.sha256("|".join(map(str, (seed, *names))).encode()).digest()[:7])


@contextmanager
def seeded(seed: int, *names: object) -> Iterator[None]:
    """Inside, torch draws from `seed_of(seed, *names)`; afterwards its generators are as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, *names))
        yield


def rows_of_step(step: int, batch_size: int, n_rows: int, seed: int) -> np.ndarray:
    """Train rows of a step, int64 [batch_size]: all rows in a new order each epoch, epochs joined without a gap."""
    first = step * batch_size
    epochs = range(first // n_rows, (first + batch_size - 1) // n_rows + 1)
    order = [np.random.default_rng(seed_of(seed, "epoch", epoch)).permutation(n_rows) for epoch in epochs]
    return np.concatenate(order)[first - epochs[0] * n_rows :][:batch_size]


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then a cosine down to FLOOR at the last step."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def pick_device(config: TrainingConfig) -> torch.device:
    """Where the network works, in training and afterwards."""
    gpu = config.device == "gpu" or (config.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if gpu else "cpu")


def checkpoint_file(model: SlateModel, data: TrainData, seed: int) -> Path | None:
    """Where this very fit (model, config, data, seed) keeps its checkpoint; None if the caller set no folder."""
    if model.checkpoint_folder is None:
        return None
    what = [model.name, model.version, model.config.model_dump(mode="json"), data.fingerprint, seed]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
    return model.checkpoint_folder / f"{model.name}-{digest}.ckpt"


class BeforeTraining(Exception):
    """Raised by `fit_network` inside `stop_before_training`; `task` holds the network as it would be trained."""

    def __init__(self, task: nn.Module) -> None:
        super().__init__("stopped before training")
        self.task = task


_stopped: ContextVar[bool] = ContextVar("stopped", default=False)


@contextmanager
def stop_before_training() -> Iterator[None]:
    """Inside, a fit raises `BeforeTraining` instead of training its network."""
    token = _stopped.set(True)
    try:
        yield
    finally:
        _stopped.reset(token)


def fit_network(
    task: nn.Module,
    n_rows: int,
    config: TrainingConfig,
    *,
    seed: int,
    evaluate: Callable[[], float] | None = None,
    progress: Progress = no_progress,
    checkpoint: Path | None = None,
) -> FitReport:
    """Train `task` in place; it ends in eval mode with the averaged weights of the best check, or of the last step.

    Args:
        task: forward: rows, int64 [B] -> scalar loss. Its train data are non-persistent buffers.
        n_rows: of the train data.
        config: steps, optimiser, precision, device.
        seed: of data order, noise and dropout (initialisation is the caller's: see `seeded`).
        evaluate: validation metric of the network as it is at the time (higher is better); used if `patience` > 0.
        progress: told the step and the loss.
        checkpoint: written now and then, and taken up where it exists. The caller removes it.

    Returns:
        Report with the curves `loss`, `learning_rate` and `valid`; `state` is `diverged` where the loss stopped being
        a number or grew out of all proportion.
    """
    if _stopped.get():
        raise BeforeTraining(task)
    with _quiet_lightning(), torch.random.fork_rng(), tempfile.TemporaryDirectory() as scratch:
        from pytorch_lightning import Trainer

        module, watch = _lightning(task, n_rows, config, seed, evaluate, progress, checkpoint)
        trainer = Trainer(
            accelerator=pick_device(config).type,
            devices=config.devices,
            strategy=config.strategy,
            precision="bf16-mixed" if config.precision == "bf16" else "32-true",
            max_steps=config.max_steps,
            gradient_clip_val=config.clip,
            callbacks=[watch],
            logger=False,
            enable_checkpointing=False,  # `watch` writes them: beside, then renamed
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=scratch,
        )
        resume = checkpoint if checkpoint is not None and checkpoint.exists() else None
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, _Endless(), ckpt_path=resume, weights_only=True)
        except SystemExit:
            if trainer.interrupted:  # Lightning makes Ctrl-C an exit of its own and ignores every later one
                signal.signal(signal.SIGINT, on_interrupt)
                raise KeyboardInterrupt from None
            raise
        if trainer.global_rank > 0:  # ddp started the same command once more per device: only the first goes on
            raise SystemExit(0)
        watch.finish()  # type: ignore[attr-defined]
    return watch.report()  # type: ignore[attr-defined]


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
