"""What people see: foreign text on a terminal, terminals of any encoding and width or none, text that is no UTF-8."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from slatebench.datasets.output import shown, to_json
from slatebench.leaderboards.terminal import fitted

COMMAND = [sys.executable, "-P", "-c", "from slatebench.benchmark.cli.app import main; main()"]
TITLES = ["lamp \x1b[31mred", "lamp [red]markup[/red] [/]", "lamp :tada: emoji", "lamp \u202eback", "lamp be\x07ll",
          "lamp one\x9bmore", "lamp hid\u200bden", "lamp [bold", "lamp caf\u00e9 \u6771"]  # fmt: skip
RAW = ("\x1b", "\x07", "\x9b", "\u202e", "\u200b", "\U0001f389")


@dataclass
class Place:
    """Data and runs of a curated dataset whose titles are hostile."""

    runs: Path
    environment: dict[str, str]

    def run(self, *words: str | bytes, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
        """A command as a process; `shell`: redirections of its streams."""
        command: Any = [*COMMAND, *words]
        if shell:
            command = ["sh", "-c", f"{shlex.join(command)} {shell}"]
        return subprocess.run(
            command, capture_output=True, cwd=self.runs.parent, env=os.environ | self.environment | environment,
            timeout=300, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def place(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("screens")
    (folder / "data" / "curated").mkdir(parents=True)
    titles = TITLES + [f"chair {i}" for i in range(20)]
    items = [{"id": f"i{i}", "title": title} for i, title in enumerate(titles)]
    slates = [{"request": f"r{p}", "prompt": f"{'lamp' if p % 2 else 'chair'} [b]\x1b[32m:tada: {p}",
               "items": [f"i{(p * 5 + j * 3) % len(items)}" for j in range(5)]} for p in range(40)]  # fmt: skip
    for name, rows in (("catalog", items), ("slates", slates)):
        (folder / "data" / "curated" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = Place(folder / "runs", {"SLATEBENCH_DATA": str(folder / "data"), "SLATEBENCH_RUNS": str(folder / "runs")})
    done = found.run("bench", "bm25", "random", "-d", "curated", "--budget", "smoke", "--no-latency")
    assert done.returncode == 0, done.stderr
    return found


ESCAPED = [
    ("\x1b[31m\x00\x7f\x9b", r"\x1b[31m\x00\x7f\x9b"), ("a\r\n\tb\x08", r"a\r\n\tb\x08"),
    ("\u202a\u202e\u2066\u2069\u200e", r"\u202a\u202e\u2066\u2069\u200e"), ("pay\u200dpal", r"pay\u200dpal"),
    ("\u200b\ufeff\u00ad\u2028", r"\u200b\ufeff\xad\u2028"), (os.fsdecode(b"b\xff"), r"b\udcff"),
]  # fmt: skip
KEPT = ["caf\u00e9 \u6771\u4eac", "\u0915\u094d\u200d\u0937", "\U0001f468\u200d\U0001f469", "[red]x[/] :tada:", "\\n"]


@pytest.mark.parametrize(("text", "line"), [*ESCAPED, *((text, text) for text in KEPT)])
def test_what_acts_or_hides_is_escaped(text: str, line: str) -> None:
    assert shown(text) == line


def test_json_knows_no_nan() -> None:
    content = {"a": float("nan"), "b": [float("-inf"), 1.5], "c": ({"d": float("inf")},)}
    assert json.loads(to_json(content)) == {"a": None, "b": [None, 1.5], "c": [{"d": None}]}


@pytest.mark.parametrize("width", range(1, 60, 3))
def test_a_table_of_any_width_keeps_whole_cells(width: int) -> None:
    head, row = ["name", "figure", "more", "last"], ["a long name", ".4512 [.4301, .4722]", "0.123456", "9 GiB"]
    text = io.StringIO()
    Console(file=text, width=width).print(fitted(head, [row], width, keep=2))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width and "\u2026" not in text.getvalue()
    together = "".join(text.getvalue().split())
    left_out = [name for name, cell in zip(head, row, strict=True) if "".join(cell.split()) not in together]
    assert left_out == head[4 - len(left_out) :] and len(left_out) <= 2
    assert (f"{len(left_out)}column" in together) == bool(left_out)
    if width >= 22:
        assert any(row[1] in line for line in lines)


def test_titles_and_prompts_reach_the_screen_escaped(place: Place) -> None:
    commands = [("generate", "bm25", "-d", "curated", "--prompt", "lamp :tada: \x1b[2J"),
                ("compare", "bm25", "random", "-d", "curated"), ("datasets", "check", "no\x1b[31m\u202ewhere"),
                ("bench", "bm\x1b[31m", "-d", "curated"), ("leaderboard", "show", "-d", "cu\u202e\x9b")]  # fmt: skip
    for command in commands:
        done = place.run(*command)
        text = (done.stdout + done.stderr).decode()
        assert not [raw for raw in RAW if raw in text], text
        assert "Traceback" not in text and "our fault" not in text
    said = place.run(*commands[0]).stdout.decode()
    assert r"bm25: lamp :tada: \x1b[2J" in said
    assert all(
        line in said for line in (r"lamp \x1b[31mred", "lamp [red]markup[/red] [/]", "lamp :tada: emoji", r"\u202eback")
    )
    assert json.loads(place.run(*commands[0], "--json").stdout)["prompt"] == "lamp :tada: \x1b[2J"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252:strict"])
def test_a_terminal_of_another_encoding_ends_nothing(place: Place, encoding: str) -> None:
    commands = [("bench", "bm25", "-d", "curated", "--budget", "smoke", "--no-latency"),
                ("leaderboard", "show", "-d", "curated"), ("compare", "bm25", "random", "-d", "curated"),
                ("generate", "bm25", "-d", "curated", "--prompt", "lamp \u6771")]  # fmt: skip
    for command in commands:
        done = place.run(*command, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert b"UnicodeEncodeError" not in done.stderr
    assert b"bm25: lamp ?" in done.stdout
    code = encoding.split(":")[0]
    table = place.run(*commands[1], PYTHONIOENCODING=encoding).stdout.decode(code)
    assert "| bm25 " in table  # a frame that can be shown


@pytest.mark.parametrize("streams", [">&-", "2>&- >/dev/null", "| head -1"])
def test_a_stream_that_is_closed_or_ends_is_no_error(place: Place, streams: str) -> None:
    done = place.run("leaderboard", "show", "-d", "curated", shell=streams)
    assert done.returncode == 0 and done.stderr == b""


def test_a_bench_without_any_stream_is_whole(place: Place) -> None:
    fresh = place.runs.parent / "silent"
    done = place.run("bench", "bm25", "-d", "curated", "--budget", "smoke", "--no-latency", shell="<&- >&- 2>&-",
                     SLATEBENCH_RUNS=str(fresh))  # fmt: skip
    records = [json.loads(path.read_text()) for path in fresh.glob("curated/*/*/record.json")]
    assert done.returncode == 0 and len(records) == 5 and all(record["state"] == "done" for record in records)
    assert {path.name for path in fresh.iterdir()} >= {"curated", "mlflow.db", "mlartifacts"}


@pytest.mark.parametrize("width", [30, 80])
def test_the_board_on_a_small_terminal(place: Place, width: int) -> None:
    done = place.run("leaderboard", "show", "-d", "curated", COLUMNS=str(width))
    lines = done.stdout.decode().splitlines()
    board = json.loads(place.run("leaderboard", "show", "-d", "curated", "--format", "json").stdout)
    assert {system["system"] for system in board["systems"]} >= {"bm25", "random", "ceiling:reference"}
    for system in board["systems"]:
        assert any(system["system"] in line for line in lines)
    assert len([line for line in lines if " [" in line and "] " in line + " "]) >= len(board["systems"])
    assert "\u2026" not in done.stdout.decode() and "left out" in done.stdout.decode()


@pytest.mark.parametrize("command", [
    ("generate", "bm25", "-d", "curated", "--prompt", b"b\xff"), ("bench", "bm25", "-d", b"b\xff"),
    ("bench", "bm25", "-d", "curated", "--set", b"document=b\xff"), ("compare", "bm25", b"/b\xff", "-d", "curated"),
    ("bench", "bm25", "-d", "curated", "--runs", b"b\xff"), ("datasets", "export", "curated", "--to", b"b\xff"),
    (b"--b\xff",),
])  # fmt: skip
def test_text_that_is_no_utf8_is_one_line(place: Place, command: tuple[str | bytes, ...]) -> None:
    done = place.run(*command)
    error = done.stderr.decode().splitlines()[-1]
    assert done.returncode in (1, 2) and error.startswith("error: ") and r"b\udcff" in error
    assert "our fault" not in error
