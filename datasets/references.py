"""References stay closed while a model is at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import SlateBenchError


class ReferencesClosed(SlateBenchError):
    """A model at work asked for the references of valid or test."""

    def __init__(self, part: str) -> None:
        super().__init__(f"a model tried to read the references of '{part}' while it was at work")


_closed = False  # of the whole process: a thread that a model starts is no way round it
_tried: str | None = None  # the part whose closed references were last asked for


@contextmanager
def references_closed(closed: bool = True) -> Iterator[None]:
    """Close the references while a model fits or generates (and open them again around `evaluate`).

    Whoever asks for them in the meantime gets an error, and the attempt is noted for the whole process: the error is
    raised again at the end of the closed stretch, so that a model which swallows the first one fails all the same.

    This catches slips and lazy cheats: a model that loads the dataset and asks it, in whatever thread, under whatever
    name of `Part`. It can't catch a model that means to cheat: one that reads the files with code of its own, digs in
    the interpreter (closure cells, the garbage collector, this module's variables), opens the references with this
    very function, or leaves a thread behind that waits until they are open.

    Raises:
        ReferencesClosed: closed references were asked for.
    """
    global _closed, _tried
    closed_before, tried_before = _closed, _tried
    _closed = closed
    if closed:
        _tried = None
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
        raise
    finally:
        _closed = closed_before
        if closed:
            tried, _tried = _tried, tried_before or _tried  # a stretch around this one hears of it too
            if tried and not isinstance(failure, ReferencesClosed):
                raise ReferencesClosed(tried) from failure


def refuse_if_closed(part: str) -> None:
    """Note that the references of `part` were asked for while they are closed.

    Raises:
        ReferencesClosed: they are.
    """
    global _tried
    if _closed:
        _tried = part
        raise ReferencesClosed(part)
