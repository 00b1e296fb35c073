"""The synthetic twins: frozen, the same everywhere, and shaped like the data they stand for."""

import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from slatebench.datasets.errors import DataError
from slatebench.datasets.registry import dataset_card, load_dataset
from slatebench.datasets.schema import CATALOG_SCHEMA, REFERENCE_SCHEMA, REQUEST_SCHEMA
from slatebench.datasets.synthetic import latent, request_rows

PARTS = ("train", "valid", "test")

# Frozen before any model is tuned on them. A change here makes every record on the twins a record of other data.
FINGERPRINTS = {
    "bundle-synthetic": "76801108b198b89e",
    "playlist-synthetic": "5612db62e60cf56e",
    "curated-synthetic": "372ddd15fd5a0723",
}
SIZES = {  # items, at least so many train slates, range of slate lengths
    "bundle-synthetic": ((6_000, 12_000), 4_000, (2, 10)),
    "playlist-synthetic": ((20_000, 30_000), 15_000, (8, 36)),
    "curated-synthetic": ((10_000, 20_000), 8_000, (15, 24)),
}


def slots(part):
    return part.references["items"].explode().to_numpy()


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_fingerprint_is_frozen_here_and_on_the_card(name, twins):
    assert twins[name].fingerprint == FINGERPRINTS[name]
    assert dataset_card(name).statistics.fingerprint == FINGERPRINTS[name]


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_loads_by_name_and_is_what_its_card_says(name):
    dataset = load_dataset(name)  # compares with the card's statistics
    assert (dataset.name, dataset.source) == (name, "synthetic")


def test_a_fresh_process_with_another_hash_seed_makes_the_same_bytes(twins):
    code = "from slatebench.datasets.registry import load_dataset; print(load_dataset('curated-synthetic').fingerprint)"
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        assert done.stdout.strip() == twins["curated-synthetic"].fingerprint


def test_seed_changes_the_content_and_split_seed_only_the_parts(make, twins):
    other = make("curated-synthetic", seed=7)
    assert other.catalog.titles != twins["curated-synthetic"].catalog.titles
    same = make("curated-synthetic", split_seed=1)
    whole = [
        pl.concat([data.part(part).requests for part in PARTS]).sort("request").select("request", "prompt", "group")
        for data in (same, twins["curated-synthetic"])
    ]
    assert whole[0].equals(whole[1])
    assert not same.test.requests["request"].equals(twins["curated-synthetic"].test.requests["request"])


def test_schema_and_sizes(twin):
    items, train, (shortest, longest) = SIZES[twin.name]
    assert twin.catalog.items.schema == pl.Schema(CATALOG_SCHEMA)
    assert items[0] <= len(twin.catalog) <= items[1]
    assert len(twin.train) >= train
    for name in PARTS:
        part = twin.part(name)
        assert part.requests.schema == pl.Schema(REQUEST_SCHEMA)
        assert part.references.schema == pl.Schema(REFERENCE_SCHEMA)
        lengths = part.references["items"].list.len()
        assert lengths.min() >= shortest - 1 and lengths.max() <= longest
        assert part.references["items"].list.n_unique().equals(lengths)
        prompts = part.requests["prompt"]
        assert (prompts.str.strip_chars() == prompts).all() and (prompts.str.len_chars() > 0).all()
    titles = twin.catalog.items["title"]
    assert titles.n_unique() > 0.95 * len(titles)  # hardly a title twice
    assert not titles.str.contains(r"  | ,|^\s|\s$|\(\)").any()


def test_item_numbers_tell_neither_popularity_nor_theme(twin):
    count = twin.catalog.train_count
    number = np.arange(len(count))
    assert abs(np.corrcoef(number, np.log1p(count))[0, 1]) < 0.03
    cell = latent(twin.card).cell
    assert abs(np.corrcoef(number, cell)[0, 1]) < 0.03
    assert abs(np.corrcoef(cell[1:], cell[:-1])[0, 1]) < 0.03


def test_popularity_is_skewed_like_zipf(twin):
    count = np.sort(twin.catalog.train_count)[::-1]
    top = count[: len(count) // 10].sum() / count.sum()
    assert 0.35 < top < 0.75  # a head, and no monopoly
    rank = np.arange(10, (count > 2).sum())
    slope = np.polyfit(np.log(rank), np.log(count[rank]), 1)[0]
    # real bundles are nearly flat (-.34 by this measure), playlists are not
    low, high = (-0.8, -0.3) if twin.name == "bundle-synthetic" else (-1.2, -0.5)
    assert low < slope < high


def test_new_items_occur_in_test_and_being_unseen_does_not_give_it_away(twin):
    seen = twin.catalog.train_count > 0
    new = ~seen[slots(twin.test)]
    low, high = {"bundle-synthetic": (0.25, 0.6)}.get(twin.name, (0.02, 0.1))
    assert low < new.mean() < high
    held_out = np.unique(np.concatenate([slots(twin.valid), slots(twin.test)]))
    unseen = np.flatnonzero(~seen)
    assert np.isin(unseen, held_out).mean() < 0.5  # most unseen items lie in no slate at all


def test_groups_stay_whole_and_identical_item_sets_share_a_group(twin):
    rows = pl.concat(
        [
            twin.part(name).requests.with_columns(part=pl.lit(name)).join(twin.part(name).references, on="request")
            for name in PARTS
        ]
    )
    assert rows.group_by("group").agg(pl.col("part").n_unique())["part"].max() == 1
    sets = rows.with_columns(key=pl.col("items").list.sort().cast(pl.List(pl.String)).list.join(" "))
    assert sets.group_by("key").agg(pl.col("group").n_unique())["group"].max() == 1
    assert rows["group"].n_unique() < 0.85 * rows.height  # some groups have several slates


def test_bundles_of_a_session_are_near_duplicates_and_others_are_not(twins):
    rows = twins["bundle-synthetic"].train.requests.join(twins["bundle-synthetic"].train.references, on="request")
    pairs = rows.sort("request").select(
        "items", "group", next_items=pl.col("items").shift(-1), next_group=pl.col("group").shift(-1)
    )
    pairs = pairs.drop_nulls().with_columns(
        jaccard=pl.col("items").list.set_intersection("next_items").list.len()
        / pl.col("items").list.set_union("next_items").list.len()
    )
    inside = pairs.filter(pl.col("group") == pl.col("next_group"))["jaccard"]
    across = pairs.filter(pl.col("group") != pl.col("next_group"))["jaccard"]
    assert inside.mean() > 0.2 > 0.02 > across.mean()
    assert (inside >= 0.5).mean() > 0.1


def test_bundles_have_three_domains_and_paths(twins):
    paths = twins["bundle-synthetic"].catalog.items["categories"]
    roots = paths.list.get(0).list.get(0)
    assert roots.n_unique() == 3
    assert paths.list.eval(pl.element().list.len()).explode().unique().to_list() == [3]
    assert 0.05 < (paths.list.len() == 2).mean() < 0.2
    # a bundle stays in one domain but for the odd hit
    data = twins["bundle-synthetic"].train.references.explode("items")
    domains = data.with_columns(root=roots.gather(data["items"])).group_by("request").agg(pl.col("root").n_unique())
    assert (domains["root"] == 1).mean() > 0.9


def test_prompts_share_some_words_with_titles_but_not_most(twin):
    word = r"[a-z]{3,}"
    of_item = twin.catalog.items["text"].str.to_lowercase().str.extract_all(word)
    rows = twin.test.requests.join(twin.test.references, on="request").select("request", "prompt", "items")
    rows = rows.explode("items").with_columns(
        asked=pl.col("prompt").str.to_lowercase().str.extract_all(word),
        held=of_item.gather(rows.explode("items")["items"]),
    )
    shares = rows["asked"].list.set_intersection(rows["held"]).list.len() > 0
    assert 0.02 < shares.mean() < 0.5


def test_listeners_make_noise(twins):
    prompts = pl.concat([twins["playlist-synthetic"].part(name).requests for name in PARTS])["prompt"]
    assert 0.05 < prompts.str.contains(r"[^\x00-\x7f]").mean() < 0.25  # emoji
    assert (prompts == prompts.str.to_lowercase()).mean() > 0.5
    assert prompts.str.to_lowercase().is_in(["my playlist", "songs", "music", "untitled"]).sum() > 50
    assert prompts.str.contains(r"\b20[12]\d\b").mean() > 0.04


def test_curated_slates_are_ordered_from_the_main_theme_outwards(twins):
    data = twins["curated-synthetic"]
    world = latent(data.card)
    slates = data.test.references["items"].list.head(15).list.to_array(15).to_numpy()
    main = world.main[request_rows(data.test.requests["request"])]
    share = (world.cell[slates] // world.facets == main[:, None]).mean(axis=0)
    assert share[0] > 0.95
    assert share[0] > share[8] > share[14]


def test_latent_truth_belongs_to_the_requests(twin):
    world = latent(twin.card)
    rows = request_rows(twin.valid.requests["request"])[:50]
    chances = world.probability(rows)
    assert chances.shape == (50, len(twin.catalog))
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-9)
    for row, items in zip(rows, twin.valid.references["items"][:50], strict=True):
        kept = world.slates[row]
        assert kept[kept >= 0].tolist() == items.to_list()


def test_fifty_thousand_items(make):
    data = make("playlist-synthetic", items=50_000, groups=3_000)
    assert len(data.catalog) == 50_000
    assert data.catalog.items["title"].n_unique() > 45_000
    assert (data.catalog.train_count > 0).sum() > 5_000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"items": 100}, ["bundle-synthetic", "items", "100"]),
        ({"items": 3_000_000}, ["bundle-synthetic", "items"]),
        ({"itmes": 9_000}, ["bundle-synthetic", "itmes"]),
        ({"longest": 1}, ["bundle-synthetic", "longest", "shortest"]),
        ({"main": 0.9, "neighbour": 0.9}, ["bundle-synthetic", "main"]),
        ({"style": "poet"}, ["bundle-synthetic", "style"]),
    ],
)
def test_impossible_options_are_refused_in_one_line(make, options, words):
    with pytest.raises(DataError) as error:
        make("bundle-synthetic", **options)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
