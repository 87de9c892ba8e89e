"""A loaded model made to compute in fp32 for a while, where half precision overflows; its weights stay as stored."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import linear

NARROW = (torch.float16, torch.bfloat16)


@contextmanager
def in_float32(model: torch.nn.Module) -> Iterator[None]:
    """Has every layer of the model compute in fp32, without autocast.

    A weight is widened when it is used, so that of a 9B model no more than one matrix stands in fp32 at a time; norms
    and biases, which are small, are widened for as long. What int8 and NF4 have rounded stays rounded.
    """
    replaced: list[torch.nn.Module] = []
    hooks = []
    kept: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
    device = next(model.parameters()).device.type
    try:
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):  # bitsandbytes' layers too
                module.forward = _widened(module)  # type: ignore[method-assign,assignment]
                replaced.append(module)
            elif isinstance(module, torch.nn.Embedding):
                hooks.append(module.register_forward_hook(lambda _, given, rows: rows.float()))
            else:
                for parameter in module.parameters(recurse=False):
                    if parameter.dtype in NARROW:
                        kept.append((parameter, parameter.data))
                        parameter.data = parameter.data.float()
        with torch.autocast(device, enabled=False):
            yield
    finally:
        for module in replaced:
            del module.forward
        for hook in hooks:
            hook.remove()
        for parameter, stored in kept:
            parameter.data = stored


def _widened(layer: torch.nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(rows: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        bias = None if layer.bias is None else layer.bias.float()
        return linear(rows.float(), _weight(layer), bias)

    return forward


def _weight(layer: torch.nn.Linear) -> torch.Tensor:
    """The weight of a layer, (outputs, inputs), in fp32."""
    if type(layer).__module__.startswith("bitsandbytes."):  # the library need not be there
        from bitsandbytes.functional import dequantize_4bit
        from bitsandbytes.nn import Linear4bit, Linear8bitLt

        if isinstance(layer, Linear4bit):
            return dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
        if isinstance(layer, Linear8bitLt):
            # bitsandbytes moves both from the weight to its state at the first forward pass.
            rounded = layer.weight.data if layer.state.CB is None else layer.state.CB
            scale = layer.weight.SCB if layer.state.SCB is None else layer.state.SCB
            return rounded.float() * (scale.float() / 127)[:, None]
    return layer.weight.float()
