"""Golden fingerprints: a card freezes what its loader gives, and every spec holds the fingerprint: it is the version.

The twins are held by tests/datasets_synthetic; loaders of files that the user brings by tiny files in tests/datasets.
"""

import pytest

from slatebench.datasets.card import builtin_cards
from slatebench.datasets.checks.verify import verify

BROUGHT = {"curated", "interactions", "mpd", "mpd-hard"}
CARDS = builtin_cards()


def test_every_card_freezes_a_fingerprint():
    assert {name for name, card in CARDS.items() if card.statistics is None} == BROUGHT
    assert all(card.statistics.fingerprint for name, card in CARDS.items() if name not in BROUGHT)


@pytest.mark.parametrize("name", [n for n, card in CARDS.items() if card.source == "real" and n not in BROUGHT])
def test_real_data_have_the_fingerprint_of_their_card(name, real_data):
    found = verify(name)
    if not found.checked and "bundle" not in name:
        pytest.skip(f"{name} is not in SLATEBENCH_DATA")
    assert found.ok, "; ".join(found.problems)
