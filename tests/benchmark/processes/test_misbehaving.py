"""Models that misbehave: each is one failed cell with a clear reason, and the grid goes on."""

import os
import time

import psutil
import pytest

from slatebench.benchmark import bench
from slatebench.leaderboards.records import find_run, list_runs

SOURCE = """
import os, signal, subprocess, sys, time

import numpy as np
from plain_model import Plain
from slatebench.datasets.schema import Slates


class Good(Plain):
    name = "good"


class Hang(Plain):
    name = "hang"
    def generate(self, *args, **more):
        while True:
            time.sleep(60)


class Repeats(Plain):
    name = "repeats"
    def generate(self, requests, k, *, samples=1, **more):
        return Slates(np.zeros((requests.height, samples, k), dtype=np.int64))


class Outside(Plain):
    name = "outside"
    def generate(self, requests, k, **more):
        slates = super().generate(requests, k, **more)
        slates.items[3, 0, 1] = len(self.catalog)
        return slates


class NaN(Plain):
    name = "nan"
    def generate(self, requests, k, **more):
        slates = super().generate(requests, k, **more)
        slates.diagnostics["rounding_gap"] = np.full(slates.items.shape[:2], np.nan)
        return slates


class Floats(Plain):
    name = "floats"
    def generate(self, requests, k, **more):
        return Slates(super().generate(requests, k, **more).items * np.nan)


class Shape(Plain):
    name = "shape"
    def generate(self, requests, k, **more):
        return super().generate(requests.head(3), k + 1, **more)


class Nothing(Plain):
    name = "nothing"
    def generate(self, requests, k, **more):
        pass


class Raises(Plain):
    name = "raises"
    def fit(self, data, **more):
        raise ValueError("a line\\nand another")


class Exits(Plain):
    name = "exits"
    def generate(self, requests, k, **more):
        sys.exit(0)


class Leaves(Plain):
    name = "leaves"
    def generate(self, requests, k, **more):
        os._exit(0)


class Killed(Plain):
    name = "killed"
    def fit(self, data, **more):
        os.kill(os.getpid(), signal.SIGKILL)


class Leaks(Plain):
    name = "leaks"
    def fit(self, data, **more):
        held = []
        while True:
            held.append(np.ones(2**21))  # 16 MiB
            time.sleep(0.005)


class Writes(Plain):
    name = "writes"
    def generate(self, requests, k, **more):
        self.catalog.items[0, "title"] = "something else"
        return super().generate(requests, k, **more)


class WritesRequests(Plain):
    name = "writes-requests"
    def generate(self, requests, k, **more):
        slates = super().generate(requests, k, **more)
        requests[0, "prompt"] = "something else"
        return slates


class WritesFeatures(Plain):
    name = "writes-features"
    def fit(self, data, **more):
        data.features.catalog.items[0, "title"] = "something else"
        return super().fit(data, **more)


class Peeks(Plain):
    name = "peeks"
    def generate(self, requests, k, **more):
        from slatebench.datasets.registry import load_dataset
        load_dataset("small").test.references
        return super().generate(requests, k, **more)


class PeeksInThread(Plain):
    name = "peeks-in-thread"
    def fit(self, data, **more):
        import threading
        from slatebench.datasets.registry import load_dataset
        found = []
        def look():
            try:
                found.append(load_dataset("small").test.references)
            except Exception as error:
                found.append(error)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        if isinstance(found[0], Exception):
            raise found[0]
        return super().fit(data, **more)


class PeeksAndSwallows(Plain):
    name = "peeks-and-swallows"
    def fit(self, data, **more):
        from slatebench.datasets.registry import load_dataset
        try:
            load_dataset("small").test.references
        except Exception:
            pass  # and nobody would ever know
        return super().fit(data, **more)


class PeeksAtPrivateFields(Plain):
    name = "peeks-at-private-fields"
    def generate(self, requests, k, **more):
        from slatebench.datasets.registry import load_dataset
        hidden = [value for name, value in vars(load_dataset("small").test).items() if name.startswith("_")]
        assert hidden
        frames = [value() if callable(value) else value for value in hidden]
        assert "items" in frames[0].columns
        return super().generate(requests, k, **more)


class PeeksAtLoading(Plain):
    name = "peeks-at-loading"
    def restore(self, arrays):
        from slatebench.datasets.registry import load_dataset
        load_dataset("small").valid.references


class Talks(Plain):
    name = "talks"
    def generate(self, requests, k, **more):
        os.write(1, b"\\xff" * 3_000_000)  # no text, no newline
        print("{}" * 1_000_000)
        try:
            input()
        except EOFError:
            pass
        return super().generate(requests, k, **more)


class ForksAndDies(Plain):
    name = "forks-and-dies"
    def fit(self, data, **more):
        if os.fork() == 0:  # holds the pipes open
            os.setsid()
            time.sleep(120)
            os._exit(0)
        os._exit(7)


class Scribbles(Plain):
    name = "scribbles"
    def generate(self, *args, **more):
        for pipe in range(3, 12):
            try:
                os.write(pipe, b"no event\\n[1]\\n{}\\n")
            except OSError:
                pass
        return super().generate(*args, **more)


class NoCost(Plain):
    name = "no-cost"
    def cost(self, *args, **more):
        pass


class InfiniteCost(Plain):
    name = "infinite-cost"
    def cost(self, *args, **more):
        return {"nfe": float("inf")}


class NoReport(Plain):
    name = "no-report"
    def fit(self, data, **more):
        super().fit(data, **more)


class NaNReport(Plain):
    name = "nan-report"
    def fit(self, data, **more):
        report = super().fit(data, **more)
        report.health["used"] = float("nan")
        return report


class OddReport(Plain):
    name = "odd-report"
    def fit(self, data, **more):
        report = super().fit(data, **more)
        report.notes["file"] = open(os.devnull)
        return report


class NumpyReport(Plain):
    name = "numpy-report"
    def fit(self, data, *, progress, **more):
        progress(float("nan"), None, "x" * 3_000_000)
        progress(np.int64(1), np.int64(2), "half \\ud800")
        report = super().fit(data, **more)
        report.curves["loss"], report.health["used"] = [(np.int64(1), np.float32(0.5))], np.float64(1)
        return report


class Shouts(Plain):
    name = "shouts"
    def fit(self, data, **more):
        raise ValueError("x" * 3_000_000)


class Mumbles(Plain):
    name = "mumbles"
    def fit(self, data, **more):
        raise ValueError("half \\ud800 of a sign")


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Stammers(Plain):
    name = "stammers"
    def fit(self, data, **more):
        raise Speechless


class Interrupts(Plain):
    name = "interrupts"
    def generate(self, *args, **more):
        raise KeyboardInterrupt


class TakesNames(Plain):
    name = "takes-names"
    def generate(self, *args, **more):
        slates = super().generate(*args, **more)
        slates.diagnostics["request"] = np.zeros(slates.items.shape[:2])
        return slates


class Moves(Plain):
    name = "moves"
    def generate(self, *args, **more):
        os.chdir("/")
        os.environ["SLATEBENCH_MOVED"] = "1"
        return super().generate(*args, **more)


class Stays(Plain):
    name = "stays"
    def generate(self, *args, **more):
        assert "SLATEBENCH_MOVED" not in os.environ and os.getcwd() != "/"
        return super().generate(*args, **more)


class Lingers(Plain):
    name = "lingers"
    def fit(self, data, **more):
        lingerer = [sys.executable, "-c", "import time; time.sleep(600)", "slatebench-lingerer"]
        subprocess.Popen(lingerer)
        subprocess.run([sys.executable, "-c", f"import subprocess; subprocess.Popen({lingerer})"])  # now an orphan
        return super().fit(data, **more)
"""

EXPECTED = {  # model -> state, words of the reason
    "hang": ("timeout", "stopped after 40 s"),
    "repeats": ("failed", "an item is repeated inside a slate (request 'test-0', sample 0)"),
    "outside": ("failed", "id 240 is outside the catalogue 0..239 (request 'test-3', sample 0)"),
    "nan": ("failed", "diagnostic 'rounding_gap' holds NaN or infinity (request 'test-0', sample 0)"),
    "floats": ("failed", "slates must be an int64 array, got float64"),
    "shape": ("failed", "slates have shape (3, 1, 6), expected (40, 1, 5)"),
    "nothing": ("failed", "generate must return Slates, got NoneType"),
    "raises": ("failed", "ValueError: a line"),
    "exits": ("failed", "SystemExit"),
    "leaves": ("failed", "the process ended by itself (exit code 0)"),
    "killed": ("failed", "the process was killed (SIGKILL"),
    "leaks": ("failed", "GiB of memory, more than --memory 1"),
    "writes": ("failed", "the model wrote into the catalogue"),
    "writes-features": ("failed", "the model wrote into the catalogue"),
    "writes-requests": ("failed", "the model wrote into the requests"),
    "peeks": ("failed", "a model tried to read the references of 'test'"),
    "peeks-in-thread": ("failed", "a model tried to read the references of 'test'"),
    "peeks-and-swallows": ("failed", "a model tried to read the references of 'test'"),
    "peeks-at-private-fields": ("failed", "a model tried to read the references of 'test'"),
    "peeks-at-loading": ("failed", "a model tried to read the references of 'valid'"),
    "talks": ("done", None),
    "lingers": ("done", None),
    "forks-and-dies": ("failed", "the process ended by itself (exit code 7)"),
    "scribbles": ("done", None),
    "no-cost": ("failed", "cost must give a dict of numbers, got None"),
    "infinite-cost": ("failed", "numbers must be finite"),
    "no-report": ("failed", "fit must return a FitReport, got NoneType"),
    "nan-report": ("failed", "health, used: nan: numbers must be finite"),
    "odd-report": ("failed", "notes, file: TextIOWrapper is neither number nor text"),
    "numpy-report": ("done", None),
    "shouts": ("failed", "ValueError: xxx"),
    "mumbles": ("failed", "ValueError: half \\ud800 of a sign"),
    "stammers": ("failed", "Speechless"),
    "interrupts": ("failed", "KeyboardInterrupt"),
    "takes-names": ("failed", "a diagnostic can't be called 'request'"),
    "moves": ("done", None),
    "stays": ("done", None),
    "good": ("done", None),
}
CLASSES = {"nan": "NaN", "writes-features": "WritesFeatures", "writes-requests": "WritesRequests",
           "peeks-in-thread": "PeeksInThread",
           "peeks-and-swallows": "PeeksAndSwallows", "peeks-at-private-fields": "PeeksAtPrivateFields",
           "peeks-at-loading": "PeeksAtLoading", "forks-and-dies": "ForksAndDies", "no-cost": "NoCost",
           "infinite-cost": "InfiniteCost", "no-report": "NoReport", "nan-report": "NaNReport",
           "odd-report": "OddReport", "numpy-report": "NumpyReport", "takes-names": "TakesNames"}  # fmt: skip


@pytest.fixture(scope="module")
def grid(install, tmp_path_factory):
    """One bench over all of them, the good one first and last."""
    install(SOURCE, {name: CLASSES.get(name, name.capitalize()) for name in EXPECTED})
    folder = tmp_path_factory.mktemp("runs")
    options = dict(budget="smoke", encoder="hash", runs=folder, mlflow=False, latency=False)
    before = bench("good", "small", **options).runs[0]
    content = (before.folder / "record.json").read_bytes()
    found = bench(list(EXPECTED), "small", timeout=40, memory_gib=1.0, **options)
    assert (before.folder / "record.json").read_bytes() == content, "a finished cell was written again"
    return folder, {run.spec.model: run for run in found.runs}, found


@pytest.mark.parametrize("model", EXPECTED)
def test_each_ends_in_its_own_state_with_one_clear_line(grid, model):
    _, runs, _ = grid
    record = runs[model].record
    state, words = EXPECTED[model]
    assert record.state == state, record.reason
    if words is None:
        assert record.reason is None and record.metrics["ndcg_at_5"].n == 40
    else:
        assert record.reason is not None and words in record.reason and "\n" not in record.reason
        assert len(record.reason) < 600


def test_the_call_says_that_something_failed_and_keeps_every_record(grid):
    folder, runs, found = grid
    assert not found.ok
    on_disk, problems = list_runs(folder, "small")
    assert not problems
    assert {run.spec.model: run.record.state for run in on_disk} | {m: s for m, (s, _) in EXPECTED.items()} == {
        run.spec.model: run.record.state for run in on_disk
    }
    assert {"random", "popularity", "ceiling:reference"} <= {
        run.spec.model for run in on_disk if run.record.state == "done"
    }
    assert all(find_run(folder, run.spec) is not None for run in runs.values())
    assert not list(folder.rglob(".tmp-*"))


def test_a_log_stays_small_whatever_a_model_prints(grid):
    folder, _, _ = grid
    assert max(path.stat().st_size for path in folder.rglob("log.txt")) < 200_000


def test_nothing_that_a_model_started_outlives_the_grid(grid):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        left = [
            p for p in psutil.process_iter(["cmdline", "uids"]) if "slatebench-lingerer" in (p.info["cmdline"] or [])
        ]
        left = [p for p in left if p.info["uids"].real == os.getuid() and p.status() != psutil.STATUS_ZOMBIE]
        if not left:
            return
        time.sleep(0.1)
    pytest.fail(f"still running: {left}")
