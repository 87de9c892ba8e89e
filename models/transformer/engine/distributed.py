"""Several processes, one per device, by accelerate on torch.distributed; a single process is the plain case.

They are started by torchrun or by accelerate's launcher. All of them do the same in step; the first one leads: it alone
decides which fold is next and it alone writes files.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from battles.errors import BadInput

T = TypeVar("T")


def state() -> PartialState:
    """This process among all: its number, its device, barriers."""
    return PartialState(cpu=not torch.cuda.is_available())


def require(asked: int) -> None:
    """Refuses to go on with another number of processes than asked for, or with more of them than GPUs.

    accelerate's launcher starts a single process on a CPU, whatever it is asked for, and says nothing.
    """
    cards = torch.cuda.device_count()
    if cards and asked > 1 and PartialState().local_process_index >= cards:
        raise BadInput(f"NPROC: {asked}, but this machine shows {cards} GPUs; give NPROC={cards}")
    started = state().num_processes
    if started != asked:
        raise BadInput(
            f"NPROC: {asked}, but {started} processes were started; leave LAUNCH out, or let it start {asked}"
        )


def from_leader(value: T) -> T:
    """The leader's value, in every process."""
    shared: T = broadcast_object_list([value])[0]
    return shared


def any_of(flag: bool) -> bool:
    """Whether the flag is raised in any process."""
    return any(gather_object([flag]))


def most(number: int) -> int:
    """The largest of the processes' numbers."""
    return max(gather_object([number]))


def mean(values: Sequence[float]) -> list[float]:
    """The means of some figures over all processes."""
    return [float(figure) for figure in np.mean(gather_object([list(values)]), axis=0)]


def share(rows: int) -> np.ndarray:
    """This process's part of `rows` numbers: every n-th, so that of rows sorted by length all get the same."""
    return np.arange(state().process_index, rows, state().num_processes)


def together(rows: np.ndarray, values: np.ndarray, total: int) -> np.ndarray:
    """The values (total, …) of all rows, of which this process has those at `rows`; in every process."""
    out = np.full((total, *values.shape[1:]), np.nan, dtype=values.dtype)
    for part, found in gather_object([(rows, values)]):
        out[part] = found
    return out


@contextmanager
def in_step(work: Callable[..., T]) -> Iterator[Callable[..., T] | None]:
    """Gives the leader `work`, which the followers do at the same time with the same arguments; gives them None.

    A follower works until the leader leaves the context. Where the leader fails, the launcher ends them all.
    """
    if not state().is_main_process:
        while (arguments := from_leader(None)) is not None:
            work(*arguments)
        yield None
        return

    def jointly(*arguments: object) -> T:
        from_leader(arguments)
        return work(*arguments)

    yield jointly
    from_leader(None)
