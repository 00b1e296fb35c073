"""What all rooms' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
