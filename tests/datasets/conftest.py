"""What the tests of the data room share: tiny cards, a plug-in on the path, a web server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slatebench.datasets.card import CardFile, DatasetCard


@pytest.fixture
def real_data() -> Path:
    """The folder of real data, else skip."""
    folder = Path(os.environ.get("SLATEBENCH_DATA", "").split(os.pathsep)[0])
    if not (folder / "bundle").is_dir() or not (folder / "cpcd").is_dir():
        pytest.skip("real data needed: set SLATEBENCH_DATA to a folder with bundle/ and cpcd/")
    return folder


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither data folder nor network: SLATEBENCH_DATA is unset, the cache is this empty folder."""
    monkeypatch.delenv("SLATEBENCH_DATA", raising=False)
    monkeypatch.setenv("SLATEBENCH_CACHE", str(tmp_path / "cache"))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "cache"


def make_card(name: str = "tiny", **changes: object) -> DatasetCard:
    """A valid card with changes."""
    values: dict[str, object] = {
        "name": name,
        "title": "A tiny dataset",
        "task": "prompt->slate",
        "source": "real",
        "licence": "none",
        "citation": "none",
        "homepage": "https://example.org",
        "loader": "tiny:load",
        "text_fields": ["title"],
        "item_vectors": "text",
        "evaluation_embedding": "lsa-text",
        "slate_length": 2,
        "cutoffs": [2, 1],
        "split": "as given",
    }
    return DatasetCard(**(values | changes))  # type: ignore[arg-type]


def card_file(path: str, content: bytes, urls: list[str] | None = None) -> CardFile:
    """The card's entry for that content."""
    return CardFile(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), urls=urls or [])


@pytest.fixture
def card() -> Callable[..., DatasetCard]:
    return make_card


@pytest.fixture
def as_file() -> Callable[..., CardFile]:
    return card_file


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Install a package for the time of a test: entry point name, module name, code; value is `module:CARD`."""

    def install(name: str, module: str, code: str) -> None:
        folder = tmp_path / f"plugin-{module}"
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[slatebench.datasets]\n{name} = {module}:CARD\n")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


class Server:
    """A web server whose paths the test fills: `pages[path] = content`; see the special paths in `_Handler`."""

    def __init__(self, address: str, pages: dict[str, bytes]) -> None:
        self.address, self.pages = address, pages
        self.asked: list[str] = []


@pytest.fixture
def server() -> Iterator[Server]:
    pages: dict[str, bytes] = {}
    release = threading.Event()

    class _Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            content = pages.get(self.path)
            if content is None:
                self.send_error(404)
                return
            if self.path.startswith("/silent"):  # takes the connection, never answers
                release.wait(30)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.path.startswith("/breaks"):  # announces all, sends half
                content = content[: len(content) // 2]
            if self.path.startswith("/slow"):  # a few bytes now and then, for ever
                for byte in content:
                    if release.is_set():
                        return
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.02)
                return
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    httpd.daemon_threads = True
    state = Server(f"http://127.0.0.1:{httpd.server_port}", pages)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    release.set()
    httpd.shutdown()
    httpd.server_close()
