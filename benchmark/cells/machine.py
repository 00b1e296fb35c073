"""Where a run happens: machine, threads, package versions, the code's commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ...datasets.errors import UsageError
from ...leaderboards.schema import Machine

PACKAGES = ("slatebench", "torch", "numpy", "scipy", "polars", "scikit-learn", "faiss-cpu", "rank-bm25", "bert-score",
            "transformers", "sentence-transformers", "gensim", "pytorch-lightning", "mlflow", "optuna")  # fmt: skip

ARITHMETIC = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu", "transformers", "sentence-transformers",
              "gensim")  # of these, whose other version may give other figures  # fmt: skip


def threads() -> int:
    """Threads that this process may use: OMP_NUM_THREADS (its first number), else all cores.

    Raises:
        UsageError: OMP_NUM_THREADS is no number above 0.
    """
    wanted = os.environ.get("OMP_NUM_THREADS")
    if not wanted:
        return os.cpu_count() or 1
    first = wanted.split(",")[0].strip()
    if not first.isdigit() or int(first) < 1:
        raise UsageError(f"OMP_NUM_THREADS={wanted}: set it to a number of threads, e.g. 2, or unset it")
    return int(first)


@cache
def machine() -> Machine:
    """This machine, for the record."""
    import psutil

    return Machine(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        threads=threads(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        gpu=gpu_name(),
        system=platform.platform(terse=True),
        python=platform.python_version(),
    )


def gpu_name() -> str | None:
    """The first GPU's name, without importing torch where it isn't loaded."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    try:
        names = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=10
        ).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return names[0].strip() if names else None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def packages() -> dict[str, str]:
    """Versions of the packages that make the numbers."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def libraries() -> dict[str, str]:
    """Versions of the packages that do the arithmetic."""
    return {name: number for name, number in packages().items() if name in ARITHMETIC}


def other_libraries(made_with: dict[str, str]) -> str | None:
    """Which arithmetic libraries were others when something was made; None where they were those of today.

    Args:
        made_with: versions by package; one that is not named was not looked at then.
    """
    changed = [f"{name} {made_with[name]} (here {number})" for name, number in libraries().items()
               if made_with.get(name, number) != number]  # fmt: skip
    return ", ".join(changed) or None


@cache
def commit() -> str | None:
    """The code's commit (with + if the tree was changed), None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
        )
        if head.returncode:
            return None
        status = subprocess.run(["git", "-C", str(root), "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return None
    return head.stdout.strip() + ("+" if status.stdout.strip() else "")
