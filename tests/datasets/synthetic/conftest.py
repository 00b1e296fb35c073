"""The three twins at their default sizes, and the small helpers of these tests."""

import pytest

from slatebench.datasets.registry import card_loader, dataset_card

TWINS = ("bundle-synthetic", "playlist-synthetic", "curated-synthetic")


def generate(name, split_seed=0, **options):
    """A twin with other options than its card's (without the frozen statistics)."""
    card = dataset_card(name)
    card = card.model_copy(update={"options": {**card.options, **options}, "statistics": None})
    return card_loader(card)(card, None, split_seed)


@pytest.fixture(scope="session")
def twins():
    return {name: generate(name) for name in TWINS}


@pytest.fixture(params=TWINS)
def twin(request, twins):
    return twins[request.param]


@pytest.fixture(scope="session")
def make():
    return generate
