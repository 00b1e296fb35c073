import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from slatebench.models.base import FitReport
from slatebench.models.training.config import TrainingConfig, learning_rate_factor
from slatebench.models.training.fit import fit_network
from slatebench.models.training.seeds import rows_of_step, seed_of, seeded


class Quadratic(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.w = nn.Parameter(torch.full((3, 3), 2.0))
        self.scale, self.seen = scale, []

    def forward(self, rows):
        self.seen.append(rows.tolist())
        return self.scale * self.w.pow(2).sum()


def config(**values):
    return TrainingConfig(**{"max_steps": 40, "batch_size": 4, "warmup_steps": 4, "device": "cpu", **values})


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_every_epoch_holds_every_row_once(n_rows, batch_size, seed):
    steps = -(-3 * n_rows // batch_size)
    flat = np.concatenate([rows_of_step(s, batch_size, n_rows, seed) for s in range(steps)])
    assert all((np.sort(epoch) == np.arange(n_rows)).all() for epoch in flat[: 3 * n_rows].reshape(3, n_rows))


def test_learning_rate_warms_up_and_falls_to_five_percent():
    c = config(max_steps=100, warmup_steps=10)
    factors = [learning_rate_factor(s, c) for s in range(101)]
    assert factors[0] == 0.1 and factors[9] == factors[10] == 1.0 and factors[100] == pytest.approx(0.05)
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_seeds_by_name_and_torch_left_as_it_was():
    assert len({seed_of(0, "a"), seed_of(0, "b"), seed_of(1, "a"), seed_of(0, "a", 1)}) == 4
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(0, "x"):
        torch.rand(7)
    assert torch.equal(torch.rand(3), expected)


def test_fit_learns_reports_and_leaves_no_litter(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    told = []
    task = Quadratic()
    torch.manual_seed(9)
    before = torch.get_rng_state()
    report = fit_network(task, 10, config(learning_rate=0.05, ema=0.5), seed=0, progress=lambda *a: told.append(a))
    assert torch.equal(torch.get_rng_state(), before)
    assert report.state == "done" and report.notes["steps"] == 40 and report.notes["parameters"] == 9
    losses = [value for _, value in report.curves["loss"]]
    assert losses[0] == pytest.approx(36.0) and losses[-1] < 10
    assert told[-1][:2] == (40, 40) and report.curves["loss"][-1][0] == 40
    assert task.seen == [rows_of_step(s, 4, 10, 0).tolist() for s in range(40)]
    assert list(tmp_path.iterdir()) == [] and "".join(capfd.readouterr()) == ""
    assert not task.training


@pytest.mark.parametrize("scale", [float("nan"), 1e30])
def test_divergence_is_seen_and_stops(scale):
    class Bad(Quadratic):
        def forward(self, rows):
            loss = super().forward(rows)
            return loss * scale if len(self.seen) > 12 else loss

    task = Bad()
    report = fit_network(task, 10, config(), seed=0)
    assert report.state == "diverged" and report.notes["steps"] < 20


def test_early_stop_keeps_the_best_averaged_weights():
    task = Quadratic()
    values, weights = iter([1.0, 3.0, 2.0, 2.5, 9.0]), []

    def evaluate():
        weights.append(task.w.detach().clone())
        assert not task.training
        return next(values)

    report = fit_network(task, 10, config(check_every=5, patience=2, ema=0.9), seed=0, evaluate=evaluate)
    assert report.notes["steps"] == 20 and report.notes["best_step"] == 10 and report.notes["best_valid"] == 3.0
    assert report.curves["valid"] == [(5, 1.0), (10, 3.0), (15, 2.0), (20, 2.5)]
    assert torch.equal(task.w, weights[1])


def test_bf16_trains():
    assert fit_network(Quadratic(), 10, config(precision="bf16"), seed=0).state == "done"


class Regression(nn.Module):
    """y = Wx by a network with dropout, noise in the loss: every random stream is in play."""

    def __init__(self, n: int = 50) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("x", torch.randn(n, 4, generator=generator), persistent=False)
        self.register_buffer("y", self.x @ torch.randn(4, 1, generator=generator), persistent=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        x = self.x[rows]
        return (self.network(x + 0.1 * torch.randn_like(x)) - self.y[rows]).pow(2).mean()


CONFIG = TrainingConfig(max_steps=120, batch_size=16, warmup_steps=5, check_every=25, patience=10, device="cpu")


def job(checkpoint: Path | None, kill_at: int | None = None):
    with seeded(0, "init"):
        task = Regression()

    def evaluate() -> float:
        with torch.no_grad():
            return -float((task.network(task.x) - task.y).pow(2).mean())

    def progress(step: int, total: int, message: str = "") -> None:
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    report = fit_network(task, 50, CONFIG, seed=3, evaluate=evaluate, progress=progress, checkpoint=checkpoint)
    return task, report


def test_killed_run_resumes_to_the_same_weights(tmp_path):
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    undisturbed, whole = job(None)
    torch.set_num_threads(torch_threads)
    assert whole.notes["resumed_at_step"] == 0
    checkpoint = tmp_path / "folder" / "fit.ckpt"
    command = [sys.executable, __file__, str(checkpoint), "67"]
    died = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert died.stdout == died.stderr == ""  # Lightning is quiet from its first import on
    assert checkpoint.exists()
    resumed, report = job(checkpoint)
    assert report.notes["resumed_at_step"] == 65
    for name, weight in undisturbed.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert report.curves == whole.curves
    assert report.notes["best_step"] == whole.notes["best_step"]
    again, report = job(checkpoint)  # a finished fit is not trained any further
    assert report.notes["resumed_at_step"] == 120
    assert all(torch.equal(w, again.state_dict()[n]) for n, w in undisturbed.state_dict().items())


class Plain(Regression):
    """The same without anything random: the loss of a batch is the mean of its halves' losses."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        self.sizes = {*getattr(self, "sizes", ()), len(rows)}
        self.network.eval()
        return (self.network(self.x[rows]) - self.y[rows]).pow(2).mean()


def shared_job(devices: int) -> tuple[nn.Module, FitReport]:
    with seeded(0, "init"):
        task = Plain()
    c = CONFIG.model_copy(update={"devices": devices, "strategy": "ddp" if devices > 1 else "auto"})
    return task, fit_network(task, 50, c, seed=3, evaluate=lambda: 0.5)


def test_two_processes_learn_what_one_does(tmp_path):
    """Each takes half of every batch (ddp, by gloo on CPUs): the mean of their gradients is the batch's."""
    one, alone = shared_job(1)
    out = tmp_path / "weights.safetensors"
    done = subprocess.run([sys.executable, __file__, "ddp", str(out)], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    steps = [step for step, _ in alone.curves["loss"]]
    assert one.sizes == {16} and done.stdout.splitlines() == [f"{steps} {{8}}"]  # one of the two goes on
    for name, weight in load_file(out).items():
        torch.testing.assert_close(weight, one.state_dict()[name], atol=1e-5, rtol=1e-4)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "ddp":  # two processes: test_training.py ddp OUT
        trained, report = shared_job(2)
        print([step for step, _ in report.curves["loss"]], trained.sizes)
        save_file(trained.state_dict(), sys.argv[2])
    else:  # the process that is killed: test_training.py CHECKPOINT KILL_AT
        job(Path(sys.argv[1]), int(sys.argv[2]))
