"""The documentation builds, links included, and says what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slatebench.datasets.card import builtin_cards
from slatebench.metrics.registry import METRICS
from slatebench.models.registry import BUILTIN

ROOT = Path(__file__).resolve().parents[2]

GROUPS = ("claims", "datasets", "leaderboard", "models", "tokenizers")  # commands that have commands of their own


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr  # --strict: a dead link or anchor is an error
    return folder


def test_every_model_dataset_and_metric_has_its_place(site: Path) -> None:
    for room, names in (("models", BUILTIN), ("datasets", builtin_cards())):
        for name in names:
            assert (site / room / name / "index.html").is_file(), name
    metrics = (site / "metrics" / "index.html").read_text(encoding="utf-8")
    assert all(f">{metric.name}<" in metrics for metric in METRICS)
    assert "guidance" in (site / "models" / "dmsg" / "index.html").read_text(encoding="utf-8")


def test_no_page_asks_anybody_for_anything(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?([^\s\">]+)", text)
        loaded += re.findall(r"<link[^>]*rel=\"?stylesheet\"?[^>]*href=\"?([^\s\">]+)", text)
        assert not [address for address in loaded if address.startswith(("http", "//"))], page


def test_the_commands_of_the_pages_exist(slatebench: Callable[..., Any]) -> None:
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "models").glob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages).replace("\\\n", "")
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", text, flags=re.MULTILINE)) <= targets
    for line in re.findall(r"^slatebench .+$", text, flags=re.MULTILINE):
        command = line.split()[1 : 3 if line.split()[1] in GROUPS else 2]
        options = {option for option in re.findall(r"--[a-z-]+", line)}
        done = slatebench(*command, "--help")
        assert done.code == 0 and options <= set(re.findall(r"--[a-z-]+", done.out)), line
