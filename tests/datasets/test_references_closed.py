"""The references of valid and test are closed while a model works, and no attempt goes unnoticed."""

from __future__ import annotations

import contextlib
import threading

import polars as pl
import pytest

from slatebench.datasets.errors import SlateBenchError
from slatebench.datasets.references import references_closed
from slatebench.datasets.registry import dataset_card, load_dataset
from slatebench.datasets.schema import REFERENCE_SCHEMA, REQUEST_SCHEMA, Part

REQUESTS = pl.DataFrame([(key, "p", [], [], key) for key in "abc"], schema=REQUEST_SCHEMA, orient="row")
REFERENCES = pl.DataFrame([("a", [1]), ("b", [2]), ("c", [3])], schema=REFERENCE_SCHEMA, orient="row")
TRIED = "a model tried to read the references of '{}' while it was at work"


@pytest.fixture
def part() -> Part:
    return Part("test", REQUESTS, REFERENCES)


def hidden_frames(part: Part) -> list[pl.DataFrame]:
    """Whatever the fields with an underscore give out."""
    values = [value for name, value in vars(part).items() if name.startswith("_")]
    return [value() if callable(value) else value for value in values]


def test_open_references_are_what_was_put_in(part):
    assert part.references.equals(REFERENCES)
    assert [frame.equals(REFERENCES) for frame in hidden_frames(part)] == [True]


@pytest.mark.parametrize("way", [lambda part: part.references, hidden_frames], ids=["property", "private field"])
@pytest.mark.parametrize("name", ["valid", "test"])
def test_every_way_is_closed_and_a_swallowed_attempt_comes_up_at_the_end(way, name):
    part = Part(name, REQUESTS, REFERENCES)
    with pytest.raises(SlateBenchError, match=TRIED.format(name)), references_closed():
        way(part)
        pytest.fail("they were open")
    with pytest.raises(SlateBenchError, match=TRIED.format(name)), references_closed(), contextlib.suppress(Exception):
        way(part)
    with references_closed():  # the next model starts with a clean sheet
        pass
    assert part.references.equals(REFERENCES)


def test_the_references_of_train_are_never_closed():
    with references_closed():
        assert Part("train", REQUESTS, REFERENCES).references.equals(REFERENCES)


def test_an_attempt_in_a_thread_is_noticed(part):
    with pytest.raises(SlateBenchError, match=TRIED.format("test")), references_closed():
        thread = threading.Thread(target=peek, args=(part,))
        thread.start()
        thread.join()


def peek(part: Part) -> None:
    with contextlib.suppress(Exception):
        len(part.references)


def test_a_later_failure_does_not_hide_the_attempt(part):
    with pytest.raises(SlateBenchError, match=TRIED.format("test")) as error, references_closed():
        peek(part)
        raise ValueError("something else")
    assert isinstance(error.value.__cause__, ValueError)


def test_an_attempt_in_a_closed_stretch_of_its_own_reaches_the_one_around_it(part):
    with pytest.raises(SlateBenchError, match=TRIED.format("test")), references_closed():  # noqa: SIM117
        with contextlib.suppress(Exception), references_closed():
            peek(part)


def test_evaluation_inside_is_no_attempt(part):
    with references_closed():
        with references_closed(False):
            assert part.references.height == 3
        assert part.only(["b"]).requests.height == 1
    assert part.only(["c", "a"]).references.rows() == [("a", [1]), ("c", [3])]


def test_a_part_that_was_cut_is_closed_too(part):
    with pytest.raises(SlateBenchError, match=TRIED.format("test")), references_closed():
        peek(part.only(["b"]))


def test_a_dataset_can_be_loaded_and_its_fingerprint_had_while_they_are_closed():
    with references_closed():
        inside = load_dataset("curated-synthetic").fingerprint
    assert inside == dataset_card("curated-synthetic").statistics.fingerprint
