"""How much memory a training takes, as a figure for its curve."""

import os
import resource
import sys
from pathlib import Path

import torch

_STATM = Path("/proc/self/statm")


def memory_bytes(where: torch.device) -> int:
    """On a GPU the most that tensors took so far; else the resident set of this process (its peak outside Linux)."""
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where)
    if _STATM.exists():
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # macOS counts in bytes, the other systems in kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
