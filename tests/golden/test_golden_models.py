"""Golden slates of every built-in address: a short fit and its slates, beside the model's `version`.

With other kernels (OpenBLAS Nehalem to Haswell, torch without vectors to AVX2, oneDNN SSE4.1 to AVX2) and two threads
all slates but one were equal; losses differed by 3e-6 of the largest, shaken ones by 1e-7, norms by 3e-5. CLOSE leaves
more than ten times as much.
"""

import hashlib
import json

import numpy as np
import pytest
import torch
from golden import line, lines

from slatebench.datasets.references import references_closed
from slatebench.models.base import resolve
from slatebench.models.registry import BUILTIN, model_class, parse_model
from slatebench.models.testing import recall
from slatebench.models.training.fit import BeforeTraining, stop_before_training

SEED = 4  # of the fits: no item lies near the border of two semantic ids (see test_golden_features.py)
K = 8  # slots of a neural model's slates; others rank the whole catalogue

# The share of a model's slots that must agree: where slots are decoded one after the other, a near tie changes all that
# follow, so that one of the seven slates may be another (and rates by as much). Losses and norms of arrays are CLOSE.
SLOTS, SLOTS_RANKED = 0.85, 0.98
CLOSE = {"loss": 5e-5, "shaken": 3e-6, "norms": 3e-4, "": 0.07}

# Short fits that move far: a network whose heads have hardly left zero would hide what changes inside it.
SHORT = {
    "max_steps": 12, "warmup_steps": 1, "learning_rate": 0.01, "ema": 0.2, "batch_size": 16, "width": 16, "heads": 2,
    "layers": 2, "latent_dim": 12, "codes": 8, "tokenizer_steps": 5, "alignment_steps": 4, "allow_collapse": True,
    "device": "cpu",
}  # fmt: skip

# Combinations of presets, and settings that no preset turns on, which go through code of their own.
COMBINED = (
    "higr:parallel+prior", "higr:parallel+sampled", "higr:parallel beam=2", "s2s:sids+prior", "s2s:sids+slate-beam",
    "s2s:prior+slate-beam", "s2s:sids+pairs", "maskgr:prior+levels", "maskgr:prior+confidence", "maskgr:levels+sampled",
    "maskgr:confidence+sampled", "maskgr refinements=2", "higr alignment=plain", "higr:orpo rank_weight=1",
    "higr tokenizer=rkmeans", "higr tokenizer=crqvae", "higr order=slot", "higr order=confidence", "s2s fill=none",
    "dmsg:residual+prior", "dmsg latents=joint", "dmsg target=x0", "dmsg schedule=linear", "dmsg sampler=ddpm",
    "dmsg sampler=dpm++", "dmsg eta=0.5", "dmsg guidance_rescale=0.7", "dmsg spacing=leading",
    "dmsg rounding=assignment", "dmsg order=prompt2vec", "dmsg order=slot", "dmsg patience=2 check_every=4",
    "bm25:sampled+ordered", "dense:sampled+ordered", "dense:history+sampled+ordered", "trie-prior tokenizer=rkmeans",
)  # fmt: skip
ADDRESSES = [a for name in BUILTIN for a in (name, *(f"{name}:{preset}" for preset in model_class(name).PRESETS))]


def setting(text):
    """`key=value` as key and value."""
    key, value = text.split("=")
    return key, json.loads(value) if value[0].isdigit() else value


def shaken_loss(model, data):
    """The loss of the untrained network with noise on all weights: what no zero at the start of training hides."""
    with stop_before_training(), pytest.raises(BeforeTraining) as stopped:
        model.fit(data, seed=SEED)
    task, generator = stopped.value.task.eval(), torch.Generator().manual_seed(0)
    with torch.no_grad(), torch.random.fork_rng():
        for weights in task.parameters():
            weights += 0.2 * torch.randn(weights.shape, generator=generator)
        torch.manual_seed(0)
        return task(torch.arange(16)).item()


def resolved_model(address):
    """An unfitted model of an address that may be followed by settings, and whether it trains a network."""
    address, *changes = address.split()
    name, presets = parse_model(address)
    cls = model_class(name)
    values = {key: value for key, value in SHORT.items() if key in cls.Config.model_fields}
    resolved = resolve(cls, presets, "smoke", values | dict(map(setting, changes)))
    return cls(resolved.config, resolved.sampling), "max_steps" in values


def entries():
    """Every address once for each condition that it answers, and the name of its entry."""
    for address in (*ADDRESSES, *COMBINED):
        for condition in sorted(resolved_model(address)[0].conditions()):
            yield pytest.param(address, condition, id=entry_name(address, condition))


def entry_name(address, condition):
    return address if condition == "prompt" else f"{address} on histories"


ENTRIES = list(entries())


@pytest.fixture(scope="session")
def emitted(dataset, data, histories, history_data):
    """What an address gives: slates, losses, diagnostics, norms of the fitted arrays."""
    asked = {"prompt": (dataset, data), "history": (histories, history_data)}

    def run(address, condition):
        dataset, data = asked[condition]

        def evaluate(slates):
            with references_closed(False):
                return recall(slates, data.valid_requests, dataset.valid.references)

        model, trains = resolved_model(address)
        report = model.fit(data, seed=SEED, evaluate=evaluate)
        k = K if trains else len(data.catalog)
        slates = model.generate(dataset.test.requests, k, samples=2 if model.stochastic() else 1, seed=3)
        numbers = {name: [value for _, value in curve] for name, curve in report.curves.items()}
        if trains:
            numbers["shaken"] = shaken_loss(type(model)(model.config, model.sampling), data)
        numbers.pop("learning_rate", None)  # what it does is in the losses
        numbers |= {name: rates.mean() for name, rates in slates.diagnostics.items()}
        arrays = model.arrays().values()
        numbers["norms"] = [np.linalg.norm(array) for array in arrays if array.dtype.kind == "f"]
        settings = json.dumps([model.config.model_dump(), model.sampling.model_dump()], sort_keys=True)
        return {
            "settings": hashlib.sha256(settings.encode()).hexdigest()[:8],
            "slates": lines(slates.items),
            "numbers": {name: line(values) for name, values in numbers.items()},
        }

    return run


@pytest.mark.parametrize(("address", "condition"), ENTRIES)
def test_slates_are_golden(address, condition, emitted, goldens):
    cls = model_class(parse_model(address.split()[0])[0])
    where = f"`version` in {cls.__module__.replace('slatebench.', '').replace('.', '/')}.py"
    slots = SLOTS if "max_steps" in cls.Config.model_fields else SLOTS_RANKED
    name, found = entry_name(address, condition), emitted(address, condition)
    goldens(cls.name).hold(name, cls.version, where, found, slots=slots, close=CLOSE)


@pytest.mark.parametrize("name", BUILTIN)
def test_every_address_has_golden_slates(name, goldens):
    goldens(name).hold_names(e.id for e in ENTRIES if parse_model(e.id.split()[0])[0] == name)
