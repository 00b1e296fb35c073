from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from features_dataset import COLD, small_catalog, small_dataset

from slatebench.datasets.errors import DataError
from slatebench.datasets.vectors.features import features_for_catalog, load_features, make_features, save_features
from slatebench.datasets.vectors.text_encoder import HashEncoder, open_encoder

HERE = Path(__file__).parent


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was really encoded, call by call."""
    log: list[list[str]] = []
    encode = HashEncoder.encode

    def logged(self, texts, *, tokens=False):
        log.append(list(texts))
        return encode(self, texts, tokens=tokens)

    monkeypatch.setattr(HashEncoder, "encode", logged)
    return log


def use_everything(features) -> tuple[np.ndarray, ...]:
    prompts = ["roses in the garden", "coffee"]
    return features.items(), features.item_texts(), features.prompts(prompts), *features.tokens(prompts)


@pytest.mark.parametrize("item_vectors", ["text", "word2vec"])
def test_shapes_and_unit_rows(item_vectors):
    features = make_features(small_dataset(item_vectors), encoder="hash")
    assert features.item_vectors == ("word2vec" if item_vectors == "word2vec" else "hash")
    assert features.items().shape == (60, 128 if item_vectors == "word2vec" else 64)
    assert features.item_texts().shape == (60, 64)
    for array in (features.items(), features.item_texts(), features.prompts(["coffee", "new"])):
        assert array.dtype == np.float32
        lengths = np.linalg.norm(array, axis=1)
        if array is features.items() and item_vectors == "word2vec":
            assert (lengths < 1).all()  # the shorter, the less is known
        else:
            np.testing.assert_allclose(lengths, 1, atol=1e-5)
    with pytest.raises(ValueError):
        features.items()[0] = 0  # shared by all models: read-only


def test_nothing_is_encoded_before_it_is_asked_for(dataset, calls):
    make_features(dataset, encoder="hash")
    assert calls == []


def test_second_run_encodes_nothing(dataset, calls):
    first = use_everything(make_features(dataset, encoder="hash"))
    assert len(calls) == 2  # item texts, and all prompts of all parts at once
    assert sorted(calls[1]) == sorted(
        {p for part in ("train", "valid", "test") for p in dataset.part(part).requests["prompt"]}
    )
    calls.clear()
    second = use_everything(make_features(dataset, encoder="hash"))
    assert calls == []
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_rows_belong_to_their_texts(dataset):
    features = make_features(dataset, encoder="hash")
    expected = open_encoder("hash").encode(dataset.catalog.texts).pooled
    np.testing.assert_allclose(features.item_texts(), expected, atol=1e-6)
    texts = ["new words here today", "coffee", "a long walk", "coffee", "more"]  # cached and new, mixed and repeated
    expected = open_encoder("hash").encode(texts, tokens=True)
    np.testing.assert_allclose(features.prompts(texts), expected.pooled, atol=1e-6)
    states, mask = features.tokens(texts)
    assert mask.sum(axis=1).tolist() == [4, 1, 3, 1, 1] and states.shape == (5, 4, 64)
    np.testing.assert_allclose(states[mask], expected.states, atol=1e-6)
    assert not states[~mask].any()


def test_no_prompts(dataset):
    features = make_features(dataset, encoder="hash")
    assert features.prompts([]).shape == (0, 64)
    states, mask = features.tokens([])
    assert states.shape == (0, 0, 64) and mask.shape == (0, 0)


def test_live_features_always_encode_prompts_and_never_items(dataset, calls):
    features = make_features(dataset, encoder="hash")
    kept = use_everything(features)
    live = features.live()
    calls.clear()
    fresh = use_everything(live)
    assert calls == [["coffee", "roses in the garden"]]  # once for pooled vector and token states
    assert live.version == features.version
    for a, b in zip(kept, fresh, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    live.forget()
    live.prompts(["coffee"])
    live.prompts(["coffee"])
    assert calls[1:] == [["coffee"]]
    live.forget()
    live.prompts(["coffee"])
    features.live().prompts(["coffee"])  # nothing is shared with another live object
    assert calls[1:] == [["coffee"]] * 3
    live.prompts(["other"])
    live.prompts(["coffee"])
    assert calls[4:] == [["other"], ["coffee"]]


def test_typed_prompt_alone_does_not_encode_the_dataset(dataset, calls):
    make_features(dataset, encoder="hash").prompts(["typed just now"])
    assert calls == [["typed just now"]]


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "garbage"])
def test_damaged_cache_is_made_again_with_one_warning(dataset, calls, cache, capfd, harm):
    first = use_everything(make_features(dataset, encoder="hash"))
    for path in cache.rglob("*.safetensors"):
        blob = bytearray(path.read_bytes())
        if harm == "cut":
            blob = blob[: len(blob) // 2]
        elif harm == "flip":
            blob[-500:] = bytes(b ^ 255 for b in blob[-500:])
        path.write_bytes({"empty": b"", "garbage": b"x" * 5000}.get(harm, bytes(blob)))
    capfd.readouterr(), calls.clear()
    second = use_everything(make_features(dataset, encoder="hash"))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    warnings = [line for line in capfd.readouterr().err.splitlines() if "damaged" in line]
    assert len(warnings) == len(calls) >= 1
    calls.clear()
    use_everything(make_features(dataset, encoder="hash"))
    assert calls == [] and not capfd.readouterr().err


def test_leaves_nothing_half_written(dataset, cache, monkeypatch):
    def broken(self, texts, *, tokens=False):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(HashEncoder, "encode", broken)
        make_features(dataset, encoder="hash").items()
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    use_everything(make_features(dataset, encoder="hash"))


@pytest.mark.parametrize("item_vectors", ["text", "word2vec"])
def test_saved_features_come_back_whole(item_vectors, calls, tmp_path):
    dataset = small_dataset(item_vectors)
    features = make_features(dataset, encoder="hash")
    first = use_everything(features)
    save_features(features, tmp_path / "model")
    calls.clear()
    loaded = load_features(tmp_path / "model", dataset.catalog)
    assert (loaded.item_vectors, loaded.version) == (features.item_vectors, features.version)
    assert all(np.array_equal(a, b) for a, b in zip(first, use_everything(loaded), strict=True))
    assert calls == []  # the dataset's prompts still come from the cache
    np.testing.assert_allclose(loaded.prompts(["brand new"]), features.prompts(["brand new"]), atol=1e-6)


def test_saved_features_need_no_cache(dataset, cache, tmp_path):
    import shutil

    features = make_features(dataset, encoder="hash")
    first = use_everything(features)
    save_features(features, tmp_path / "model")
    shutil.rmtree(cache)
    for a, b in zip(first, use_everything(load_features(tmp_path / "model", dataset.catalog)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_saved_features_refuse_what_does_not_fit(dataset, tmp_path, monkeypatch):
    features = make_features(dataset, encoder="hash")
    save_features(features, tmp_path)
    with pytest.raises(DataError, match="60 items"):
        load_features(tmp_path, small_catalog([1, 2, 3]))
    with monkeypatch.context() as patch, pytest.raises(DataError, match="hash-0"):
        patch.setattr(HashEncoder, "version", "hash-0")
        load_features(tmp_path, dataset.catalog)
    (tmp_path / "features.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="--rerun"):
        load_features(tmp_path, dataset.catalog)


@pytest.mark.parametrize("item_vectors", ["text", "word2vec"])
def test_another_catalogue_keeps_known_items_and_places_new_ones(item_vectors, calls, tmp_path):
    dataset = small_dataset(item_vectors)
    features = make_features(dataset, encoder="hash")
    items = features.items()
    calls.clear()
    rows = [5, 70, 3, *COLD, 71]  # 70 (piano) and 71 (mug) are new
    changed = features_for_catalog(features, small_catalog(rows))
    vectors = changed.items()
    assert calls == [["coffee mug 70. coffee", "running shoe 71. running"]]
    assert np.array_equal(vectors[[0, 2, 3, 4]], items[[5, 3, *COLD]])
    themes = np.stack([items[theme::6].mean(axis=0) for theme in range(6)])
    assert (vectors[[1, 5]] @ themes.T).argmax(axis=1).tolist() == [4, 5]
    save_features(changed, tmp_path)
    again = load_features(tmp_path, small_catalog(rows))
    assert np.array_equal(again.items(), vectors)
    assert np.array_equal(features_for_catalog(again, small_catalog(rows)).items(), vectors)
    assert features_for_catalog(features, small_catalog([])).items().shape == (0, items.shape[1])


def test_version_names_what_made_the_numbers():
    versions = {
        make_features(small_dataset(vectors), encoder=encoder).version
        for vectors in ("text", "word2vec")
        for encoder in ("hash", "minilm")
    }
    assert len(versions) == 4


def fresh_process(code: str) -> str:
    script = f"import sys; sys.path.insert(0, {str(HERE)!r})\nfrom features_dataset import small_dataset\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


USE = """
from slatebench.datasets.vectors.features import make_features
import hashlib
f = make_features(small_dataset("text"))
arrays = f.items(), f.prompts(["coffee"]), f.tokens(["coffee"])[0]
print(hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest())
print(sorted({"torch", "transformers", "sentence_transformers", "sklearn", "gensim", "rich"} & set(sys.modules)))
"""


def test_warm_cache_loads_nothing_heavy():
    first, loaded = fresh_process(USE).splitlines()
    assert "sentence_transformers" in loaded
    assert fresh_process(USE).splitlines() == [first, "[]"]


def test_six_processes_encode_once(tmp_path):
    code = """
import os, pathlib, time
from slatebench.datasets.vectors import text_encoder as te
from slatebench.datasets.vectors.features import make_features
encode = te.HashEncoder.encode
def slow(self, texts, *, tokens=False):
    pathlib.Path(os.environ["LOG"], f"{os.getpid()}-{time.time_ns()}").touch()
    time.sleep(0.3)
    return encode(self, texts, tokens=tokens)
te.HashEncoder.encode = slow
f = make_features(small_dataset(), encoder="hash")
print(f.items().sum(), f.prompts(["coffee"]).sum())
"""
    import os

    (tmp_path / "log").mkdir()
    script = f"import sys; sys.path.insert(0, {str(HERE)!r})\nfrom features_dataset import small_dataset\n{code}"
    env = os.environ | {"LOG": str(tmp_path / "log")}
    started = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=env) for _ in range(6)]
    printed = {process.communicate(timeout=120)[0] for process in started}
    assert [process.returncode for process in started] == [0] * 6
    assert len(printed) == 1
    assert len(list((tmp_path / "log").iterdir())) == 2  # one for the items, one for the prompts


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    code = """
import resource, signal
from slatebench.datasets.errors import SlateBenchError
from slatebench.datasets.vectors.features import make_features
f = make_features(small_dataset(), encoder="hash")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    f.items()
except SlateBenchError as error:
    print(error)
"""
    (line,) = fresh_process(code).splitlines()
    assert "make room" in line
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []


def test_cache_that_cannot_be_written_is_one_line(dataset, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    from slatebench.datasets.errors import SlateBenchError

    with pytest.raises(SlateBenchError, match="set SLATEBENCH_CACHE"):
        make_features(dataset, encoder="hash", cache=tmp_path / "file").items()
