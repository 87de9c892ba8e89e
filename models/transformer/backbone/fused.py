"""Norms, gates and rotary embeddings of decoders: one kernel each, and little kept for the backward pass.

transformers writes them as chains of elementwise operations, each of which reads and writes a whole activation: a third
of the time of a forward pass of Llama 3 8B on an H100. Here each is a function with a gradient of its own, which
`torch.compile` makes one kernel of, on cards. Of a norm autograd keeps the input and one number a token, of a gate its
two inputs; the rest is computed again. Results differ from transformers' by rounding: what lies between stays in fp32.
"""

from collections.abc import Callable
from functools import cache, partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.transformer.backbone.device import missing_for_triton

# Gates as transformers' configurations name them, each with its gradient.
GATES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "silu": (functional.silu, torch.ops.aten.silu_backward),
    "gelu_pytorch_tanh": (
        partial(functional.gelu, approximate="tanh"),
        partial(torch.ops.aten.gelu_backward, approximate="tanh"),
    ),
}
# The architectures whose modules these are.
MODULES = tuple(
    f"transformers.models.{kind}.modeling_{kind}" for kind in ("llama", "gemma2", "mistral", "qwen2", "qwen3")
)
ROTARY = "apply_rotary_pos_emb"


def fuse(model: nn.Module) -> None:
    """Has a decoder of `MODULES` compute its norms, gates and rotary embeddings by the functions here, in place; any
    other model is left as it is."""
    for module in model.modules():
        kind = type(module)
        if kind.__module__ not in MODULES:
            continue
        if kind.__name__.endswith("RMSNorm"):
            module.forward = partial(_normalise, module)
        elif kind.__name__.endswith("MLP") and (name := _gate_name(module)) is not None:
            module.forward = partial(_feed_forward, module, name)
        # An attention that a decorator wraps does not show what it calls, and stays as it is.
        elif kind.__name__.endswith("Attention") and ROTARY in kind.forward.__code__.co_names:
            module.forward = MethodType(_with_rotary(kind.forward), module)


def _gate_name(module: Any) -> str | None:
    name: str | None = getattr(module.config, "hidden_activation", None) or getattr(module.config, "hidden_act", None)
    return name if name in GATES else None


def _with_rotary(forward: Any) -> FunctionType:
    """An attention's own forward, in which the modeling file's rotary function is `_rotate`."""
    names = forward.__globals__ | {ROTARY: _rotate}
    own = FunctionType(forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__)
    own.__kwdefaults__ = forward.__kwdefaults__
    return own


def _rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    turned: tuple[Tensor, Tensor] = _Rotary.apply(query, key, cos, sin)
    return turned


def _normalise(module: Any, hidden: Tensor) -> Tensor:
    # Gemma's weights are what is added to 1.
    from_one = type(module).__name__.startswith("Gemma")
    eps = module.eps if from_one else module.variance_epsilon
    out: Tensor = _Norm.apply(hidden, module.weight, eps, from_one)
    return out


def _feed_forward(module: Any, name: str, hidden: Tensor) -> Tensor:
    out: Tensor = module.down_proj(_Gate.apply(module.gate_proj(hidden), module.up_proj(hidden), name))
    return out


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) times the weight, over the last dimension (Zhang, Sennrich 2019, arXiv:1910.07467)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, eps: float, from_one: bool) -> Tensor:
        out, scale = _run(_norm, (hidden.reshape(-1, hidden.shape[-1]),), weight, eps, from_one)
        ctx.save_for_backward(hidden, weight, scale)
        ctx.from_one = from_one
        return out.view(hidden.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        hidden, weight, scale = ctx.saved_tensors
        rows = *(tensor.reshape(-1, hidden.shape[-1]) for tensor in (gradients[0], hidden)), scale
        to_hidden = _run(_norm_gradient, rows, weight, ctx.from_one).view(hidden.shape)
        to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = _run(_norm_weight_gradient, rows, ctx.from_one).to(weight.dtype)
        return to_hidden, to_weight, None, None


def _norm(hidden: Tensor, weight: Tensor, eps: float, from_one: bool) -> tuple[Tensor, Tensor]:
    wide = hidden.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    normal = wide * scale
    if from_one:
        return (normal * (1.0 + weight.float())).type_as(hidden), scale
    return weight * normal.type_as(hidden), scale


def _norm_gradient(gradient: Tensor, hidden: Tensor, scale: Tensor, weight: Tensor, from_one: bool) -> Tensor:
    normal = hidden.float() * scale
    inner = gradient.float() * (1.0 + weight.float() if from_one else weight.float())
    return (scale * (inner - normal * (inner * normal).mean(-1, keepdim=True))).type_as(hidden)


def _norm_weight_gradient(gradient: Tensor, hidden: Tensor, scale: Tensor, from_one: bool) -> Tensor:
    normal = hidden.float() * scale
    return (gradient.float() * (normal if from_one else normal.type_as(hidden))).sum(0)


class _Gate(torch.autograd.Function):
    """activation(gate) x up, by the activation's name."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, name: str) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.name = name
        rows = gate.reshape(-1, gate.shape[-1]), up.reshape(-1, up.shape[-1])
        out: Tensor = _run(_gated, rows, name).view(gate.shape)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        gate, up = ctx.saved_tensors
        rows = tuple(tensor.reshape(-1, gate.shape[-1]) for tensor in (gradients[0], gate, up))
        to_gate, to_up = _run(_gated_gradient, rows, ctx.name)
        return to_gate.view(gate.shape), to_up.view(up.shape), None


def _gated(gate: Tensor, up: Tensor, name: str) -> Tensor:
    return (GATES[name][0](gate.float()) * up.float()).type_as(gate)


def _gated_gradient(gradient: Tensor, gate: Tensor, up: Tensor, name: str) -> tuple[Tensor, Tensor]:
    activation, derived = GATES[name]
    wide, open_ = gradient.float(), gate.float()
    return derived(wide * up.float(), open_).type_as(gate), (wide * activation(open_)).type_as(up)


class _Rotary(torch.autograd.Function):
    """Queries and keys (rows, heads, tokens, width) turned by their positions' angles (Su et al. 2021,
    arXiv:2104.09864), the halves of a head paired as transformers pairs them."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        turned: tuple[Tensor, Tensor] = _run(_turn, (query, key, cos, sin))
        return turned

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return (*_run(_turn_back, (*gradients, cos, sin)), None, None)


def _turn(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    return _turned(query, cos, sin), _turned(key, cos, sin)


def _turn_back(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    first, second = sin.chunk(2, dim=-1)
    return _turn(query, key, cos, -torch.cat((second, first), dim=-1))


def _turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat((-second, first), dim=-1) * sin


def _run(function: Callable[..., Any], tensors: tuple[Tensor, ...], *others: Any) -> Any:
    """The function of these tensors, compiled on a card that can; their tokens may be of any number."""
    if not (tensors[0].is_cuda and _can_compile()):
        return function(*tensors, *others)
    for tensor in tensors:
        torch._dynamo.maybe_mark_dynamic(tensor, tensor.dim() - 2)
    return _compiled(function)(*tensors, *others)


@cache
def _can_compile() -> bool:
    return missing_for_triton() is None


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)
