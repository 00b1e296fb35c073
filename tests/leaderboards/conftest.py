"""Run folders with known scores, written as a bench would write them; a real browser for the report."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from slatebench.datasets.schema import make_requests
from slatebench.leaderboards.records import Run, folder_in_the_making, read_run, run_folder, write_record
from slatebench.leaderboards.schema import Estimate, Record, RunSpec, Versions

MakeRun = Callable[..., Run]


def spec(**changes: Any) -> RunSpec:
    fields: dict[str, Any] = {
        "dataset": "toy", "source": "synthetic", "fingerprint": "f00d", "model": "dense", "config": {}, "sampling": {},
        "seed": 0, "k": 10, "samples": 1, "budget": "smoke", "encoder": "minilm", "cutoffs": [10, 5],
        "versions": Versions(model="1", metrics="1", features="1", evaluation="1"),
    }  # fmt: skip
    return RunSpec(**{**fields, **changes})


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., RunSpec]:
    return spec


def run_writer(runs: Path) -> MakeRun:
    def make(values: dict[str, np.ndarray] | None = None, *, state: str = "done", groups: list[str] | None = None,
             record: dict[str, Any] | None = None, ids: list[str] | None = None, prompts: list[str] | None = None,
             slates: list[list[list[str]]] | None = None, **changes: Any) -> Run:  # fmt: skip
        """A run whose metrics have these values per request ([P] or [P, S]); slates [P][S][items]."""
        values = values or {"ndcg_sim_at_10": np.array([0.2, 0.4, 0.6])}
        made = spec(**changes)
        final = run_folder(runs, made)
        P = len(next(iter(values.values())))
        ids = ids or [f"r{p}" for p in range(P)]
        rows = []
        for name, table in values.items():
            table = np.asarray(table, float)
            table = table[:, None] if table.ndim == 1 else table
            for p, s in np.ndindex(*table.shape):
                rows.append((ids[p], s, name, None if np.isnan(table[p, s]) else table[p, s]))
        known = {name: np.asarray(table)[np.isfinite(table)] for name, table in values.items()}
        metrics = {name: Estimate(mean=float(v.mean()) if v.size else None, n=P) for name, v in known.items()}
        facts = {"created": "2026-01-01T00:00:00+00:00", "label": made.model, "metrics": metrics, **(record or {})}
        final.parent.mkdir(parents=True, exist_ok=True)
        with folder_in_the_making(final) as folder:
            schema = {"request": pl.Categorical, "sample": pl.Int32, "metric": pl.Categorical, "value": pl.Float64}
            pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "scores.parquet")
            asked = make_requests(prompts or [f"prompt {p}" for p in range(P)])
            asked = asked.with_columns(request=pl.Series(ids), group=pl.Series(groups or ids))
            asked.write_parquet(folder / "requests.parquet")
            slates = slates or [[[f"{made.model} item {i}" for i in range(3)]] for _ in ids]
            long = [
                (ids[p], s, items + [None] * (made.k - len(items)))
                for p, samples in enumerate(slates)
                for s, items in enumerate(samples)
            ]
            kinds = {"request": pl.String, "sample": pl.Int64, "items": pl.List(pl.String)}
            pl.DataFrame(long, schema=kinds, orient="row").write_parquet(folder / "slates.parquet")
            write_record(folder, Record(spec=made, state=state, **facts))  # type: ignore[arg-type]
        return read_run(final)

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    return run_writer(tmp_path / "runs")


@pytest.fixture(scope="session")
def make_run_in() -> Callable[[Path], MakeRun]:
    return run_writer


# --- Chromium without a driver package: the DevTools protocol over a pipe, JSON messages that end in a zero byte -----

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--remote-debugging-pipe"]  # fmt: skip
PATIENCE = 30.0  # seconds


class Browser:
    """One page of a headless Chromium; what it asked of the network and what it complained of is kept."""

    def __init__(self, program: str, profile: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()

        def as_three_and_four() -> None:
            inbound, outbound = os.dup(to_browser), os.dup(from_browser)
            os.dup2(inbound, 3)
            os.dup2(outbound, 4)

        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            close_fds=False, preexec_fn=as_three_and_four, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._count, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        pages = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        found = pages[0]["targetId"] if pages else self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=found, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = self._next(end)
            if found.get("id") == self._count:
                assert "error" not in found, found
                return found["result"]
        raise TimeoutError(method)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser says nothing")
            self._buffer += os.read(self._read, 1 << 20)
        line, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, page: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Open a file, and wait until it stands."""
        self.events.clear()
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int = 900) -> None:
        """Another size of the window; up to 500 px it is a phone's."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width <= 500)  # fmt: skip

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression (of a promise: what it comes to)."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a JavaScript condition holds."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.03)

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        code = {"Enter": 13, " ": 32, "Tab": 9, "Escape": 27, "ArrowDown": 40}[key]
        named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """A picture of the window, or of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings: exceptions, console messages, violations of the Content-Security-Policy."""
        found = []
        for event in self.events:
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(parameters["exceptionDetails"])[:500])
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(parameters["args"])[:500])
        return found

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for, inline data left out."""
        urls = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        self.process.wait(10)
        os.close(self._write)
        os.close(self._read)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium here: the page is tested in a real browser only")
    found = Browser(program, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()
