"""The optimizer of a transformer base model: groups with rates of their own, and the schedule of the rates."""

import math
from collections.abc import Callable
from typing import Any

import torch

from battles.errors import BadInput
from models.transformer.backbone.heads import NAMES
from models.transformer.backbone.precision import HEADS
from models.transformer.planning.memory import resident_moments_bytes
from models.transformer.settings import Transformer

LORA_B = ("lora_B", "lora_embedding_B")


def make_optimizer(model: torch.nn.Module, settings: Transformer) -> torch.optim.Optimizer:
    """AdamW over the trained parameters, as `settings.optimizer` names it."""
    # In one kernel on a card, where a step over hundreds of adapters is otherwise hundreds of launches.
    fused = settings.optimizer == "adamw" and next(model.parameters()).is_cuda
    optimizer: torch.optim.Optimizer = _kind(settings.optimizer)(
        groups(model, settings), weight_decay=settings.weight_decay, **({"fused": True} if fused else {})
    )
    return optimizer


def _kind(name: str) -> Any:
    if name == "adamw":
        return torch.optim.AdamW
    # Not at the top: a machine that predicts only need not have the library.
    from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit

    return {"adamw_8bit": AdamW8bit, "paged_adamw_8bit": PagedAdamW8bit}[name]


def groups(model: torch.nn.Module, settings: Transformer) -> list[dict[str, Any]]:
    """Optimizer groups of the body, the new head, and with LoRA+ the adapters' B matrices (Hayou et al. 2024,
    arXiv:2402.12354: B starts at zero and learns at `plus_ratio` times the rate of A).

    PEFT's own LoRA+ puts the head into A's group and ignores its rate; here the head keeps its own.
    """
    rate = settings.learning_rate
    ratio = (settings.lora.plus_ratio if settings.lora else None) or 1.0
    rates = {"body": rate, "head": settings.head_learning_rate or rate, "lora_b": ratio * rate}
    members: dict[str, list[torch.nn.Parameter]] = {"body": [], "head": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = _group(name.split("."), separate_b=ratio != 1.0)
            members.setdefault(group, []).append(parameter)
    return [{"params": parameters, "lr": rates[group]} for group, parameters in members.items()]


def _group(path: list[str], separate_b: bool) -> str:
    if any(part in (*HEADS, NAMES) for part in path):
        return "head"
    return "lora_b" if separate_b and any(part in LORA_B for part in path) else "body"


def warmup_then_cosine(total: int, warmup: float) -> Callable[[int], float]:
    """The factor on the learning rate: linear up over the first `warmup` share of steps, then half a cosine to 0."""
    rising = max(1, round(total * warmup))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))

    return factor


def reserve_moments(optimizer: torch.optim.Optimizer, settings: Transformer, device: torch.device) -> torch.Tensor:
    """Memory of the size that the moments will take once a step is made; those that are there already not counted.

    Raises BadInput where there is not as much.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    sizes = [parameter.numel() for parameter in parameters if not optimizer.state.get(parameter)]
    size = resident_moments_bytes(sizes, settings.optimizer, device.type)
    try:
        return torch.empty(size, dtype=torch.uint8, device=device)
    except torch.OutOfMemoryError:
        raise BadInput(
            f"optimizer: the moments of {settings.optimizer} take {size / 1e9:.2f} GB, which the device does not have "
            "beside the weights; use paged_adamw_8bit, or a smaller lora.rank"
        ) from None


def page_again(optimizer: Any) -> None:
    """Moves the states of a paged optimizer, which loading puts into the card's memory, back into paged memory."""
    for parameter, state in optimizer.state.items():
        for name in ("state1", "state2"):
            buffer = optimizer.get_state_buffer(parameter, dtype=state[name].dtype)
            state[name] = buffer.copy_(state[name])
