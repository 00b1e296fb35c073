"""DMSG with item latents that are trained too."""

import numpy as np
import polars as pl
import pytest
import torch

from slatebench.datasets.schema import Catalog
from slatebench.datasets.vectors.features import features_for_catalog
from slatebench.models.latent.dmsg import DMSG
from slatebench.models.latent.joint_latents import JointLatents, JointTask
from slatebench.models.latent.set_regressor import SetRegressor
from slatebench.models.testing import recall


@pytest.fixture(scope="module")
def joint(data, make_model):
    model = make_model(latents="joint", max_steps=100)
    model.report = model.fit(data)
    return model


def fixed_latents(model):
    return model.space(model.features.items())


def cosines(a, b=None):
    """Of each row of `a` with the row of `b`, or with all rows of `a`."""
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    return unit(a) @ unit(a).T if b is None else (unit(a) * unit(b)).sum(axis=1)


def test_the_table_moves_and_does_not_collapse(joint, dataset):
    before, after = fixed_latents(joint), joint.latents.numpy()
    seen = dataset.catalog.train_count > 0
    assert 0 < seen.mean() < 1
    moved = cosines(before, after)
    assert (
        moved[seen].max() < 0.9999
        and moved[seen].mean() < 0.997
        and moved.mean() == pytest.approx(joint.report.health["joint_latents_cosine"])
    )
    np.testing.assert_allclose(*(np.linalg.norm(x[seen], axis=1) for x in (before, after)), rtol=1e-4)
    near = [cosines(x[seen]) - 2 * np.eye(seen.sum()) for x in (before, after)]
    assert near[1].max(axis=1).mean() <= near[0].max(axis=1).mean() + 0.02  # neighbours can still be told apart
    spread = [np.linalg.svd(x[seen] - x[seen].mean(axis=0), compute_uv=False) for x in (before, after)]
    assert spread[1].min() > 0.5 * spread[0].min()  # no direction is lost


def test_slates_are_as_good_and_the_parameters_are_counted(joint, dataset):
    requests, references = dataset.test.requests, dataset.test.references
    assert recall(joint.generate(requests, 5), requests, references) > 0.25  # chance: .02
    table = (dataset.catalog.train_count > 0).sum() * joint.latents.shape[1]
    assert joint.cost(5)["parameters"] == table + sum(p.numel() for p in joint.network.parameters())


def test_only_the_rounding_term_keeps_latents_apart():
    """Without it two items of one slate run together: the task's loss alone is least where all are one."""

    class Pull(torch.nn.Module):  # a loss that is least where all items are one
        def __init__(self):
            super().__init__()
            self.slates, self.lengths = torch.tensor([[0, 1], [2, 3]]), torch.tensor([2, 2])
            self.register_buffer("vectors", 4 * torch.eye(5))

        def forward(self, rows):
            a, b = self.vectors[self.slates[rows]].unbind(1)
            return 0.2 * (a - b).pow(2).mean()

    task = JointTask(Pull())
    optimizer = torch.optim.Adam(task.parameters(), 0.05)
    torch.manual_seed(0)
    for _ in range(300):
        optimizer.zero_grad()
        task(torch.tensor([0, 1])).backward()
        optimizer.step()
    table = task.latents().detach()
    inside = torch.nn.functional.cosine_similarity(table[0], table[1], dim=0)
    assert 0.02 < inside < 0.9 and task.task.vectors.grad_fn is None


def test_saved_and_loaded(joint, dataset, tmp_path):
    joint.save(tmp_path)
    loaded = DMSG.load(tmp_path, joint.features)
    requests = dataset.test.requests
    assert torch.equal(loaded.latents, joint.latents) and loaded.cost(5) == joint.cost(5)
    assert np.array_equal(loaded.generate(requests, 5).items, joint.generate(requests, 5).items)


def test_items_without_a_latent_of_their_own_go_along(joint, dataset, features):
    items = dataset.catalog.items
    new = items.head(3).with_columns(pl.Series("id", ["new-0", "new-1", "new-2"]), train_count=pl.lit(0, pl.Int64))
    catalog = Catalog(pl.concat([items[10:], new]))
    other = joint.with_catalog(catalog, features_for_catalog(features, catalog))
    torch.testing.assert_close(other.latents[:-3], joint.latents[10:])  # known by id
    own, fixed, mapped = joint.latents[:3].numpy(), fixed_latents(joint)[:3], other.latents[-3:].numpy()
    assert (cosines(mapped, own) > cosines(fixed, own)).all()  # nearer to where training took such an item
    slates = other.generate(dataset.test.requests, 5)
    slates.check(dataset.test.requests, len(catalog), 5, 1)


def test_the_map_is_the_least_squares_one():
    rng = np.random.default_rng(0)
    fixed, turn = rng.normal(size=(200, 6)).astype(np.float32), 0.3 * rng.normal(size=(6, 6)).astype(np.float32)
    ids = [str(i) for i in range(200)]
    learned = JointLatents(ids[:150], (fixed + fixed @ turn)[:150], turn)
    np.testing.assert_allclose(learned(ids, fixed), fixed + fixed @ turn, atol=1e-5)
    assert JointLatents.of_arrays({"network": fixed}) is None


def test_checks_see_the_latents_of_the_moment_and_a_centre_keeps_the_scale(data, make_model):
    model = make_model(presets=["residual"], latents="joint", max_steps=20, check_every=10, patience=3)
    tables = []

    def evaluate(slates):
        tables.append(model.latents.clone())
        return float(len(tables) == 1)  # the first check is the best

    model.fit(data, evaluate=evaluate)
    assert len(tables) == 2 and not torch.equal(*tables)
    torch.testing.assert_close(model.latents, tables[0])
    assert cosines(fixed_latents(model), model.latents.numpy()).min() > 0.8


def test_the_set_regressor_has_it_too(data, make_model):
    model = make_model(SetRegressor, latents="joint", max_steps=3)
    model.fit(data)
    assert model.joint is not None and model.generate(data.valid_requests, 5).items.min() >= 0
