"""Several processes, one per device, by accelerate on torch.distributed; a single process is the plain case.

They are started by torchrun or by accelerate's launcher, and all do the same work at the same time. The main process
alone decides which fold is next, and it alone writes files.
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
    """Raises BadInput for another number of processes than asked for, or for more of them than GPUs.

    accelerate's launcher starts a single process on a CPU, whatever it is asked for, and says nothing.
    """
    gpus = torch.cuda.device_count()
    if gpus and asked > 1 and PartialState().local_process_index >= gpus:
        raise BadInput(f"NPROC: {asked}, but this machine shows {gpus} GPUs; give NPROC={gpus}")
    started = state().num_processes
    if started != asked:
        raise BadInput(
            f"NPROC: {asked}, but {started} processes were started; leave LAUNCH out, or let it start {asked}"
        )


def broadcast(value: T) -> T:
    """The main process's value, in every process."""
    shared: T = broadcast_object_list([value])[0]
    return shared


def any_of(flag: bool) -> bool:
    """Whether the flag is True in any process."""
    return any(gather_object([flag]))


def all_reduce_max(number: int) -> int:
    """The largest of the processes' numbers."""
    return max(gather_object([number]))


def mean(values: Sequence[float]) -> list[float]:
    """The means of some figures over all processes."""
    return [float(figure) for figure in np.mean(gather_object([list(values)]), axis=0)]


def shard_indices(rows: int) -> np.ndarray:
    """This process's part of `rows` numbers: every n-th, so that of rows sorted by length all get the same."""
    return np.arange(state().process_index, rows, state().num_processes)


def all_gather_rows(rows: np.ndarray, values: np.ndarray, total: int) -> np.ndarray:
    """The values (total, …) of all rows, of which this process has those at `rows`; in every process."""
    gathered = np.full((total, *values.shape[1:]), np.nan, dtype=values.dtype)
    for of_process, part in gather_object([(rows, values)]):
        gathered[of_process] = part
    return gathered


@contextmanager
def in_step(work: Callable[..., T]) -> Iterator[Callable[..., T] | None]:
    """Gives the main process a function that calls `work` in all processes at once; gives the others None.

    They work until the main process leaves the context. Where that fails, the launcher ends them all.
    """
    if not state().is_main_process:
        while (arguments := broadcast(None)) is not None:
            work(*arguments)
        yield None
        return

    def jointly(*arguments: object) -> T:
        broadcast(arguments)
        return work(*arguments)

    yield jointly
    broadcast(None)
