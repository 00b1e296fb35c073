"""Golden entries: what code gives on a tiny dataset, kept beside its version. Another output needs another version.

An entry is {"version", "slates", "numbers"}, of a model also a digest of its "settings": with other settings it is of
another spec, which needs no other version. Slates are lines of items, numbers are lines of floats by name; both are
compared with a tolerance, because processors add up in different orders (see the tests for how much).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Entry = dict[str, Any]
WRITE = "pytest tests/golden --golden-write"


def line(values: Iterable[float]) -> str:
    """Numbers as one line, to seven digits."""
    return " ".join(f"{value + 0:.7g}" for value in np.asarray(values, np.float64).ravel())  # + 0: no -0


def lines(items: np.ndarray) -> list[str]:
    """Slates [..., K] as a line each."""
    return [" ".join(map(str, slate)) for slate in items.reshape(-1, items.shape[-1]).tolist()]


def differences(frozen: Entry, found: Entry, *, slots: float, close: Mapping[str, float]) -> list[str]:
    """What of an entry is another: slates of which fewer than a share `slots` of the slots agree, numbers not `close`.

    A line of numbers is held to its `close` (by name) times its largest, any other to the `close` of "" as it stands.
    """
    wrong = []
    old, new = ([slate.split() for slate in entry.get("slates", [])] for entry in (frozen, found))
    if [len(slate) for slate in old] != [len(slate) for slate in new]:
        wrong.append("slates: another number of slates or slots")
    elif old:
        same = np.mean([a == b for before, now in zip(old, new, strict=True) for a, b in zip(before, now, strict=True)])
        if same < slots:
            wrong.append(f"slates: {same:.0%} of the slots are as they were, {slots:.0%} are needed")
    numbers = frozen.get("numbers", {}), found.get("numbers", {})
    for name in dict.fromkeys([*numbers[0], *numbers[1]]):
        a, b = (np.array(side.get(name, "").split(), np.float64) for side in numbers)
        if len(a) != len(b):
            wrong.append(f"{name}: {len(b)} numbers, were {len(a)}")
            continue
        near = close[name] * np.abs(a[np.isfinite(a)]).max(initial=0) if name in close else close[""]
        other = ~np.isclose(a, b, rtol=0, atol=near, equal_nan=True)
        if other.any():
            wrong.append(f"{name}: {b[other][0]:.7g}, was {a[other][0]:.7g}")
    return wrong


@dataclass
class Goldens:
    """The entries of one file.

    Attributes:
        path: JSON, an entry by name.
        write: write entries anew instead of comparing; never another output under the same version.
    """

    path: Path
    write: bool = False

    def entries(self) -> dict[str, Entry]:
        """All entries by name."""
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def hold(
        self, name: str, version: str, where: str, found: Entry, *, slots: float = 1.0, close: Mapping[str, float]
    ) -> None:
        """Fail unless `found` is the entry `name` of this version.

        Args:
            name: of the entry.
            version: that the code has now.
            where: which line of the code holds the version.
            found: "slates", "numbers" and, of a model, "settings".
            slots: share of the slots that must agree.
            close: tolerance of numbers, by name.
        """
        entry, frozen = {"version": version} | found, self.entries().get(name)
        if frozen is not None and all(frozen.get(key) == entry.get(key) for key in ("version", "settings")):
            wrong = differences(frozen, entry, slots=slots, close=close)
            assert not wrong, (
                f"output of {name} changed but its version is still '{version}': raise {where} (then {WRITE}), "
                f"or undo the change [{'; '.join(wrong)}]"
            )
        elif self.write:
            self._write(self.entries() | {name: entry})
        else:
            was = "is missing"
            if frozen is not None:
                other = frozen["version"] != version
                was = f"is of version '{frozen['version']}'" if other else "has other settings: a default is another"
            raise AssertionError(f"the golden entry of {name} {was}; the code is of version '{version}': {WRITE}")

    def hold_names(self, names: Iterable[str]) -> None:
        """Fail unless there is an entry for each of `names` and no other; `write` removes others."""
        wanted, entries = set(names), self.entries()
        if self.write:
            entries = {name: entry for name, entry in entries.items() if name in wanted}
            self._write(entries)
        missing, others = sorted(wanted - entries.keys()), sorted(entries.keys() - wanted)
        assert not missing and not others, f"{self.path.name} lacks {missing} and has {others} too many: {WRITE}"

    def _write(self, entries: dict[str, Entry]) -> None:
        self.path.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n")
