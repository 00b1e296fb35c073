"""Shared by the tests of semantic ids and decoders: one thread, small models."""

import pytest
import torch

from slatebench.datasets.train_data import train_data
from slatebench.datasets.vectors.features import make_features
from slatebench.models.base import resolve
from slatebench.models.registry import model_class, parse_model
from slatebench.models.testing import fixture_dataset

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLATEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        dataset = fixture_dataset()
        yield train_data(dataset, make_features(dataset, encoder="hash"))


@pytest.fixture(scope="module")
def models(data):
    """Fitted for a step or two, then shaken: random weights everywhere, so that nothing hides behind a zero.

    They emit slates as they were decoded, not by the prompt.
    """
    made = {}

    def get(address):
        if address not in made:
            name, presets = parse_model(address)
            small = {"max_steps": 2, "layers": 2, "order": "slot"} if name != "trie-prior" else {}
            small |= {"codes": 8}
            found = resolve(model_class(name), presets, "smoke", small)
            model = model_class(name)(found.config, found.sampling)
            model.fit(data, seed=1)
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():
                for p in model.network.parameters() if name != "trie-prior" else ():
                    p += 0.2 * p.requires_grad * torch.randn(p.shape, generator=generator)
            made[address] = model
        return made[address]

    return get
