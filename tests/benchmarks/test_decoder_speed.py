"""HiGR and MaskGR against their flat twin: same ids and size (about 7 M parameters), random weights, one thread,
interleaved.

Both denominators: the flat decoder with beams over slates (OneRec's way), and with a greedy slate and beams inside
items.
"""

import time

import numpy as np
import polars as pl
import pytest
import torch

from slatebench.datasets.schema import CATALOG_SCHEMA, Catalog, make_requests
from slatebench.datasets.vectors.features import features_for_catalog, make_features
from slatebench.models.base import resolve
from slatebench.models.registry import model_class, parse_model
from slatebench.models.semantic_ids.catalogue import IdCatalogue
from slatebench.models.semantic_ids.quantiser import Tokenizer
from slatebench.models.testing import fixture_dataset

N, SLOTS = 12_000, 10
SYSTEMS = {
    "flat, beams over slates": ("s2s:sids+large", {"search": "slate"}),
    "flat, beams inside items": ("s2s:sids+large", {"search": "item"}),
    "higr": ("higr:large", {}),
    "higr:parallel": ("higr:parallel+large", {}),
}
MASKED = {
    "1 pass": {},
    "4 passes": {"refinements": 3},
    "8 passes": {"refinements": 7},
    "16 passes": {"refinements": 15},
    "levels, 3 passes": {"decoder": "levels"},
    "confidence, 4 passes": {"decoder": "confidence", "passes": 4},
    "confidence, 8 passes": {"decoder": "confidence", "passes": 8},
    "confidence, 16 passes": {"decoder": "confidence", "passes": 16},
}


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(2_000)]
    texts = [" ".join(rng.choice(words, 6)) for _ in range(N)]
    rows = [(str(i), text, text, [], 0) for i, text in enumerate(texts)]
    catalog = Catalog(pl.DataFrame(rows, schema=CATALOG_SCHEMA, orient="row"))
    small = make_features(fixture_dataset(), encoder="hash", cache=tmp_path_factory.mktemp("cache"))
    features = features_for_catalog(small, catalog)
    codes = rng.integers(0, 256, (N, 3))
    tokenizer = Tokenizer(np.zeros((3, 256, 4), np.float32))
    models = {}
    for name, (address, sampling) in (SYSTEMS | {"maskgr": ("maskgr:large", {})}).items():
        cls = model_class(parse_model(address)[0])
        settings = resolve(cls, parse_model(address)[1], "standard", {})
        model = cls(settings.config, settings.sampling)
        model.catalog, model.features = catalog, features
        model.ids = IdCatalogue(catalog, features, codes, tokenizer, torch.device("cpu"))
        torch.manual_seed(0)
        model.network = model._new_network().eval()
        for head in model.network.units.heads:
            torch.nn.init.normal_(head.weight, std=0.05)
        models[name] = (model, sampling)
    sizes = [sum(p.numel() for p in model.network.parameters()) for model, _ in models.values()]
    assert max(sizes) <= 1.05 * min(sizes)
    return models


@pytest.mark.parametrize(("batch", "beam", "rounds"), [(1, 1, 7), (1, 10, 5), (1, 50, 5), (32, 1, 3), (32, 50, 1)])
def test_higr_against_its_flat_twin(systems, batch, beam, rounds, benchmark):
    torch.set_num_threads(1)
    requests = make_requests([f"w{i} w{i + 1} w{2 * i} for a trip" for i in range(batch)])
    times = {name: [] for name in SYSTEMS}
    for _ in range(rounds + 1):  # interleaved; the first round warms up
        for name in SYSTEMS:
            model, values = systems[name]
            sampling = model.Sampling(beam=beam, **values)
            start = time.process_time()
            model.generate(requests, SLOTS, sampling=sampling)
            times[name].append(time.process_time() - start)
    ms = {name: 1e3 * float(np.median(taken[1:])) / batch for name, taken in times.items()}
    slate, item = ms["flat, beams over slates"], ms["flat, beams inside items"]
    for name, value in ms.items():
        benchmark.extra_info[name] = {"ms": value, "to_slate_beams": slate / value, "to_item_beams": item / value}
        print(f"batch {batch} beam {beam}: {name}: {value:.1f} ms, {slate / value:.2f}x, {item / value:.2f}x")
    model, values = systems["higr"]
    benchmark.pedantic(lambda: model.generate(requests, SLOTS, sampling=model.Sampling(beam=beam)), rounds=1)


@pytest.mark.parametrize(("batch", "beam", "rounds"), [(1, 1, 15), (1, 10, 5), (32, 1, 3)])
def test_masked_diffusion_against_its_flat_twin(systems, batch, beam, rounds, benchmark):
    torch.set_num_threads(1)
    requests = make_requests([f"w{i} w{i + 1} w{2 * i} for a trip" for i in range(batch)])
    (flat, search), (masked, _) = systems["flat, beams inside items"], systems["maskgr"]
    asked = {"flat": (flat, flat.Sampling(beam=beam, **search))}
    asked |= {name: (masked, masked.Sampling(**values)) for name, values in MASKED.items()}
    times = {name: [] for name in asked}
    for _ in range(rounds + 1):  # interleaved; the first round warms up
        for name, (model, sampling) in asked.items():
            start = time.process_time()
            model.generate(requests, SLOTS, sampling=sampling)
            times[name].append(time.process_time() - start)
    ms = {name: 1e3 * float(np.median(taken[1:])) / batch for name, taken in times.items()}
    for name, value in ms.items():
        benchmark.extra_info[name] = {"ms": value, "to_flat": ms["flat"] / value}
        print(f"batch {batch} beam {beam}: {name}: {value:.1f} ms, {ms['flat'] / value:.2f}x")
    benchmark.pedantic(lambda: masked.generate(requests, SLOTS), rounds=1)
