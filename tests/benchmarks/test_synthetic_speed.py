"""Twins of a million items: how long they take (run on demand)."""

import pytest

from slatebench.datasets.registry import card_loader, dataset_card


@pytest.mark.parametrize("name", ["bundle-synthetic", "playlist-synthetic", "curated-synthetic"])
def test_a_million_items(benchmark, name):
    card = dataset_card(name)
    card = card.model_copy(update={"options": {**card.options, "items": 1_000_000}, "statistics": None})
    data = benchmark.pedantic(card_loader(card), args=(card, None, 0), rounds=1)
    assert len(data.catalog) == 1_000_000
