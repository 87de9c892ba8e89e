"""Threads of the linear algebra while battles are predicted."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any


def limited_threads(threads: int, torch_too: bool) -> AbstractContextManager[Any]:
    """Has the linear algebra use so many threads as it did in the run's own steps, whose sums it then repeats exactly.

    0 leaves it as it is.
    """
    if not threads:
        return nullcontext()
    if torch_too:
        import torch

        torch.set_num_threads(threads)
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(limits=threads)
    return limits
