"""What README and CONTRIBUTING show works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_python_example_of_the_readme(plugins: Path, tmp_path: Path) -> None:
    (code,) = blocks("README.md", "python")
    code = code.replace('"bundle"', '"tiny"')
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("shape:") == 3 and (tmp_path / "runs" / "tiny" / "dense").is_dir()


def test_the_commands_of_the_readme_exist(slatebench: Callable[..., Any]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"slatebench ((?:datasets |models |leaderboard |claims |tokenizers )?[a-z]+)(?=[ `])", text))
    assert {"compare", "datasets audit", "models show"} <= used
    for command in used:
        done = slatebench(*command.split(), "--help")
        assert done.code == 0, f"{command}: {done.err}"


def table(mark: str) -> list[str]:
    """The lines that README shows between `<!-- mark -->` and `<!-- end -->`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split(f"<!-- {mark} -->\n")[1].split("<!-- end -->")[0].strip().splitlines()


def test_the_readme_lists_every_model_and_dataset() -> None:
    from slatebench.datasets.card import builtin_cards
    from slatebench.leaderboards.tables import table as markdown
    from slatebench.models.registry import BUILTIN

    assert table("models") == markdown(("name", "what"), [(f"`{n}`", m.title) for n, m in BUILTIN.items()])
    cards = [(f"`{n}`", c.title, f"`{c.twin}`" if c.twin else "–") for n, c in builtin_cards().items()]
    assert table("datasets") == markdown(("name", "what", "stands in where it can't be had"), cards)


def heads(lines: list[str]) -> list[str]:
    """Heads of the columns of a board as the terminal shows it."""
    return [cell.strip() for cell in next(line for line in lines if line.startswith("┃")).strip("┃").split("┃")]


def test_the_board_of_the_readme_has_the_form_of_todays(slatebench: Callable[..., Any], tmp_path: Path) -> None:
    quick = ("--budget", "smoke", "--no-latency", "--runs", str(tmp_path))
    done = slatebench("bench", "bm25", "--dataset", "tiny", *quick, COLUMNS="100")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = [line for line in text.splitlines() if line[:1] in ("┃", "│")]
    assert done.code == 0 and heads(shown) == heads(done.out.splitlines())
    systems = [line.split("│")[2].strip() for line in shown[1:]]
    assert {"bm25", "random", "popularity", "ceiling:reference"} <= set(systems) and len({*map(len, shown)}) == 1


def test_the_make_targets_of_the_readme_exist() -> None:
    used = set(re.findall(r"make ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    there = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert used - {"and"} <= there


def test_the_readme_names_every_variable() -> None:
    rooms = [ROOT / room for room in ("benchmark", "datasets", "leaderboards", "metrics", "models", "tests/benchmarks")]
    code = "".join(path.read_text(encoding="utf-8") for room in rooms for path in room.rglob("*.py"))
    used = set(re.findall(r"\bSLATEBENCH_[A-Z_]+", code))
    assert "SLATEBENCH_DATA" in used
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert used <= set(re.findall(r"SLATEBENCH_[A-Z_]+", text[text.index("Variables:") :]))
    assert "SLATEBENCH_PERF_LARGE" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install an example of CONTRIBUTING: a module and the entry point shown with it."""

    def install(module: str, toml: str) -> None:
        (code,) = [block for block in blocks("CONTRIBUTING.md", "python") if block.startswith(f"# {module}.py")]
        (points,) = [block for block in blocks("CONTRIBUTING.md", "toml") if f'"{module}:' in block]
        group, line = re.search(r'entry-points\."([\w.]+)"\]\n(.+)', points).groups()  # type: ignore[union-attr]
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


def test_the_model_of_contributing_keeps_the_contract(example: Callable[..., None]) -> None:
    from slatebench.models.testing import run_contract

    example("my_model", "slatebench.models")
    checks = run_contract("shortest")
    assert len(checks) > 10
    assert not [check for check in checks if not check.passed]


def test_the_dataset_of_contributing_loads(example: Callable[..., None]) -> None:
    from slatebench.datasets.registry import load_dataset

    example("my_data", "slatebench.datasets")
    dataset = load_dataset("colours")
    assert (len(dataset.catalog), len(dataset.train), len(dataset.test)) == (50, 40, 10)
    assert dataset.fingerprint == load_dataset("colours").fingerprint


def test_the_metric_of_contributing_scores(monkeypatch: pytest.MonkeyPatch, example: Callable[..., None]) -> None:
    from slatebench.datasets.registry import load_dataset
    from slatebench.datasets.schema import Slates
    from slatebench.metrics import evaluate as evaluating
    from slatebench.metrics.base import make_truth

    (code,) = [block for block in blocks("CONTRIBUTING.md", "python") if "FIRST_HIT" in block]
    names: dict[str, Any] = {}
    exec(code, names)  # our own document
    monkeypatch.setattr(evaluating, "METRICS", [*evaluating.METRICS, names["FIRST_HIT"]])
    example("my_data", "slatebench.datasets")
    dataset = load_dataset("colours")
    truth = make_truth(dataset.test, dataset.catalog)
    right = np.array(dataset.test.references["items"].to_list())[:, None, :]  # [P, 1, 3]
    wrong = right[:, :, ::-1].copy()
    wrong[..., 0] = (right[..., 0] + 25) % 50
    for items, value in ((right, 1.0), (wrong, 0.0)):
        scores = evaluating.evaluate(Slates(items.astype(np.int64)), truth, cutoffs=[3])
        assert (scores.values["first_hit"] == value).all()


def test_the_licence_that_the_package_names_is_there_in_full() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = " ".join((ROOT / "LICENSE").read_text(encoding="utf-8").split())
    assert project["license"] == "Apache-2.0"
    assert text.startswith("Apache License Version 2.0, January 2004")
    for section in (
        "9. Accepting Warranty or Additional Liability",
        "END OF TERMS AND CONDITIONS",
        "limitations under",
    ):
        assert section in text
