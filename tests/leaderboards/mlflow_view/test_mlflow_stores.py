"""The MLflow view in stores that are no sqlite file: Postgres, a server elsewhere."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slatebench.datasets.errors import SlateBenchError
from slatebench.leaderboards.mlflow_view.store import connect, without_password

COMMAND = [sys.executable, "-P", "-c", "from slatebench.benchmark.cli.app import main; main()"]
PASSWORD = "open-sesame"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The tracking URI of a Postgres of our own."""
    pytest.importorskip("psycopg", reason="Postgres: pip install 'psycopg[binary]'")
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *filter(None, [shutil.which("initdb")])]
    if not found:
        pytest.skip("Postgres: apt install postgresql")
    programs = Path(found[0]).parent
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's folders are closed to other users
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # which Postgres refuses to run as
        as_user = {"user": "postgres"}
        shutil.chown(folder, "postgres")
    word = folder / "password"
    word.write_text(PASSWORD)
    word.chmod(0o644)
    subprocess.run([programs / "initdb", "-D", folder / "data", "-U", "ann", "-A", "scram-sha-256", "--pwfile", word],
                   check=True, capture_output=True, cwd="/", **as_user)  # fmt: skip
    port = free_port()
    server = subprocess.Popen(
        [programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder, "-h", "127.0.0.1"],
        stderr=subprocess.DEVNULL, cwd="/", **as_user,
    )  # fmt: skip
    try:
        for _ in range(120):
            asked = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            if subprocess.run(asked, capture_output=True).returncode == 0:
                break
            assert server.poll() is None
            time.sleep(0.5)
        else:
            pytest.fail("Postgres does not answer")
        yield f"postgresql://ann:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown
        server.wait(30)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The tracking URI of an MLflow server."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", "--backend-store-uri",
         f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=folder,
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2)
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.parametrize("store", ["postgres", "server"])
def test_rebuild_fills_the_store_and_says_one_line(
    store: str, make_run_in: Callable[[Path], Callable[..., Any]], tmp_path: Path, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    uri = request.getfixturevalue(store)
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for seed in (0, 1):
        make_run_in(runs)(seed=seed, budget="standard")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for _ in range(2):  # again: nothing stands there twice
        done = subprocess.run(
            [*COMMAND, "leaderboard", "rebuild", "--runs", str(runs)], capture_output=True, text=True, cwd=elsewhere
        )
        assert done.stdout == f"2 records and 0 sweeps logged to {without_password(uri)}\n", done.stderr
        assert PASSWORD not in done.stdout + done.stderr and done.returncode == 0
    client = connect(runs)
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    shown = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in shown) == ["dense", "dense seed 0", "dense seed 1"]
    seed = next(run for run in shown if run.data.tags.get("seed") == "1")
    names = [file.path for file in client.list_artifacts(seed.info.run_id)]
    assert {"spec.json", "record.json", "slates.parquet", "scores.parquet"} <= set(names)
    kept = client.download_artifacts(seed.info.run_id, "spec.json", str(tmp_path))
    assert '"seed": 1' in Path(kept).read_text()
    assert not list(elsewhere.iterdir())  # a database would put artifacts into the current folder


@pytest.mark.parametrize("uri", [
    f"postgresql://ann:{PASSWORD}@127.0.0.1:9/bench", f"postgresql://127.0.0.1:9/bench?user=ann&password={PASSWORD}",
    f"postgres://ann:{PASSWORD}@127.0.0.1:9/bench", f"postgresql://ann:with/{PASSWORD}@127.0.0.1:9/bench",
    f"http://ann:{PASSWORD}@127.0.0.1:9", f"http://{PASSWORD}@127.0.0.1:9",
])  # fmt: skip
def test_a_store_that_does_not_answer_is_one_line_without_a_password(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(SlateBenchError, match=r"MLflow at .*leaderboard rebuild") as error:
        connect(tmp_path)
    assert PASSWORD not in str(error.value) and "\n" not in str(error.value)


def test_a_missing_driver_is_named_and_no_password_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"mssql+pymssql://ann:{PASSWORD}@127.0.0.1/bench")
    with pytest.raises(SlateBenchError, match=r"mssql\+pymssql://ann:\*\*\*@.*pymssql.*driver") as error:
        connect(tmp_path)
    assert PASSWORD not in str(error.value) and "\n" not in str(error.value)
