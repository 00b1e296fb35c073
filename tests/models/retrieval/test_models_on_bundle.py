"""The retrieval models that need no encoder on the real Bundle data, against figures measured independently."""

import numpy as np
import pytest

from slatebench.datasets.errors import SlateBenchError
from slatebench.datasets.train_data import train_data
from slatebench.models.registry import model_class

registry = pytest.importorskip("slatebench.datasets.registry")
features = pytest.importorskip("slatebench.datasets.vectors.features")


@pytest.fixture(scope="module")
def bundle():
    try:
        return registry.load_dataset("bundle", source="real")
    except SlateBenchError as error:
        pytest.skip(f"needs the real Bundle data: {error}")


def ndcg_at_10(slates, references):
    discount = 1 / np.log2(np.arange(2, 12))
    relevant = [np.isin(row, right) for row, right in zip(slates, references, strict=True)]
    ideal = [discount[: min(10, len(right))].sum() for right in references]
    return np.mean([(hits * discount).sum() / best for hits, best in zip(relevant, ideal, strict=True)])


@pytest.mark.parametrize(
    ("name", "low", "high"), [("random", 0.0, 0.003), ("popularity", 0.002, 0.012), ("bm25", 0.081, 0.101)]
)
def test_ndcg_at_10(bundle, name, low, high):
    model = model_class(name)()
    model.fit(train_data(bundle, features.make_features(bundle, encoder="hash")))
    parts = [bundle.valid, bundle.test]
    scores = [ndcg_at_10(model.generate(p.requests, 10).items[:, 0], p.references["items"].to_list()) for p in parts]
    assert low <= np.mean(scores) <= high
