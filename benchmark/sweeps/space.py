"""What a sweep varies: `--over` values and the search spaces in the models' files, checked before anything is run."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...datasets.errors import UsageError, unknown_name
from ...models.base import Budget, SlateModel, resolve

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`, in steps or not; whole numbers if both ends are ints."""

    low: float
    high: float
    step: float | None = None
    log: bool = False


Axis = list[Any] | Range
Space = dict[str, Axis]


# --- the command line --------------------------------------------------------------------------------------


def parse_over(texts: list[str] | None) -> Space:
    """Axes of `--over name=a,b,c` (values) and `--over name=low:high`, `:step` or `:log` behind it (a range).

    >>> parse_over(["steps=2,5", "guidance=1:5:0.5"])
    {'steps': [2, 5], 'guidance': Range(low=1, high=5, step=0.5, log=False)}

    Raises:
        UsageError: no `=`, a name given twice, no values, or a range without anything in it.
    """
    space: Space = {}
    for text in texts or []:
        name, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not name or not values:
            raise UsageError(f"--over {text}: write name=2,5,10 or name=1:5, e.g. --over guidance=1:5")
        if name in space:
            raise UsageError(f"--over {name}: given twice")
        if ":" in values:
            space[name] = _parse_range(text, values.split(":"))
        else:
            space[name] = [_value(value) for value in values.split(",")]
    return space


def _parse_range(text: str, parts: list[str]) -> Range:
    log = parts[-1] == "log"
    numbers = [_value(part) for part in (parts[:-1] if log else parts)]
    plain = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if not plain or len(numbers) not in ((2,) if log else (2, 3)):
        raise UsageError(f"--over {text}: write a range as low:high, low:high:step or low:high:log")
    return Range(*numbers, log=log)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # thousands of digits or brackets too
        return text.strip()


# --- the space of a study ------------------------------------------------------------------------------------


def search_space(
    cls: type[SlateModel], presets: list[str], budget: Budget, overrides: dict[str, Any], over: Space, fit: bool
) -> Space:
    """What is searched: `over`, or else what the model's file says, without the fields that are set by hand.

    Args:
        cls: the model.
        presets: of its address.
        budget: of the fit.
        overrides: set by hand.
        over: axes named by the user.
        fit: Config fields too, with a fit for each of their values.

    Raises:
        UsageError: nothing to search, an unknown field, a Config field without `fit`, an empty axis, or values that
            the field does not take.
    """
    known = [*cls.Config.model_fields, *cls.Sampling.model_fields]
    chosen = over or {
        name: axis
        for name, axis in own_space(cls).items()
        if name not in overrides and (fit or name in cls.Sampling.model_fields)
    }
    if not chosen:
        raise UsageError(_nothing(cls))
    space: Space = {}
    for name, axis in chosen.items():
        if name not in known:
            raise unknown_name(f"setting of {cls.name}", name, known)
        if name in overrides:
            raise UsageError(f"{name} is both set (--set) and swept (--over): choose one")
        if name in cls.Config.model_fields and not fit:
            raise UsageError(f"{name} is part of {cls.name}'s fit: add --fit to fit anew for its values")
        found = [resolve(cls, presets, budget, overrides | {name: value}) for value in _ends(name, axis)]
        values = [getattr(one.config if name in cls.Config.model_fields else one.sampling, name) for one in found]
        space[name] = values if isinstance(axis, list) else _of_kind(name, axis, values)
    return space


def _of_kind(name: str, axis: Range, ends: list[Any]) -> Range:
    """The range in the field's own kind of number: 1:5 of a float field holds 1.5 too."""
    low, high = ends
    if isinstance(low, bool) or not isinstance(low, int | float):
        raise UsageError(f"{name} takes no range: name its values, as in {name}=a,b")
    if isinstance(low, int):
        step = axis.step
        if step is not None and step != int(step):
            raise UsageError(f"{name} takes whole numbers: its step can't be {step:g}")
        return Range(low, high, None if step is None else int(step), axis.log)
    return Range(float(low), float(high), None if axis.step is None else float(axis.step), axis.log)


def own_space(cls: type[SlateModel]) -> Space:
    """The search space in the model's file: lists are values, tuples are (low, high), (low, high, step or "log")."""
    space: Space = {}
    for name, axis in cls.SPACE.items():
        if isinstance(axis, list):
            space[name] = axis
        else:
            low, high, *more = axis
            log = more == ["log"]
            space[name] = Range(low, high, None if log or not more else more[0], log)
    return space


def _nothing(cls: type[SlateModel]) -> str:
    refit = [name for name in cls.SPACE if name in cls.Config.model_fields]
    fields = [*cls.Sampling.model_fields]
    if refit:
        return f"{cls.name} has nothing to sweep on one fit; with --fit: {', '.join(refit)}"
    if fields:
        return f"{cls.name} has no search space of its own; name fields with --over: {', '.join(fields)}"
    return f"{cls.name} has nothing to sweep"


def _ends(name: str, axis: Axis) -> list[Any]:
    """The values of an axis that must be allowed: all of a list, both ends of a range."""
    if isinstance(axis, list):
        if len(axis) != len({json.dumps(value) for value in axis}):
            raise UsageError(f"{name}: a value stands twice in {', '.join(map(str, axis))}")
        return axis
    if not axis.low < axis.high or (axis.step is not None and not 0 < axis.step <= axis.high - axis.low):
        step = "" if axis.step is None else f" in steps of {axis.step}"
        raise UsageError(f"{name}: nothing lies between {axis.low} and {axis.high}{step}")
    if axis.log and axis.low <= 0:
        raise UsageError(f"{name}: a logarithmic range starts above 0, not at {axis.low}")
    return [axis.low, axis.high]


def as_json(space: Space) -> dict[str, Any]:
    """The space as it stands in the study's spec."""
    return {name: axis if isinstance(axis, list) else asdict(axis) for name, axis in space.items()}


def from_json(space: dict[str, Any]) -> Space:
    """What `as_json` wrote."""
    return {name: axis if isinstance(axis, list) else Range(**axis) for name, axis in space.items()}


# --- points ------------------------------------------------------------------------------------------------------


def default_point(space: Space, values: dict[str, Any]) -> dict[str, Any]:
    """The model's own settings in the swept fields."""
    return {name: values[name] for name in space}


def contains(space: Space, point: dict[str, Any]) -> bool:
    """Does the point lie in the space?"""
    return all(_contains(axis, point[name]) for name, axis in space.items())


def _contains(axis: Axis, value: Any) -> bool:
    if isinstance(axis, list):
        return value in axis
    if isinstance(value, bool) or not isinstance(value, int | float) or not axis.low <= value <= axis.high:
        return False
    steps = 0.0 if axis.step is None else (value - axis.low) / axis.step
    return abs(steps - round(steps)) < 1e-9 and (not _whole(axis) or float(value).is_integer())


def points(sampler: str, space: Space, default: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of `grid` (all combinations) or of `axes` (the default point, then one field at a time from it).

    Raises:
        UsageError: a range without a step.
    """
    values = {name: _values(name, axis, sampler) for name, axis in space.items()}
    if sampler == "grid":
        return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]
    found = [default] + [default | {name: value} for name, axis in values.items() for value in axis]
    return list({json.dumps(point): point for point in found}.values())


def _values(name: str, axis: Axis, sampler: str) -> list[Any]:
    if isinstance(axis, list):
        return axis
    step = axis.step or (1 if _whole(axis) and not axis.log else None)
    if step is None:
        raise UsageError(f"{name}={axis.low}:{axis.high}: --sampler {sampler} needs values or a step (low:high:step)")
    count = int((axis.high - axis.low) / step + 1e-9) + 1
    return [clean(axis.low + i * step) for i in range(count)]


def clean(value: Any) -> Any:
    """A float without the dust of its steps (1.1500000000000001)."""
    return float(f"{value:.10g}") if isinstance(value, float) else value


def distributions(space: Space, listed: list[dict[str, Any]] | None = None) -> dict[str, BaseDistribution]:
    """The space in Optuna's words; with `listed` points (of a grid), just the values that they hold."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, axis in space.items():
        if listed is not None:
            values = list({json.dumps(point[name]): point[name] for point in listed}.values())
            numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
            found[name] = CategoricalDistribution(sorted(values) if numbers else values)
        elif isinstance(axis, list):
            found[name] = CategoricalDistribution(axis)
        elif _whole(axis):
            found[name] = IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
        else:
            found[name] = FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
    return found


def _whole(axis: Range) -> bool:
    return isinstance(axis.low, int) and isinstance(axis.high, int)
