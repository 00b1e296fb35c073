"""The comparison bites: another output under the same version fails and says what to do, written or not."""

import pytest
from golden import Goldens

CLOSE = {"loss": 1e-4, "": 0.05}
FOUND = {"slates": ["3 1 4 15 9", "2 6 5 35 8"], "numbers": {"loss": "2.5 1.25", "rate": "0.5 nan"}}
SWAPPED = FOUND | {"slates": ["1 3 4 15 9", "2 6 5 35 8"]}
LOSS = FOUND | {"numbers": {"loss": "2.5 1.2506", "rate": "0.5 nan"}}


def hold(path, found, *, version="3", write=False):
    where = "`version` in models/dmsg.py"
    Goldens(path, write).hold("dmsg:prior", version, where, found, slots=0.9, close=CLOSE)


@pytest.fixture
def path(tmp_path):
    """A file with the entry FOUND of version 3."""
    hold(tmp_path / "dmsg.json", FOUND, write=True)
    return tmp_path / "dmsg.json"


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    ("found", "what"),
    [
        (SWAPPED, "slates: 80% of the slots are as they were, 90% are needed"),
        (LOSS, "loss: 1.2506, was 1.25"),
        (FOUND | {"slates": FOUND["slates"][:1]}, "slates: another number"),
        (FOUND | {"numbers": FOUND["numbers"] | {"gap": "1"}}, "gap: 1 numbers, were 0"),
        (FOUND | {"numbers": FOUND["numbers"] | {"rate": "nan 0.5"}}, "rate: nan, was 0.5"),
    ],
)
def test_another_output_of_the_same_version_fails_and_is_never_written(path, found, what, write):
    before = path.read_bytes()
    with pytest.raises(AssertionError) as error:
        hold(path, found, write=write)
    said = str(error.value)
    assert "output of dmsg:prior changed but its version is still '3'" in said and what in said
    assert "raise `version` in models/dmsg.py" in said and "undo the change" in said
    assert path.read_bytes() == before


def test_with_a_raised_version_it_is_written_and_holds(path):
    with pytest.raises(
        AssertionError, match=r"dmsg:prior is of version '3'; the code is of version '4': .*--golden-write"
    ):
        hold(path, SWAPPED, version="4")
    hold(path, SWAPPED, version="4", write=True)
    hold(path, SWAPPED, version="4")
    with pytest.raises(AssertionError, match="still '4'"):
        hold(path, FOUND, version="4")


def test_other_settings_are_another_entry_and_need_no_version(path):
    other = SWAPPED | {"settings": "1a2b3c4d"}
    with pytest.raises(AssertionError, match=r"has other settings: .*--golden-write"):
        hold(path, other)
    hold(path, other, write=True)
    hold(path, other)


def test_small_differences_of_processors_pass_and_rewrite_nothing(path):
    before = path.read_bytes()
    near = FOUND | {"numbers": {"loss": "2.50001 1.25002", "rate": "0.51 nan"}}
    for write in (False, True):
        hold(path, near, write=write)
    assert path.read_bytes() == before


def test_missing_and_superfluous_entries_fail(path):
    goldens = Goldens(path)
    goldens.hold_names(["dmsg:prior"])
    for names in ([], ["dmsg:prior", "dmsg:new"]):
        with pytest.raises(AssertionError, match="--golden-write"):
            goldens.hold_names(names)
    with pytest.raises(AssertionError, match="is missing"):
        goldens.hold("dmsg:new", "1", "", FOUND, close=CLOSE)
    with pytest.raises(AssertionError, match=r"lacks \['dmsg:new'\] and has \[\]"):
        Goldens(path, write=True).hold_names(["dmsg:prior", "dmsg:new"])
    Goldens(path, write=True).hold_names([])
    assert goldens.entries() == {}
