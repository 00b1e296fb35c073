"""The one training path of all neural models.

A model hands in a task, a `torch.nn.Module` that holds its network and its train data and whose forward is
`rows [B] -> loss`. Lightning does the rest: device, precision, strategy, clipping, optimiser and schedule. It is
imported only inside `fit_network`, because its import takes seconds.

What the fit does at a step hangs on (seed, step) alone: the rows and, through torch's generator which is seeded anew
at every step, noise and dropout. So a run that was killed goes on from its checkpoint to the same weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...datasets.train_data import TrainData
from ..base import FitReport, Progress, SlateModel, no_progress
from .config import TrainingConfig, pick_device


def checkpoint_file(model: SlateModel, data: TrainData, seed: int) -> Path | None:
    """Where this very fit (model, config, data, seed) keeps its checkpoint; None if the caller set no folder."""
    if model.checkpoint_folder is None:
        return None
    what = [model.name, model.version, model.config.model_dump(mode="json"), data.fingerprint, seed]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
    return model.checkpoint_folder / f"{model.name}-{digest}.ckpt"


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
    lengths: np.ndarray | None = None,
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
        lengths: of the rows [n_rows]; a step's rows are then of like length, and every row comes once an epoch.

    Returns:
        Report with the curves `loss`, `learning_rate` and `valid`; `state` is `diverged` where the loss stopped being
        a number or grew out of all proportion.
    """
    if _stopped.get():
        raise BeforeTraining(task)
    with _quiet_lightning(), torch.random.fork_rng(), tempfile.TemporaryDirectory() as scratch:
        from pytorch_lightning import Trainer

        from .lightning import Endless, TrainingModule, Watch

        watch = Watch(task, config, evaluate, progress, checkpoint)
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
            trainer.fit(
                TrainingModule(task, n_rows, config, seed, lengths), Endless(), ckpt_path=resume, weights_only=True
            )
        except SystemExit:
            if trainer.interrupted:  # Lightning makes Ctrl-C an exit of its own and ignores every later one
                signal.signal(signal.SIGINT, on_interrupt)
                raise KeyboardInterrupt from None
            raise
        if trainer.global_rank > 0:  # ddp started the same command once more per device: only the first goes on
            raise SystemExit(0)
        watch.finish()
    return watch.report()
