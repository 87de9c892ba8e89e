"""Host memory of a training on the CPU: glibc's allocator leaves holes and is fast, or leaves none and is slow.

Smaller blocks come from a heap. What is freed there stays with the process, and between blocks of many sizes it is
often too small for the next one: a training takes half of a step's memory to all of it more. Blocks above a
threshold are mapped one by one, and unmapped when they are freed. glibc raises that threshold to 32 MB as blocks are
freed, as mapping and clearing pages takes time; fixed, it leaves no holes.
"""

import ctypes
import platform

import torch

from models.transformer.backbone.device import device_spec
from models.transformer.backbone.pretrained import load_config
from models.transformer.planning import memory
from models.transformer.planning.preflight import SMALL
from models.transformer.settings import Transformer

# Bytes from which blocks are mapped. With 4 MB there were holes again: 4.1 GB instead of 3.1 for 8 battles of 256
# tokens, eager attention and bf16 on SmolLM2.
BLOCK = 2**20
_M_MMAP_THRESHOLD = -3  # of <malloc.h>


def avoid_holes_if_short(settings: Transformer, on: torch.device) -> None:
    """Has freed memory go back to the system at once where a training on this CPU might not fit with holes.

    It says so. `settings` are resolved. Tiny backbones, whose steps take little, are not computed.
    """
    spec, config = device_spec(on), load_config(settings)
    if spec.kind != "cpu" or config.hidden_size < SMALL:
        return
    needed = memory.estimate(settings, config, spec)
    if needed.most <= spec.usable:
        return
    give_back_at_once()
    fits = "" if needed.total <= spec.usable else "; that is too much as well, make plan names settings that take less"
    print(
        f"memory: training takes {needed.total / 1e9:.1f} GB, with holes between freed blocks about "
        f"{needed.most / 1e9:.1f} of {spec.usable / 1e9:.1f} GB; without holes from here on, up to twice as slow{fits}",
        flush=True,
    )


def give_back_at_once() -> None:
    """From now on glibc maps every block of `BLOCK` bytes and more for itself; other libraries are left as they are."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, BLOCK)
