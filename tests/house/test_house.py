"""The house stands as docs/design.md says: rooms, arrows, lazy imports, nothing importable under a stranger's name."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("benchmark", "models", "datasets", "metrics", "leaderboards")
FLOOR = {"datasets": 1, "metrics": 2, "models": 2, "leaderboards": 3, "benchmark": 4}
HEAVY = {"torch", "pytorch_lightning", "mlflow", "transformers", "faiss", "sentence_transformers", "sklearn", "scipy"}


def python(code: str, cwd: Path | None = None) -> str:
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=cwd, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def sub_packages() -> set[str]:
    """Every folder of the five rooms that holds Python files."""
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    return {"slatebench." + ".".join(folder.relative_to(ROOT).parts) for folder in folders}


def test_the_package_list_equals_the_tree() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(setup["packages"]) == sub_packages()
    where = setup["package-dir"]
    for package in setup["packages"]:
        room = package.split(".")[1]
        assert where[f"slatebench.{room}"] == room


def test_no_package_at_the_root() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


def imported_rooms(path: Path) -> set[str]:
    """Rooms of the suite that a file imports, also inside functions, relatively or by full name."""
    package = path.relative_to(ROOT).parts[:-1]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            full = (*base, *(node.module or "").split("."))
            if not base and not node.module:
                rooms |= {alias.name for alias in node.names}
            rooms.add(full[0])
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("slatebench"):
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("slatebench.")}
    return rooms & set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_point_down(room: str) -> None:
    wrong = []
    for path in (ROOT / room).rglob("*.py"):
        for other in imported_rooms(path) - {room}:
            allowed = FLOOR[other] < FLOOR[room] and (room, other) != ("leaderboards", "models")
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not wrong, wrong


def test_the_arrow_test_can_see_an_arrow() -> None:
    assert imported_rooms(ROOT / "benchmark" / "cells" / "fit.py") >= {"datasets", "metrics", "models", "leaderboards"}


LIGHT = ("slatebench.benchmark.cli.app", "slatebench.benchmark", "slatebench.models.registry")


@pytest.mark.parametrize("module", LIGHT)
def test_light_imports(module: str) -> None:
    loaded = set(json.loads(python(f"import json, sys; import {module}; print(json.dumps(list(sys.modules)))")))
    assert not loaded & HEAVY


def test_every_name_of_the_python_api_is_there() -> None:
    code = (
        "import slatebench.benchmark as api; from types import ModuleType\n"
        "wrong = [name for name in api._WHERE if isinstance(getattr(api, name), ModuleType)]\n"
        "print(wrong, len(api._WHERE))"
    )
    found, count = python(code).rsplit(maxsplit=1)
    assert found == "[]" and int(count) > 10


def test_metrics_load_no_learning_library() -> None:
    modules = "slatebench.metrics.evaluate, slatebench.metrics.statistics, slatebench.metrics.bertscore"
    loaded = json.loads(python(f"import json, sys; import {modules}; print(json.dumps(list(sys.modules)))"))
    assert not set(loaded) & (HEAVY - {"scipy"})


def test_help_is_quick_to_load() -> None:
    code = (
        "import json, sys; sys.argv = ['slatebench', '--help']\n"
        "from slatebench.benchmark.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(json.dumps(list(sys.modules)))"
    )
    loaded = set(json.loads(python(code).splitlines()[-1]))
    assert not loaded & (HEAVY | {"polars", "numpy", "pydantic"})


def test_nothing_is_importable_under_a_strangers_name_from_the_root() -> None:
    code = (
        f"from importlib.util import find_spec; print([str(find_spec(name)) for name in {ROOMS!r} if find_spec(name)])"
    )
    assert str(ROOT) not in python(code, cwd=ROOT)


def test_transformers_at_the_root_do_not_take_our_datasets_for_theirs() -> None:
    code = "from transformers.utils import is_datasets_available; print(is_datasets_available())"
    assert python(code, cwd=ROOT).strip() == "False"


def test_constraints_pin_every_package() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all("==" in line for line in lines)
    pinned = {line.split("==")[0].lower().replace("_", "-"): line.split("==")[1] for line in lines}
    assert pinned["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for group in project["optional-dependencies"].values() for line in group]
    from packaging.requirements import Requirement

    for line in [*project["dependencies"], *extras]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(pinned[wanted.name.lower().replace("_", "-")]), line


POLARS = re.compile(r"pl\.(read|scan)_(parquet|csv|ndjson|ipc|avro|delta)|.*\.(write_parquet|sink_\w+)")


def taken_as_patterns(source: str) -> list[str]:
    """Calls that may take a user's name for a pattern: polars' readers and writers, globs that hold a variable."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        name = ast.unparse(call.func)
        ours = True
        if call.func.attr in ("glob", "rglob"):  # only constants may stand in a pattern
            parts = call.args[0].values if isinstance(call.args[0], ast.JoinedStr) else call.args[:1]
            held = [part.value if isinstance(part, ast.FormattedValue) else part for part in parts]
            ours = all(isinstance(part, ast.Constant) or ast.unparse(part).isupper() for part in held)
        if POLARS.fullmatch(name) or not ours:
            found.append(f"line {call.lineno}: {name}")
    return found


def test_paths_are_names_and_never_patterns() -> None:
    table = ROOT / "datasets" / "files" / "table.py"
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path != table]
    found = {str(path.relative_to(ROOT)): calls for path in files if (calls := taken_as_patterns(path.read_text()))}
    assert not found, f"datasets/files/table.py reads and writes by name: {found}"


def test_the_pattern_test_can_see_a_pattern() -> None:
    for source in ("pl.read_parquet(path)", "pl.scan_csv(path, glob=False)", "frame.write_parquet(folder / 'a')",
                   "frame.sink_parquet(path)", "runs.glob(f'{dataset}/*')", "folder.rglob(pattern)"):  # fmt: skip
        assert taken_as_patterns(source), source
    for source in ("pl.read_json(io.BytesIO(content))", "frame.write_csv()", "runs.glob(f'*/{RESULT}')"):
        assert not taken_as_patterns(source), source
