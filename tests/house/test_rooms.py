"""No import circle, not even by an import in a function: between files, or folders. No crowded folder, no long file."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("benchmark", "models", "datasets", "metrics", "leaderboards")
MOST_FILES = 16  # Python files of a folder, __init__.py left out


def files(root: Path = ROOT) -> list[Path]:
    """Every Python file of the five rooms."""
    return sorted(path for room in ROOMS for path in (root / room).rglob("*.py"))


def imported(path: Path, root: Path = ROOT) -> set[str]:
    """Files of the suite that a file imports: relatively or by full name, in functions and under TYPE_CHECKING too."""
    package = path.relative_to(root).parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = (*package[: len(package) - node.level + 1], *module)
            elif module[:1] == ("slatebench",):
                base = module[1:]
            else:
                continue
            found |= {hit for alias in node.names if (hit := file_of((*base, alias.name), root) or file_of(base, root))}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names if alias.name.startswith("slatebench.")]
            found |= {hit for name in names if (hit := file_of(tuple(name[1:]), root))}
    return found - {path.relative_to(root).as_posix()}


def file_of(module: tuple[str, ...], root: Path) -> str | None:
    """The file of a module, relative to the root."""
    if not module:
        return None
    for path in (root.joinpath(*module).with_suffix(".py"), root.joinpath(*module, "__init__.py")):
        if path.exists():
            return path.relative_to(root).as_posix()
    return None


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of names that reach one another (strongly connected components of more than one), each in order."""

    def reach(start: str, along: dict[str, set[str]]) -> set[str]:
        seen, waiting = set[str](), [start]
        while waiting:
            for name in along.get(waiting.pop(), ()):
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)
        return seen

    back: dict[str, set[str]] = {}
    for name, others in arrows.items():
        for other in others:
            back.setdefault(other, set()).add(name)
    groups = {tuple(sorted(reach(name, arrows) & reach(name, back))) for name in arrows}
    return sorted(list(group) for group in groups if len(group) > 1)


def places(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same arrows between folders; a file that stands directly in a room is a place of its own."""

    def place(name: str) -> str:
        folder = Path(name).parent.as_posix()
        return name if folder in ROOMS else folder

    found: dict[str, set[str]] = {}
    for name, others in arrows.items():
        found.setdefault(place(name), set()).update({place(other) for other in others} - {place(name)})
    return found


def arrows(paths: Iterable[Path], root: Path = ROOT) -> dict[str, set[str]]:
    """What each file imports, by path from the root."""
    return {path.relative_to(root).as_posix(): imported(path, root) for path in paths}


def shown(found: list[list[str]], arrows: dict[str, set[str]]) -> str:
    """A line for each arrow inside a circle."""
    lines = [f"{a} imports {b}" for group in found for a in group for b in sorted(arrows[a] & set(group))]
    return "\n".join(["circles:", *lines])


def test_no_file_stands_in_a_circle() -> None:
    found = circles(every := arrows(files()))
    assert not found, shown(found, every)


def test_no_folder_stands_in_a_circle() -> None:
    every = arrows(files())
    found = circles(places(every))
    within = [[name for name in every if name in group or Path(name).parent.as_posix() in group] for group in found]
    apart = {a: {b for b in others if Path(a).parent != Path(b).parent or Path(a).parent.as_posix() in ROOMS}
             for a, others in every.items()}  # fmt: skip
    assert not found, shown(within, apart)


def test_no_folder_is_crowded() -> None:
    counts: dict[str, int] = {}
    for path in files():
        if path.name != "__init__.py":
            folder = path.parent.relative_to(ROOT).as_posix()
            counts[folder] = counts.get(folder, 0) + 1
    assert not {folder: count for folder, count in counts.items() if count > MOST_FILES}


@pytest.mark.parametrize("late", [False, True])
def test_the_circle_test_can_see_a_circle(tmp_path: Path, late: bool) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "one.py").write_text("from .two import a\n")
    (tmp_path / "models" / "two.py").write_text("def f():\n    from . import one\n" if late else "from .one import b\n")
    paths = sorted((tmp_path / "models").glob("*.py"))
    assert circles(arrows(paths, tmp_path)) == [["models/one.py", "models/two.py"]]


def test_no_file_is_long() -> None:
    limits = dict.fromkeys(files(), 400) | dict.fromkeys((ROOT / "tests").rglob("*.py"), 500)
    long = {path.relative_to(ROOT).as_posix(): n for path, most in limits.items()
            if (n := len(path.read_text(encoding="utf-8").splitlines())) > most}  # fmt: skip
    assert not long, f"do these hold two things? {long}"
