"""The state of a training between two optimizer steps, in one file, so that a killed fold goes on from there.

It holds the trained parameters (never the frozen backbone, which loads again from where it came), the optimizer's and
the schedule's state, the gradient scaler's of half precision, the random generators that draw dropout, and the curve.
The order of the battles is drawn from the seed before the first step and need not be kept. On a CPU a training
that goes on from here ends in the same bits as one that was never disturbed.
"""

import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from battles.files import atomic
from models.transformer.engine import distributed, fsdp
from models.transformer.engine.optimizer import page_again

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")

Curve = list[dict[str, Any]]
# Of the random generators that draw dropout: the CPU's, and one per card.
RandomState = tuple[torch.Tensor, list[torch.Tensor]]


@dataclass(frozen=True)
class State:
    """What changes while training; `scaler` only in half precision on a GPU."""

    model: torch.nn.Module
    optimizer: Any
    scheduler: Any
    scaler: Any | None


def random_state() -> RandomState:
    """The state of the random generators that draw dropout."""
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def set_random_state(random: RandomState) -> None:
    """Puts `random_state` back; on another number of cards theirs stay, and the training is as valid."""
    torch.set_rng_state(random[0])
    if random[1] and len(random[1]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(random[1])


def save(path: Path, state: State, curve: Curve) -> None:
    """Writes the state after `len(curve)` steps: under a temporary name, synced, then renamed over the last one.

    Where the weights are sharded all processes call it, as all have a part of the state; the main process writes.
    """
    random, random_cuda = random_state()
    kept = {
        "libraries": _versions(),
        "trained": {name: fsdp.gather_full(value) for name, value in _trained(state.model)},
        "optimizer": fsdp.gather_optimizer_state(state.optimizer),
        "scheduler": state.scheduler.state_dict(),
        "scaler": None if state.scaler is None else state.scaler.state_dict(),
        "random": random,
        "random_cuda": random_cuda,
        "curve": curve,
    }
    if not distributed.state().is_main_process:
        return
    with atomic(path) as temporary:
        torch.save(kept, temporary)


def restore(path: Path, state: State, say: Callable[[str], None] = print) -> Curve:
    """Puts a checkpoint's state into `state` and returns its curve; an empty one when there is nothing to go on from.

    A file that is damaged, of another shape of model or of other library versions is named by `say` and left alone;
    `state` are as they were then.
    """
    for left_over in path.parent.glob(f".{path.name}.*.tmp"):  # of a process killed while it wrote
        left_over.unlink()
    if not path.exists():
        return []
    kept, problem = _read(path, state)
    if kept is None:
        say(f"{path}: {problem}; the fold is trained from its beginning")
        return []
    with torch.no_grad():
        for name, parameter in _trained(state.model):
            parameter.copy_(fsdp.shard_like(kept["trained"][name], parameter))
    state.optimizer.load_state_dict(fsdp.shard_optimizer_state(kept["optimizer"], state.optimizer))
    bare = getattr(state.optimizer, "optimizer", state.optimizer)
    if getattr(bare, "is_paged", False):
        page_again(bare)
    state.scheduler.load_state_dict(kept["scheduler"])
    if state.scaler is not None and kept["scaler"] is not None:
        state.scaler.load_state_dict(kept["scaler"])
    set_random_state((kept["random"], kept["random_cuda"]))
    curve: Curve = kept["curve"]
    return curve


def _read(path: Path, state: State) -> tuple[Mapping[str, Any] | None, str]:
    """The state, or None and why it cannot be taken."""
    try:
        # torch does not compare the checksums that it writes: a flipped bit would pass as a weight.
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            return None, f"damaged checkpoint (checksum of {broken})"
        kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        return None, f"damaged checkpoint ({' '.join(str(error).split())[:120]})"
    if kept["libraries"] != _versions():
        changed = [f"{name} {wrote}" for name, wrote in kept["libraries"].items() if wrote != version(name)]
        return None, f"the checkpoint was written by {', '.join(changed)}"
    shapes = {name: value.shape for name, value in _trained(state.model)}
    if {name: value.shape for name, value in kept["trained"].items()} != shapes:
        return None, "the checkpoint is of another model"
    return kept, ""


def _trained(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [(name, p.detach()) for name, p in model.named_parameters() if p.requires_grad]


def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}
