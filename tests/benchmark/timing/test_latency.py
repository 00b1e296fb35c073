"""The latency harness against models whose cost is known: they sleep, allocate, start slowly or break."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from slatebench.benchmark import bench, latency
from slatebench.benchmark.timing import child as timed
from slatebench.benchmark.timing.harness import TimedModel, time_runs
from slatebench.benchmark.timing.percentiles import paired_ratio, percentiles
from slatebench.datasets.errors import SlateBenchError, UsageError
from slatebench.leaderboards.records import read_run, write_record

SOURCE = """
import os, signal, time

import numpy as np
from plain_model import Plain
from pydantic import Field
from slatebench.models.base import Settings


class Sleeps(Plain):
    name = "sleeps"
    class Sampling(Settings):
        milliseconds: float = Field(20.0, description="slept per request")
    def generate(self, requests, k, *, sampling=None, **more):
        time.sleep((sampling or self.sampling).milliseconds / 1000 * requests.height ** 0.5)
        return super().generate(requests, k, **more)


class Allocates(Plain):
    name = "allocates"
    def restore(self, arrays):
        self.held = np.ones(25 * 2**20)  # 200 MiB


class SlowAtFirst(Plain):
    name = "slow-at-first"
    calls = 0
    def generate(self, requests, k, **more):
        self.calls += 1
        if requests.height == 1 and self.calls <= 8:
            time.sleep(0.1)
        return super().generate(requests, k, **more)


class Encodes(Plain):
    name = "encodes"
    def generate(self, requests, k, **more):
        encoder = type(self.features.text_encoder)
        if not hasattr(encoder, "counted"):
            plain, encoder.counted = encoder.encode, []
            def encode(this, texts, **also):
                encoder.counted.append(len(texts))
                return plain(this, texts, **also)
            encoder.encode = encode
        before = len(encoder.counted)
        self.features.prompts(requests["prompt"].to_list())
        if "SLATEBENCH_LIVE" in os.environ and len(encoder.counted) == before:
            raise ValueError("a prompt came from the cache")
        return super().generate(requests, k, **more)


class BreaksInBatches(Plain):
    name = "breaks-in-batches"
    def generate(self, requests, k, **more):
        if requests.height == 256:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().generate(requests, k, **more)


class BreaksAlone(Plain):
    name = "breaks-alone"
    def generate(self, requests, k, **more):
        if requests.height == 1:
            raise ValueError("one is too few")
        return super().generate(requests, k, **more)


class Threads(Plain):
    name = "threads"
    def cost(self, k, sampling=None):
        import torch
        import polars as pl
        threads = {"torch_threads": torch.get_num_threads(), "polars_threads": pl.thread_pool_size()}
        return {"parameters": 0, "nfe": 3, **threads}
"""
MODELS = {"plain": "Plain", "sleeps": "Sleeps", "allocates": "Allocates", "slow-at-first": "SlowAtFirst",
          "encodes": "Encodes", "breaks-in-batches": "BreaksInBatches", "breaks-alone": "BreaksAlone",
          "threads": "Threads"}  # fmt: skip


@pytest.fixture(scope="module")
def bed(install, tmp_path_factory):
    """All of them benched and timed: the runs folder, and the finished runs by model."""
    install(SOURCE, MODELS)
    folder = tmp_path_factory.mktemp("runs")
    events = []
    with pytest.MonkeyPatch.context() as patch:
        options = dict(budget="smoke", encoder="hash", runs=folder, mlflow=False)
        untimed = bench(list(MODELS), "small", latency=False, **options)
        patch.setenv("SLATEBENCH_LIVE", "1")  # from here on a prompt from the cache is an error
        timed = time_runs(
            untimed.runs, listener=lambda event, cell, details: events.append((cell.model, details["at"]))
        )
    return folder, {run.spec.model: run for run in timed}, events


def figures(bed, model):
    return bed[1][model].record.latency


def test_p50_is_the_known_sleep(bed):
    found = figures(bed, "sleeps")
    assert 20 <= found["p50_low"] <= found["p50_ms"] <= found["p50_high"] and found["p50_ms"] < 40
    for size in (32, 256):  # slept for the square root of the batch
        known = size / (0.020 * size**0.5)
        assert 0.4 * known < found[f"throughput_{size}"] <= known


def test_memory_is_the_known_allocation(bed):
    more = figures(bed, "allocates")["peak_rss_mib"] - figures(bed, "plain")["peak_rss_mib"]
    assert 190 < more < 230


def test_memory_does_not_count_this_process(bed, monkeypatch):
    held = np.ones(60 * 2**20)  # 480 MiB here, touched
    run = time_runs([bed[1]["plain"]], rerun=True)[0]
    assert run.record.latency["peak_rss_mib"] < 400 and held.size


def test_the_warm_up_does_not_count_but_the_cold_start_has_it(bed):
    found = figures(bed, "slow-at-first")
    assert sum(sample >= 100 for sample in found["samples_ms"]) <= 2  # 7 of 20 if the warm-up counted
    assert found["cold_start_s"] > 0.1


def test_prompts_are_encoded_inside_the_timed_call(bed):
    assert "failed" not in figures(bed, "encodes"), figures(bed, "encodes").get("failed")


def test_a_record_has_every_figure_and_says_that_20_requests_are_rough(bed):
    found = figures(bed, "plain")
    assert len(found["samples_ms"]) == found["requests"] == 20
    assert found["rough"] and found["p99_rough"]
    assert found["threads"] == 1 and found["machine"]["cpu"] and found["sampling"] == {}
    needed = [f"p{p}_{end}" for p in (50, 95, 99) for end in ("ms", "low", "high")]
    needed += ["throughput_32", "throughput_256", "cold_start_s", "peak_rss_mib", "nfe", "parameters"]
    assert all(np.isfinite(found[key]) for key in needed)
    assert {"energy_j", "peak_gpu_mib"} <= found.keys()
    json.dumps(found, allow_nan=False)


def test_one_thread_wherever_a_library_asks(bed):
    found = figures(bed, "threads")
    assert (found["torch_threads"], found["polars_threads"], found["nfe"]) == (1, 1, 3)


def test_a_failure_of_the_timing_is_recorded_and_fails_nothing(bed):
    run = bed[1]["breaks-alone"]
    assert run.record.state == "done" and "ValueError: one is too few" in run.record.latency["failed"]
    partly = figures(bed, "breaks-in-batches")
    assert "SIGKILL" in partly["failed"] and partly["p50_ms"] > 0 and partly["throughput_32"] > 0


def test_each_cell_is_timed_once_one_after_another(bed):
    _, runs, events = bed
    order = [model for model, _ in events]
    assert list(dict.fromkeys(order)) == list(MODELS) == [m for i, m in enumerate(order) if i == 0 or order[i - 1] != m]
    whole = [runs[model] for model in MODELS if not model.startswith("breaks-")]
    before = [(run.folder / "record.json").read_bytes() for run in whole]
    time_runs(whole)
    assert before == [(run.folder / "record.json").read_bytes() for run in whole]


def test_a_timing_that_failed_is_tried_again(bed):
    events = []
    time_runs([bed[1]["breaks-alone"]], listener=lambda *event: events.append(event))
    assert events


def test_what_did_not_end_well_is_left_alone(bed):
    run = bed[1]["plain"]
    for change in ({"state": "failed"}, {"spec": run.spec.model_copy(update={"model": "ceiling:reference"})}):
        other = type(run)(run.folder, run.record.model_copy(update={**change, "latency": None}))
        assert time_runs([other]) == [other]


def test_a_kill_in_between_leaves_a_whole_record_and_the_next_call_measures_it(bed):
    _, runs, _ = bed
    run = runs["sleeps"]
    write_record(run.folder, run.record.model_copy(update={"latency": None}))
    code = (
        "from pathlib import Path; from slatebench.leaderboards.records import read_run;"
        "from slatebench.benchmark.timing.harness import time_runs;"
        f"time_runs([read_run(Path({str(run.folder)!r}))], listener=lambda e, c, d: print(d['at'], flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "('latency', " in line and ", 20, " in line:  # some requests are through
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = read_run(run.folder)
    assert left.record.latency is None and left.record.state == "done"
    again = time_runs([left])[0]
    assert again.record.latency["requests"] == 20
    assert read_run(run.folder).record == again.record


def test_two_benches_at_once_wait_for_each_other_and_measure_once(bed):
    run = bed[1]["plain"]
    write_record(run.folder, run.record.model_copy(update={"latency": None}))
    code = (
        "from pathlib import Path; from slatebench.leaderboards.records import read_run;"
        "from slatebench.benchmark.timing.harness import time_runs;"
        f"run = read_run(Path({str(run.folder)!r})); print('ready', flush=True); input();"
        "print(time_runs([run], listener=lambda e, c, d: print('at work'))[0].record.latency['p50_ms'])"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:  # both have seen the record without figures
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0].splitlines() for process in both]
    assert said[0][-1] == said[1][-1]
    assert ["at work" in lines for lines in said].count(True) == 1


# --- interleaved ---------------------------------------------------------------------------------------


def test_interleaved_ratio_is_that_of_the_known_sleeps(bed):
    folder, _, _ = bed
    found = latency(["sleeps", "plain"], "small", requests=30, overrides=None, runs=folder)
    assert [one["model"] for one in found.models] == ["sleeps", "plain"]
    assert found.models[0]["sampling"] == {"milliseconds": 20.0}
    assert {"p50_ms", "p95_ms", "p99_ms", "throughput_32", "throughput_256", "cold_start_s"} <= found.models[1].keys()
    [pair] = found.ratios
    assert (pair["a"], pair["b"]) == ("sleeps", "plain")
    expected = found.models[0]["p50_ms"] / found.models[1]["p50_ms"]
    assert pair["p50_low"] <= pair["p50"] <= pair["p50_high"] and pair["p50"] == pytest.approx(expected)
    assert pair["p50"] > 20
    assert found.samples.shape == (2, 30)


def test_interleaving_uses_the_sampling_settings_asked_for(bed):
    found = latency("sleeps", "small", requests=10, overrides={"milliseconds": 60}, runs=bed[0])
    assert 60 <= found.models[0]["p50_ms"] < 90 and found.ratios == []


def test_energy_of_interleaved_requests_is_kept_for_each_model(bed, monkeypatch):
    without = latency("plain", "small", requests=2, runs=bed[0]).models[0]
    assert {"energy_j", "energy_counter"} <= without.keys()  # None where the machine has no counter
    used = {"plain": iter([1.0, 2.0, 6.0]), "sleeps": iter([10.0, 20.0, 60.0])}
    singles = TimedModel.singles

    def with_counter(self, rows, *rest):
        joules = next(used[self.run.spec.model]) if len(rows) == 1 else 1e6  # the warm-up does not count
        return singles(self, rows, *rest) | {"energy_j": joules, "energy_counter": "rapl"}

    monkeypatch.setattr(TimedModel, "singles", with_counter)
    found = latency(["sleeps", "plain"], "small", requests=3, runs=bed[0]).models
    assert [(one["energy_j"], one["energy_counter"]) for one in found] == [(30.0, "rapl"), (3.0, "rapl")]


def test_a_model_that_breaks_ends_the_comparison_with_one_line(bed):
    with pytest.raises(SlateBenchError, match="breaks-alone: ValueError: one is too few"):
        latency(["plain", "breaks-alone"], "small", requests=5, runs=bed[0])


@pytest.mark.parametrize("models, requests", [(["plain", "plain"], 10), ([], 10), (["plain"], 1), (["plian"], 10)])
def test_wrong_calls_are_usage_errors(bed, models, requests):
    with pytest.raises(UsageError):
        latency(models, "small", requests=requests, runs=bed[0])


# --- statistics ------------------------------------------------------------------------------------------


def test_percentiles_cover_the_truth_and_mark_what_is_rough():
    rng = np.random.default_rng(1)
    inside = {50: 0, 95: 0}
    for trial in range(60):
        found = percentiles(rng.exponential(10.0, 300), seed=trial, resamples=400)
        for p in inside:
            inside[p] += found[f"p{p}_low"] <= -10 * np.log(1 - p / 100) <= found[f"p{p}_high"]
    assert min(inside.values()) >= 50  # 95 % of 60 is 57
    assert [percentiles(np.arange(1.0, n + 1), resamples=10)["rough"] for n in (199, 200)] == [True, False]
    assert [percentiles(np.arange(1.0, n + 1), resamples=10)["p99_rough"] for n in (999, 1000)] == [True, False]


def test_paired_ratio_removes_what_hits_both_alike():
    rng = np.random.default_rng(0)
    load = rng.lognormal(0, 1.0, 400)  # the machine's mood, the same for both
    a, b = 3 * load * rng.lognormal(0, 0.01, 400), load * rng.lognormal(0, 0.01, 400)
    value, low, high = paired_ratio(a, b, 50)
    assert 2.9 < low <= value <= high < 3.1
    _, apart_low, apart_high = paired_ratio(a, rng.permutation(b), 50)
    assert apart_high - apart_low > 3 * (high - low)


# --- counters ----------------------------------------------------------------------------------------------


def test_energy_is_read_where_there_is_a_counter(tmp_path, monkeypatch):
    monkeypatch.setattr(timed, "POWERCAP", tmp_path)
    assert timed._energy() == ([], None)
    for name, used in (("intel-rapl:0", 5_000_000), ("intel-rapl:1", 7_500_000), ("intel-rapl:0:0", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{used}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("262143328850\n")
    readings, counters = timed._energy()
    assert [joules for joules, _ in readings] == [5.0, 7.5] and counters == "rapl"  # packages, not their parts
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert len(timed._energy()[0]) == 1
