import json


def test_compare_prints_health_of_every_tokenizer(slatebench):
    small = ("--set", "codes=32", "--set", "tokenizer_steps=20")
    done = slatebench("tokenizers", "compare", "--dataset", "tiny", "--json", *small)
    assert done.code == 0, done.err
    rows = json.loads(done.out)["tokenizers"]
    assert [(r["tokenizer"], r["positives"]) for r in rows] == [
        ("rkmeans", None),
        ("rqvae", None),
        ("crqvae", "category"),
        ("crqvae", "neighbours"),
        ("crqvae", "cooccurrence"),
    ]
    for row in rows:
        assert "error" not in row
        assert 0 <= row["collision_rate"] < 1 and 0 < row["perplexity_1"] <= 1 and row["seconds"] > 0
        assert row["groups_1"] <= 32 < row["groups_2"] and 0 < row["consistency_1"] <= row["consistency_2"] <= 1
    table = slatebench("tokenizers", "compare", "--dataset", "tiny", *small)  # from the cache
    assert table.code == 0 and "collision_rate" in table.out and "crqvae category" in table.out


def test_compare_says_what_is_wrong(slatebench):
    done = slatebench("tokenizers", "compare", "--dataset", "tiny", "--set", "code=32")
    assert done.code == 2 and "did you mean 'codes'" in done.err
    done = slatebench("tokenizers", "compare", "--dataset", "tiny", "--set", "levels=0")
    assert done.code == 2 and "levels=0" in done.err and len(done.err.strip().splitlines()) == 1
