"""What all rooms' tests share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)  # a busy machine is no failure: speed has its own suite
settings.load_profile("house")

# A job in a shell's background ignores Ctrl-C, and so would all processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# One thread: two cores are shared, and a second thread makes small work slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests that need it are skipped where there is none."""
    folder = Path(os.environ.get("SLATEBENCH_DATA", ""))
    if not os.environ.get("SLATEBENCH_DATA") or not (folder / "bundle").exists():
        pytest.skip("real data: set SLATEBENCH_DATA to a folder that holds bundle/")
    return folder


PLUGIN = '''
from slatebench.datasets.registry import dataset_card

SMALL = {"items": 1300, "groups": 160, "slates_per_group": 4}


def tiny():
    """Some made-up items: the whole suite runs on it in seconds."""
    card = dataset_card("bundle-synthetic")
    return card.model_copy(update={"name": "tiny", "options": card.options | SMALL, "statistics": None, "twin": None})


def lost():
    """A real dataset that can't be had (nothing answers at its address), with `tiny` as its twin."""
    card = dataset_card("bundle-electronic")
    gone = [file.model_copy(update={"urls": ["http://127.0.0.1:9/gone"]}) for file in card.files]
    return card.model_copy(update={"name": "lost", "files": gone, "twin": "tiny"})
'''


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Datasets `tiny` and `lost`, found by entry point here and in every child process; a feature cache of its own."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "slatebench_test_data.py").write_text(PLUGIN)
    info = folder / "slatebench_test_data-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slatebench-test-data\nVersion: 1.0\n")
    names = ("tiny", "lost")
    points = "\n".join(f"{name} = slatebench_test_data:{name}" for name in names)
    (info / "entry_points.txt").write_text(f"[slatebench.datasets]\n{points}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
        if "SLATEBENCH_CACHE" not in os.environ:
            patch.setenv("SLATEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@dataclass
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def slatebench(plugins: Path) -> Callable[..., Finished]:
    """The real command line, as a process: slatebench("bench", "bm25", ..., cwd=folder)."""

    def run(*arguments: str, cwd: Path | None = None, **environment: str) -> Finished:
        command = [sys.executable, "-P", "-c", "from slatebench.benchmark.cli.app import main; main()", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=cwd, env=os.environ | environment, check=False, timeout=600
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run
