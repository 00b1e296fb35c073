"""A log of one's own from the command line, as docs/own-log.md shows it: checked, settings kept, run on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "own-log.md").read_text(encoding="utf-8")


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)[number]


@pytest.fixture(scope="module")
def place(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example of the page was run, as it stands there."""
    folder = tmp_path_factory.mktemp("own")
    program = (
        f"slatebench() {{ '{sys.executable}' -P -c 'from slatebench.benchmark.cli.app import main; main()' \"$@\"; }}"
    )
    script = "\n".join(["set -e", program, block("sh").replace("--budget smoke", "--budget smoke --no-latency --json")])
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "out").write_text(done.stdout)
    return folder


def test_the_example_of_the_page(place: Path) -> None:
    told, runs = (place / "out").read_text().split("{", 1)
    assert told.splitlines()[0] == "shop/interactions: well formed"
    assert "10 interactions of 3 users with 7 items; split leave-one-out: 3 requests of validation, 3 of test" in told
    assert (place / "shop/interactions/interactions.toml").read_text().splitlines() == [
        'user = "customer"', 'item = "sku"', 'time = "bought_at"']  # fmt: skip
    found = {run["model"]: run for run in json.loads("{" + runs)["runs"]}
    assert found["popularity"]["dataset"] == "interactions" and found["popularity"]["state"] == "done"
    # each of the four items of train once: ties go by the file, and lamp, boots and tent stand second, fifth and first
    by_hand = np.mean(1 / np.log2([3, 6, 2]))
    assert found["popularity"]["metrics"]["ndcg_at_5"]["mean"] == pytest.approx(by_hand)


def test_another_split_is_another_dataset(place: Path, slatebench: Callable[..., Any]) -> None:
    log, where = place / "shop" / "interactions", {"SLATEBENCH_DATA": str(place / "shop")}

    def fingerprint() -> str:
        return json.loads(slatebench("datasets", "audit", "interactions", "--json", cwd=place, **where).out)[
            "fingerprint"
        ]

    before = fingerprint()
    (command,) = block("sh", 1).strip().splitlines()
    done = slatebench(*command.split()[1:], cwd=place)
    assert done.code == 0 and "split next-k, k 1, history 1: 3 requests" in done.out, done.err
    assert fingerprint() == before  # k 1 after one item asks the same
    done = slatebench("datasets", "check", str(log), "--set", "split=global-time", "--set", "history=1", "--keep")
    assert done.code == 0 and fingerprint() != before, done.out


def test_mistakes_are_lines_and_settings_are_told(place: Path, slatebench: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user,item,time\nu,i,1\nu,,2\nu,i,soon\n")
    done = slatebench("datasets", "check", str(tmp_path), "--keep")
    assert done.code == 1 and not (tmp_path / "interactions.toml").exists()
    assert [line.split(": ", 1)[1] for line in done.out.splitlines()] == [
        "'item' is empty: add it, or drop the row",
        "time 'soon' is no time: write unix seconds, or 2024-03-01T10:00:00",
    ]
    done = slatebench("datasets", "check", str(tmp_path), "--set", "splt=next-k")
    assert done.code == 2 and "unknown setting 'splt': rename it to 'split'" in done.err
    done = slatebench("datasets", "check", str(place), "--keep")
    assert done.code == 2 and "holds no interactions.*: --set and --keep are for logs" in done.err


def test_a_card_of_its_own_reads_the_folder_of_its_name(place: Path, tmp_path: Path) -> None:
    from slatebench.datasets.registry import card_loader

    names: dict[str, Any] = {}
    exec(block("python"), names)  # our own page
    card = names["card"]()
    (tmp_path / "shop").symlink_to(place / "shop" / "interactions")
    dataset = card_loader(card)(card, tmp_path, 0)
    assert dataset.name == "shop" and len(dataset.catalog) == 7
