"""MLflow's own pages in a real browser, over six systems."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slatebench.leaderboards.mlflow_view.runs import log_runs, page
from slatebench.leaderboards.mlflow_view.store import connect

SYSTEMS = ("popularity", "bm25", "s2s", "dmsg", "higr", "maskgr")


@pytest.fixture(scope="module")
def server(
    browser: Any, make_run_in: Callable[[Path], Callable[..., Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, list[str]]]:
    """Address of a server over six systems, the experiment's id, the ids of the systems' runs."""
    runs = tmp_path_factory.mktemp("pages") / "runs"
    make = make_run_in(runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        log_runs([make({"coverage": np.full(3, 0.5), "ndcg_sim_at_10": np.full(3, 0.1 * place)}, model=model,
                       budget="standard") for place, model in enumerate(SYSTEMS, 1)], runs)  # fmt: skip
        client = connect(runs)
        experiment = client.get_experiment_by_name("toy")
        assert experiment is not None
        found = {run.info.run_name: run.info.run_id
                 for run in client.search_runs([experiment.experiment_id], "tags.seeds LIKE '%'")}  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-P", "-c", "from slatebench.benchmark.cli.app import main; main()", "ui", "--runs",
                   str(runs), "--port", str(port)]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(address, timeout=2)
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.5)
        yield address, experiment.experiment_id, [found[model] for model in SYSTEMS]
    finally:
        browser.call("Page.navigate", url="about:blank")  # before the page misses its server
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_the_compare_page_sets_six_systems_side_by_side(browser: Any, server: tuple[str, str, list[str]]) -> None:
    address, experiment, systems = server
    ids, of = json.dumps(systems).replace(" ", ""), json.dumps([experiment])
    browser.resize(1700, 1100)
    browser.call("Page.navigate", url=f"{address}/#/compare-runs?runs={ids}&experiments={of}")
    browser.wait("document.body && document.body.innerText.includes('Comparing 6 Runs')")
    browser.wait("document.body.innerText.includes('uncertainty/') || document.body.innerText.includes('coverage')")
    text = browser.evaluate("document.body.innerText")
    assert all(model in text for model in SYSTEMS)
    plotted = text[text.index("Parameters:") : text.index("Clear All")]
    assert "System" in plotted and "ndcg_sim_at_10" in plotted


def test_the_table_opens_with_the_best_system_and_the_headline(
    browser: Any, server: tuple[str, str, list[str]]
) -> None:
    address, experiment, _ = server
    browser.resize(1700, 1100)
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=f"{address}/{page(experiment)}")
    browser.wait(
        "document.querySelectorAll('.ag-header-cell').length > 4 && document.body.innerText.includes('maskgr')"
    )
    first = (  # by place on the screen: the cells do not stand in this order in the page
        "[...document.querySelectorAll('.ag-header-viewport .ag-header-cell')]"
        ".sort((a, b) => a.getBoundingClientRect().left - b.getBoundingClientRect().left)[0].getAttribute('col-id')"
    )
    browser.wait(f"{first} === 'metrics.`ndcg_sim_at_10`'")
    rows = browser.evaluate(
        "[...document.querySelectorAll('.ag-row a')].filter(link => link.innerText.trim())"
        ".sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top).map(a => a.innerText.trim())"
    )
    assert [name for name in rows if name in SYSTEMS] == list(reversed(SYSTEMS)), rows
