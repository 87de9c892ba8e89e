"""Weights sharded over the GPUs of several processes, for backbones that outgrow one GPU: FSDP2 (`fully_shard`).

accelerate's launcher turns it on, by a config file such as `fsdp.yaml`. Every process keeps a part of each weight; a
layer is gathered just before it computes and freed afterwards, by all processes at once. So all must do the same number
of forward passes, whatever rows they have, and a process that runs out of memory cannot try again alone.

Frozen weights stay as narrow as they were loaded, trained ones stay in fp32, and autocast computes: accelerate's mixed
precision is off, as it would gather the fp32 head and adapters in 16 bits and add their gradients up in 16 bits.
"""

import os
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from battles.errors import BadInput
from models.transformer.backbone.adapters import Model
from models.transformer.engine import distributed
from models.transformer.engine.forward import Scorer
from models.transformer.settings import Transformer

# What the launcher must have been told, by the names of its config file; other values were not tried.
LAUNCHED: dict[str, str] = {
    "fsdp_version": "2",
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_offload_params": "false",
    "fsdp_cpu_ram_efficient_loading": "false",
    "fsdp_activation_checkpointing": "false",  # the setting gradient_checkpointing does it
}


class Sharded(Scorer):
    """A scorer whose weights are sharded; it is called by all processes at once. Computes in `dtype` by autocast."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        super().__init__(model)
        self.dtype = dtype
        # accelerate shards each module of these classes by itself: the layers. The rest is gathered as a whole.
        classes = {type(module).__name__ for module in model.modules()}
        self._no_split_modules = sorted(classes.intersection(_unwrapped(model)._no_split_modules or ()))

    def forward(self, *arguments: Any) -> torch.Tensor:
        """Logits, as `engine.forward.forward` gives them."""
        kind = next(self.parameters()).device.type
        # Casts of whole weights must not outlive their layer, so autocast may not keep them.
        with torch.autocast(kind, dtype=self.dtype, enabled=self.dtype != torch.float32, cache_enabled=False):
            return super().forward(*arguments)

    def free_gathered(self) -> None:
        """Frees what a forward pass without a backward pass leaves gathered: all weights outside of the layers."""
        assert isinstance(self, FSDPModule)  # `fully_shard` makes it one
        self.reshard()


def active() -> bool:
    """Whether the launcher asked for sharded weights, and there are several processes to share them."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" and distributed.state().num_processes > 1


def check(settings: Transformer) -> None:
    """Refuses resolved settings, and settings of the launcher, that do not go with sharded weights."""
    if not active():
        return
    if not torch.cuda.is_available():
        raise BadInput("LAUNCH: its config file says use_fsdp, which accelerate does on GPUs only; leave LAUNCH out")
    for name, wanted in LAUNCHED.items():
        value = os.environ.get(name.upper(), "not set")
        if value.lower() != wanted.lower():
            raise BadInput(f"LAUNCH: {name} of its config file is {value}; set it to {wanted}, as in fsdp.yaml")
    if settings.quantization != "none":
        raise BadInput(
            f"quantization: {settings.quantization}, but FSDP cannot shard quantised weights; set it to none, or leave "
            "LAUNCH out: then every GPU holds all of them"
        )
    if settings.dtype == "float16":
        raise BadInput("dtype: float16 under FSDP is not supported; set it to bfloat16 or float32")
    if settings.names_weight:
        raise BadInput(f"names_weight: {settings.names_weight} under FSDP is not supported; set it to 0")
    if settings.optimizer != "adamw":
        raise BadInput(
            f"optimizer: {settings.optimizer} cannot keep a sharded state; set it to adamw, which FSDP shards"
        )


def out_of_memory(budget: int) -> BadInput:
    """What to say when a process ran out of memory with this token budget: the others wait for it."""
    process = distributed.state().process_index
    return BadInput(
        f"tokens_per_batch: {budget} was too much for process {process}, and under FSDP no process can go on with less "
        "alone; set a smaller one"
    )


def gather_full(value: Any) -> Any:
    """A sharded tensor gathered on the CPU of the main process (empty in the others); anything else as it is."""
    if not isinstance(value, DTensor):
        return value
    full = value.full_tensor()
    return full.cpu() if distributed.state().is_main_process else torch.empty(0)


def shard_like(value: Any, parameter: torch.Tensor) -> Any:
    """A full tensor of the shape of a sharded parameter, sharded as that is; anything else as it is."""
    if not isinstance(parameter, DTensor) or not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
        return value
    # Every process has the whole: nothing is sent.
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def gather_optimizer_state(optimizer: Any) -> dict[str, Any]:
    """An optimizer's state dict with full tensors, in the main process."""
    state: dict[str, Any] = optimizer.state_dict()
    states = {at: {name: gather_full(value) for name, value in held.items()} for at, held in state["state"].items()}
    return {**state, "state": states}


def shard_optimizer_state(state: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """An optimizer's state dict of full tensors, sharded as its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = {
        at: {name: shard_like(value, parameters[at]) for name, value in held.items()}
        for at, held in state["state"].items()
    }
    return {**state, "state": states}


def save(model: Model | Sharded, folder: Path) -> None:
    """Writes a trained model in its library's own format. All processes call it, the main process writes."""
    leads = distributed.state().is_main_process
    if not isinstance(model, Sharded):
        if leads:
            model.save_pretrained(folder)
        return
    bare: Model = model.model
    kept = {name for name, parameter in bare.named_parameters() if parameter.requires_grad}
    state = {
        name: gather_full(value)
        for name, value in ((key.removeprefix("model."), value) for key, value in model.state_dict().items())
        if name in kept or not isinstance(bare, PeftModel)
    }
    if leads:
        bare.save_pretrained(folder, state_dict=state)


def _unwrapped(model: Any) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model
