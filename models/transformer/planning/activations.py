"""Peak memory of one training micro-batch, measured on tensors without data.

The step is run operation by operation as PyTorch would (`FakeTensorMode`: shapes, types and the autograd graph are
real, numbers are not there), so the count holds for any architecture, with and without checkpointing, and knows what
autograd keeps for the backward pass and what the backward pass itself needs.
"""

import weakref
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from models.transformer.backbone.adapters import Model
from models.transformer.backbone.precision import quantised_layers

# What the model is told beside causality: nothing, which tokens are padding, or what lies between two of a pack.
Mask = Literal["none", "padding", "pack"]
FLASH, MASKED, UNMASKED = "memory_of_flash", "memory_of_sdpa", "memory_of_sdpa_without_a_mask"
REPEATED = "memory_of_sdpa_on_repeated_keys"


class _Alive(TorchDispatchMode):
    """Counts the bytes of storages that operations make and that are still referenced; `peak` is their maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def know(self, tensors: Iterator[torch.Tensor]) -> None:
        """Storages that are counted elsewhere: weights, gradients and inputs."""
        for tensor in tensors:
            self._known[tensor.untyped_storage()] = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in self._known:
                storage = tensor.untyped_storage()
                self._known[storage] = size = storage.nbytes()
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._free, size)
        return made

    def _free(self, size: int) -> None:
        self.now -= size


class _Nf4(torch.autograd.Function):
    """bitsandbytes' 4-bit product: no input is kept; each pass unpacks the weight for itself."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        ctx.like, ctx.dtype, ctx.wide = like, dtype, rows.dtype
        return (rows.to(dtype) @ torch.empty_like(like, dtype=dtype).t()).to(rows.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        narrow = gradients[0].to(ctx.dtype)
        return (narrow @ torch.empty_like(ctx.like, dtype=ctx.dtype)).to(ctx.wide), None, None


class _Int8(torch.autograd.Function):
    """bitsandbytes' 8-bit product: rows are rounded to 8 bits; the node itself holds them, out of reach of hooks."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        ctx.like, ctx.rows = like, rows
        half = rows.to(torch.float16)
        rounded = torch.empty_like(half, dtype=torch.int8)
        product = torch.empty((*rows.shape[:-1], like.shape[0]), dtype=torch.int32)
        del half, rounded
        return product.to(rows.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return gradients[0] @ torch.empty_like(ctx.like, dtype=gradients[0].dtype), None, None


class _Fused(torch.autograd.Function):
    """An attention that keeps queries, keys, values, output and one number per query, and no matrix of weights."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, torch.empty(query.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def _flash(module: Any, query: Any, key: Any, value: Any, mask: Any, **_: Any) -> tuple[torch.Tensor, None]:
    return _Fused.apply(query, key, value).transpose(1, 2).contiguous(), None


def _sdpa(module: Any, query: Any, key: Any, value: Any, mask: Any, **_: Any) -> tuple[torch.Tensor, None]:
    groups = query.shape[1] // key.shape[1]  # with a mask, transformers repeats keys and values for grouped queries
    key, value = (part.repeat_interleave(groups, dim=1) if groups > 1 else part for part in (key, value))
    return _Fused.apply(query, key, value).transpose(1, 2).contiguous(), None


AttentionInterface.register(FLASH, _flash)
AttentionInterface.register(MASKED, _sdpa)
AttentionInterface.register(REPEATED, _sdpa)
# Without numbers to look at transformers would make sdpa a mask; it makes none for a name that it knows no mask of.
AttentionInterface.register(UNMASKED, sdpa_attention_forward)
AttentionMaskInterface.register(MASKED, sdpa_mask)


def step_bytes(model: Model, quantization: str, dtype: torch.dtype, rows: int, tokens: int, mask: Mask) -> int:
    """Bytes beyond weights, gradients and optimizer at the peak of forward and backward of (rows, tokens).

    `model` is adapted and on the meta device; it is used up: its tensors become fake ones. Gradients of trained weights
    are taken to be there already, as they are from the second micro-batch on.
    """
    if quantization != "none":
        _as_quantised(model, quantization, dtype)
    alive = _Alive()
    with FakeTensorMode():
        _materialise(model)
        ids = torch.ones((rows, tokens), dtype=torch.int64)
        wanted = torch.ones((rows, model.config.num_labels))
        model.train()
        alive.know(t for t in (*model.parameters(), *model.buffers(), ids, wanted))
        alive.know(p.grad for p in model.parameters() if p.grad is not None)
        with alive:
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                # Made in the call: `engine.forward` does not keep it for the backward pass either.
                logits = model(input_ids=ids, attention_mask=_mask(mask, ids, dtype), use_cache=False).logits.float()
            torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").backward()
    return alive.peak


def _mask(mask: Mask, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
    """The attention mask as `engine.forward` makes it."""
    if mask == "none":
        return None
    if mask == "padding":
        return torch.ones_like(ids)
    apart = torch.ones((ids.numel(), ids.numel()), dtype=torch.bool)
    return torch.zeros((1, 1, *apart.shape), dtype=dtype).masked_fill_(apart, 0.0)


def _as_quantised(model: torch.nn.Module, quantization: str, dtype: torch.dtype) -> None:
    product = {"nf4": _Nf4, "int8": _Int8}[quantization]
    for _, layer in quantised_layers(model):
        if not layer.weight.requires_grad:
            _replace_forward(layer, product, dtype)


def _replace_forward(layer: torch.nn.Linear, product: Any, dtype: torch.dtype) -> None:
    def forward(rows: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = product.apply(rows, layer.weight, dtype)
        return out if layer.bias is None else out + layer.bias

    layer.forward = forward  # type: ignore[method-assign,assignment]


def _materialise(model: torch.nn.Module) -> None:
    """Meta tensors become fake ones on the CPU, where autocast works; trained ones get a gradient."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                fake = torch.nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype), parameter.requires_grad)
                if parameter.requires_grad:
                    fake.grad = torch.empty_like(fake)
                module._parameters[name] = fake
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
