"""Cells of a grid over the worker processes of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ...leaderboards.records import Run
from ..cells.cell import Plan
from ..processes.worker import Worker, side_by_side
from .schedule import fit_key


def run_cells(
    plans: Sequence[Plan], workers: Sequence[Worker], run: Callable[[Worker, Plan, threading.Event], Run]
) -> list[Run]:
    """Run each plan once, a worker at a time; the runs come back in the order of the plans.

    Two plans that share a fit never run at once: the second would only wait for the first.

    Args:
        plans: in the order in which they shall start.
        workers: each runs one cell at a time.
        run: what runs a plan on a worker; the event says that the user has stopped the grid.

    Raises:
        KeyboardInterrupt: the user stopped it; cells in the middle of their work have been told.
    """
    waiting, busy = list(range(len(plans))), set[str]()
    runs: dict[int, Run] = {}
    errors: list[BaseException] = []
    free, stopped = threading.Condition(), threading.Event()

    def take() -> int | None:
        with free:
            while True:
                ready = [i for i in waiting if fit_key(plans[i]) not in busy]
                if stopped.is_set() or not waiting:
                    return None
                if ready:
                    waiting.remove(ready[0])
                    busy.add(fit_key(plans[ready[0]]))
                    return ready[0]
                free.wait()

    def work(worker: Worker) -> None:
        while (i := take()) is not None:
            try:
                runs[i] = run(worker, plans[i], stopped)
            except BaseException as error:  # ours: the others end their cells, but begin none
                errors.append(error)
                stopped.set()
            finally:
                with free:
                    busy.discard(fit_key(plans[i]))
                    free.notify_all()

    side_by_side(workers, work, stopped)
    if errors:
        raise errors[0]
    return [runs[i] for i in range(len(plans))]
