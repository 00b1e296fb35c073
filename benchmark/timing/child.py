"""The process in which one model is timed: loads a run's saved model and answers requests one by one.

Everything that a user waits for is inside the timed call: text encoding, sampling, rounding, repeats removed.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from ...datasets.files.table import read_table
from ...datasets.vectors.features import Features, load_features
from ...leaderboards.records import AGAIN
from ...models.base import SlateModel, read_catalog
from ...models.registry import model_class, parse_model
from ..processes.serve import serve

MIB = 2**20
POWERCAP = Path("/sys/class/powercap")


def main() -> None:
    """Load a model, then time it as told."""
    timed = _Timed()
    serve(timed.answer)


class _Timed:
    """The loaded model and what it is asked."""

    model: SlateModel
    features: Features
    requests: pl.DataFrame
    k: int
    seed: int

    def answer(self, command: dict[str, Any], say: Callable[..., None], report: Callable[..., None]) -> None:
        """Answer one command: `load`, `time` or `batch`."""
        what = command.pop("do")
        say(what, **getattr(self, f"do_{what}")(report, **command))

    def do_load(self, report: Callable[..., None], *, folder: str, requests: str, model: str, k: int, seed: int,
                sampling: dict[str, Any], first: int) -> dict[str, Any]:  # fmt: skip
        """Load the model as it was saved and make its first slate (that far goes the cold start)."""
        report("latency", message="loading")
        saved, cls = Path(folder) / "model", model_class(parse_model(model)[0])
        catalog = read_catalog(saved)
        self.features = load_features(saved, catalog).live()  # every prompt is encoded anew
        self.model = cls.load(saved, self.features)
        self.model.sampling = cls.Sampling(**sampling)
        self.requests, self.k, self.seed = read_table(Path(requests), AGAIN), k, seed
        one = self.requests[first]
        self.model.generate(one, k, samples=1, seed=seed).check(one, len(catalog), k, 1)
        _one_thread()
        return {"cost": self.model.cost(k)}

    def do_time(self, report: Callable[..., None], *, rows: list[int], warm_up: int) -> dict[str, Any]:
        """Milliseconds of each of `rows`, one request at a time, after `warm_up` requests that do not count."""
        for row in rows[:warm_up]:
            self._one(row)
        if len(rows) > 1:  # interleaved single requests would wait for it each time
            gc.collect()
        energy, counters = _energy()
        samples = []
        for i, row in enumerate(rows):
            samples.append(self._one(row))
            report("latency", i + 1, len(rows))
        after, _ = _energy()
        joules = [(late - early) % span for (early, span), (late, _) in zip(energy, after, strict=True)]
        return {
            "ms": samples,
            "peak_rss_mib": peak_rss() / MIB,
            "peak_gpu_mib": _peak_gpu(),
            "energy_j": sum(joules) / len(rows) if counters else None,
            "energy_counter": counters,
        }

    def _one(self, row: int) -> float:
        request = self.requests[row]
        self.features.forget()
        started = time.perf_counter_ns()
        self.model.generate(request, self.k, samples=1, seed=self.seed)
        return (time.perf_counter_ns() - started) / 1e6

    def do_batch(self, report: Callable[..., None], *, rows: list[int], seconds: float) -> dict[str, Any]:
        """Slates a second at that batch size: calls for about `seconds`, the first not counted unless it is long."""
        batch, spent, calls = self.requests[rows], 0.0, 0
        while spent < seconds and calls < 20:
            self.features.forget()
            started = time.perf_counter()
            self.model.generate(batch, self.k, samples=1, seed=self.seed)
            took = time.perf_counter() - started
            if calls or took > seconds:
                spent += took
            calls += 1
            report("latency", message=f"batches of {len(rows)}")
        counted = calls - 1 if calls > 1 else calls
        return {"slates_per_s": counted * len(rows) / spent}


def peak_rss() -> int:
    """Most resident bytes this process ever had."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's pages, which a fork shares for a moment
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _one_thread() -> None:
    """Libraries that took their own view of the thread count are told again."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    if faiss := sys.modules.get("faiss"):
        faiss.omp_set_num_threads(1)


def _peak_gpu() -> float | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_reserved() / MIB


def _energy() -> tuple[list[tuple[float, float]], str | None]:
    """Readings (joules so far, joules at which the counter wraps) of the machine's counters, and their names.

    They count the whole processor package and the whole GPU, idle power included.
    """
    readings, names = [], []
    for domain in sorted(POWERCAP.glob("intel-rapl:[0-9]")):  # packages; their parts stand below them
        try:
            used, span = (int((domain / name).read_text()) / 1e6 for name in ("energy_uj", "max_energy_range_uj"))
        except (OSError, ValueError):  # readable for root only on many systems
            continue
        readings.append((used, span))
        names.append("rapl")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        try:
            import pynvml  # type: ignore[import-not-found]

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
            readings.append((pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, float("inf")))
            names.append("nvml")
        except Exception:  # not installed, no rights, no such counter
            pass
    return readings, "+".join(dict.fromkeys(names)) or None


if __name__ == "__main__":
    main()
