"""Memory while training and predicting: how much is in use, and what to do when it runs out."""

import gc
import os
import resource
import sys
from pathlib import Path

import numpy as np
import torch

from battles.errors import BadInput
from models.transformer.data.batching import batches, computed_tokens
from models.transformer.settings import Transformer

_STATM = Path("/proc/self/statm")


def memory_bytes(device: torch.device) -> int:
    """On a GPU the peak of allocated memory; else the resident set of this process (its peak outside Linux)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATM.exists():
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # macOS counts in bytes, the other systems in kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def halve_token_budget(budget: int, lengths: np.ndarray, multiple: int, settings: Transformer) -> int:
    """The token budget to go on with after rows of these lengths ran out of memory under `budget`: half of it.

    Half of the largest batch if that was below the budget. Frees what the failed attempt left, so call it outside
    of the `except` block, which keeps that alive. Raises BadInput when no batch can be split any further.
    """
    parts = batches(lengths, budget, multiple)
    largest = max(computed_tokens(lengths[rows], multiple) for rows in parts)
    if all(len(rows) == 1 for rows in parts) or largest <= multiple:
        quantised = "" if settings.quantization == "nf4" else f", or a quantization (it is {settings.quantization})"
        raise BadInput(
            f"max_length: {settings.max_length}: a single batch of {largest} tokens does not fit the memory, so that "
            f"tokens_per_batch (now {budget}) cannot help; set a smaller max_length{quantised}, or "
            f"gradient_checkpointing (it is {str(settings.gradient_checkpointing).lower()})"
        )
    halved = min(budget, largest) // 2
    print(
        f"out of memory with {budget} tokens a batch; going on with {halved} (tokens_per_batch: {halved})", flush=True
    )
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return halved
