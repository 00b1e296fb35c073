"""What can be set on a model, to what it is set, and where each value comes from (`slatebench models show NAME`)."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from .base import Budget, resolve
from .registry import model_class, parse_model


class Row(NamedTuple):
    """One setting of a model."""

    field: str
    value: Any
    origin: str  # default | preset NAME | budget NAME | set
    kind: str  # config (needs a new fit) | sampling
    type: str  # with bounds, e.g. "float, > 0"
    doc: str


def describe(address: str, budget: Budget = "standard", overrides: dict[str, Any] | None = None) -> list[Row]:
    """Every setting of the model at `address`, Config first.

    Raises:
        UsageError: unknown model, preset or setting, or a value out of bounds.

    >>> describe("bm25")[1][:5]
    ('k1', 1.5, 'default', 'config', 'float, > 0')
    """
    name, presets = parse_model(address)
    cls = model_class(name)
    resolved = resolve(cls, presets, budget, overrides or {})
    rows = []
    for kind, values in (("config", resolved.config), ("sampling", resolved.sampling)):
        for field, info in type(values).model_fields.items():
            value, origin = getattr(values, field), resolved.origin[field]
            rows.append(Row(field, value, origin, kind, _type(info), info.description or ""))
    return rows


def _type(info: FieldInfo) -> str:
    """The field's type and bounds in words."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [
        f"{sign} {getattr(rule, key)}" for rule in info.metadata for key, sign in signs.items() if hasattr(rule, key)
    ]
    kind = info.annotation
    name = kind.__name__ if isinstance(kind, type) else str(kind).removeprefix("typing.")
    return ", ".join([name, *bounds])
