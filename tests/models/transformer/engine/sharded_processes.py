"""What every process of `test_sharding` does: whole folds with sharded weights, under gloo on the CPU.

accelerate shards on GPUs only, though torch's `fully_shard` works on the CPU as well. So accelerate is told here that
the processes have GPUs; from there on all is as `fsdp.yaml`, read by accelerate's own launcher, makes it.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.transformer.library_warnings import quiet

quiet()

from accelerate.commands.launch import _validate_launch_command, launch_command_parser  # noqa: E402
from accelerate.state import AcceleratorState  # noqa: E402  # after the libraries are quiet
from accelerate.utils import DistributedType  # noqa: E402
from accelerate.utils.launch import prepare_multi_gpu_env  # noqa: E402
from torch.distributed.fsdp import FSDPModule  # noqa: E402
from torch.distributed.tensor import DTensor  # noqa: E402

from models.transformer.base_model import open_base  # noqa: E402
from models.transformer.data.training_set import TrainingSet  # noqa: E402
from models.transformer.engine import checkpoint, distributed, fsdp  # noqa: E402
from oof.model_store import RESUME, FoldResult  # noqa: E402
from tests.models.transformer.checkpoints import battles, settings  # noqa: E402

VALID = np.arange(0, 60, 3)
TRAIN = np.setdiff1d(np.arange(60), VALID)
UNHURRIED = {"tta": "budget", "tta_seconds": 1e6}
STILL = 1e-30  # a learning rate that moves nothing
# Of 39 battles in steps of 38 the last one is alone, as are the fold's and the test battle: one process has none.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "untouched": ("llama", {"learning_rate": STILL, "weight_decay": 0.0, "tokens_per_batch": 256}),
    "roberta": ("roberta", {"learning_rate": 1e-3, "tokens_per_batch": 256}),
    "llama": ("llama", {"epochs": 2, "learning_rate": 1e-3, "tokens_per_batch": 256, "batching": "packed"}),
    "frozen": ("roberta", {"learning_rate": 1e-3, "frozen_layers": 1}),
    "gemma2": ("gemma2", {"learning_rate": 1e-3, "batch_size": 38, "gradient_checkpointing": True, **UNHURRIED}),
    "bfloat16": ("llama", {"learning_rate": 1e-3, "dtype": "bfloat16"}),
}
ALONE = "gemma2"
KILLED, RESUMED_FROM = "killed", "checkpoint.pt"


class Killed(BaseException):
    """Not an Exception: nothing in between may catch it, as nothing catches a signal."""


def fold(checkpoints: Path, case: str, folder: Path) -> FoldResult:
    """One fold of a case, its files in the folder."""
    name, changes = CASES[case]
    table = battles()
    rows, valid = (TRAIN[:39], VALID[:1]) if case == ALONE else (TRAIN, VALID)
    folder.mkdir(parents=True, exist_ok=True)
    base = settings(checkpoints / name, **changes)
    fit, _ = open_base(case, base, TrainingSet.of(table), table.iloc[valid], folder)
    return fit(0, rows, valid, folder)


def launched(config: Path) -> dict[str, str]:
    """What accelerate's launcher says to the processes that it starts with this config file."""
    arguments = launch_command_parser().parse_args(["--config_file", str(config), "-m", "stages.base"])
    environment = prepare_multi_gpu_env(_validate_launch_command(arguments)[0])
    return {name: value for name, value in environment.items() if name.startswith(("ACCELERATE_", "FSDP_"))}


def begin() -> None:
    """A state of accelerate's for another model, as it keeps the classes of the first one's layers; with "GPUs"."""
    AcceleratorState._reset_state()
    distributed.state().distributed_type = DistributedType.MULTI_GPU


def little_by_little(real: Callable[..., None], left: list[int]) -> Callable[..., None]:
    """A checkpoint writer that is killed, with its process, after writing so many."""

    def write(*arguments: Any) -> None:
        real(*arguments)
        left[0] -= 1
        if not left[0]:
            raise Killed

    return write


def main() -> None:
    config, checkpoints, out = (Path(word) for word in sys.argv[1:])
    os.environ.update(launched(config))
    fsdp.check = lambda settings: None  # type: ignore[assignment]  # it asks for GPUs
    torch.nn.Dropout.forward = lambda self, values: values  # type: ignore[method-assign]  # each process draws its own
    kept: dict[str, dict[str, Any]] = {}
    write, save = fsdp.save, checkpoint.save

    def noted(model: Any, folder: Path) -> None:
        weights = list(model.parameters())
        kept[case] = {
            "here": sum(weight.to_local().numel() for weight in weights if isinstance(weight, DTensor)),
            "groups": sum(isinstance(module, FSDPModule) for module in model.modules()),
            "all": sum(weight.numel() for weight in weights),
            "frozen": sorted({str(weight.dtype) for weight in weights if not weight.requires_grad}),
            "trained": sorted({str(weight.dtype) for weight in weights if weight.requires_grad}),
        }
        write(model, folder)

    fsdp.save = noted
    found: dict[str, np.ndarray] = {}
    for case in CASES:
        begin()
        result = fold(checkpoints, case, out / case)
        assert result.test is not None
        found |= {f"{case}/{variant}": values for variant, values in result.valid.items()}
        found |= {f"{case}/test/{variant}": values for variant, values in result.test.items()}
        kept[case] |= result.details
    begin()
    # Killed inside the first epoch, and at the end of it; every step is kept.
    CASES[KILLED] = ("llama", {**CASES["llama"][1], "checkpoint_minutes": 0.0})
    case = KILLED
    for after in (2, 3):
        checkpoint.save = little_by_little(save, [after])
        try:
            fold(checkpoints, KILLED, out / KILLED)
        except Killed:
            continue
        raise AssertionError("not killed")
    checkpoint.save = save
    if distributed.state().is_main_process:
        shutil.copy(out / KILLED / RESUME / RESUMED_FROM, out)
    distributed.state().wait_for_everyone()
    fold(checkpoints, KILLED, out / KILLED)
    if distributed.state().is_main_process:
        np.savez(out / "found.npz", **found)
        (out / "kept.json").write_text(json.dumps(kept))
    distributed.state().destroy_process_group()


if __name__ == "__main__":
    main()
