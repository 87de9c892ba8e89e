"""Number formats: the type that a base computes in, and how its frozen weights are stored."""

from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from battles.errors import BadInput
from battles.files import read_json, write_json
from models.transformer.backbone.device import DeviceSpec
from models.transformer.settings import Transformer

HEADS = ["score", "classifier"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# The oldest cards that bitsandbytes has kernels for (its installation guide): int8 products need Turing's.
CAPABILITY = {"int8": (7, 5), "nf4": (6, 0)}
NF4_BLOCK = 64
WIDE = 512
# Beside a saved model and a checkpoint: what `auto` came to on the device that trained it.
RECORD = "precision.json"
RESOLVED = ("dtype", "quantization")


def choose_dtype(settings: Transformer, spec: DeviceSpec, width: int = 0) -> str:
    """As set, once checked; or, for `auto`, bf16 on cards that have it, fp16 on older ones, and on CPUs fp32, but bf16
    where they have instructions for it (AMX, AVX512-BF16) and the backbone is `WIDE` or wider.

    Products that wide are two to eight times as fast so; narrow backbones gain nothing by it. Raises BadInput for a
    type that the device cannot train in.
    """
    if settings.dtype == "auto":
        if spec.kind == "cpu":
            return "bfloat16" if spec.multiplies_bf16 and width >= WIDE else "float32"
        return "bfloat16" if spec.has_bf16 else "float16"
    if settings.dtype == "bfloat16" and not spec.has_bf16:
        raise BadInput(f"dtype: bfloat16 needs compute capability 8.0, this is {spec.text}; use auto or float16")
    if settings.dtype == "float16" and spec.kind == "cpu":
        raise BadInput("dtype: float16 cannot be trained on the CPU; use auto, float32 or bfloat16")
    return settings.dtype


def check_quantization(settings: Transformer, model: torch.nn.Module, spec: DeviceSpec) -> None:
    """Refuses a quantisation that the device has no kernels for, or gets wrong on this model (weights not needed).

    bitsandbytes 0.50 gives wrong NF4 weights on the CPU where a block of 64 crosses two rows (relative error 0.4
    instead of 0.09).
    """
    if spec.kind == "cuda":
        least = CAPABILITY.get(settings.quantization, (0, 0))
        if spec.capability < least:
            fix = "nf4 or none" if settings.quantization == "int8" else "none"
            raise BadInput(
                f"quantization: {settings.quantization} needs compute capability {'.'.join(map(str, least))}, this is "
                f"{spec.text}; use {fix}"
            )
    elif settings.quantization == "nf4":
        for name, module in quantised_layers(model):
            if module.in_features % NF4_BLOCK:
                raise BadInput(
                    f"quantization: nf4, but {name} of {settings.backbone} has {module.in_features} inputs, no "
                    f"multiple of {NF4_BLOCK}, which bitsandbytes gets wrong on the CPU; use int8 or none"
                )


def quantised_layers(model: torch.nn.Module) -> list[tuple[str, torch.nn.Linear]]:
    """The linear layers of a backbone that quantised loading replaces: all but those of the head."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not any(part in HEADS for part in name.split("."))
    ]


def quantise(layer: torch.nn.Linear, quantization: str, dtype: torch.dtype, weight: torch.Tensor) -> torch.nn.Module:
    """A layer of the shape of `layer` with this weight, on the weight's device, as quantised loading would make it."""
    # Not at the top: a machine that only predicts with unquantised models need not have the library.
    from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit

    sizes, bias = (layer.in_features, layer.out_features), layer.bias is not None
    if quantization == "int8":
        whole = Linear8bitLt(*sizes, bias=bias, has_fp16_weights=False, device="meta")
        # Kept as 16-bit numbers until it moves to its device, which is when it is rounded to 8.
        whole.weight = Int8Params(weight.to("cpu", torch.float16), requires_grad=False).to(weight.device)
        return whole
    packed = Linear4bit(*sizes, bias=bias, compute_dtype=dtype, quant_type="nf4", device="meta")
    packed.weight = Params4bit(weight, requires_grad=False, quant_type="nf4", module=packed).to(weight.device)
    packed.support_avx512bf16_for_cpu = False  # the gradient would be lost (`backbone.loading`)
    return packed


def loading_options(settings: Transformer, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of `from_pretrained` for a quantised backbone; empty for `none`. The head stays whole."""
    if settings.quantization == "int8":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=HEADS)}
    if settings.quantization == "nf4":
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=HEADS,
        )
        return {"quantization_config": config}
    return {}


def record_precision(settings: Transformer, folder: Path) -> None:
    """Notes in `folder` how a model is trained: the dtype and quantization of resolved settings."""
    write_json(folder / RECORD, settings.model_dump(include=set(RESOLVED)))


def recorded_precision(folder: Path) -> dict[str, str]:
    """What `record_precision` noted in `folder`; empty where nothing was."""
    return dict(read_json(folder / RECORD)) if (folder / RECORD).exists() else {}


def check_same_precision(settings: Transformer, folder: Path) -> None:
    """Refuses to go on with a training, of which `folder` keeps a checkpoint, in other numbers than it was begun in."""
    begun = recorded_precision(folder)
    other = {name: value for name, value in begun.items() if value != getattr(settings, name)}
    if other:
        now = " and ".join(f"{name} {getattr(settings, name)}" for name in other)
        was = " and ".join(f"{name} {value}" for name, value in other.items())
        raise BadInput(
            f"{folder}: this training was begun with {was}, and would go on here with {now}; go on where it was begun, "
            f"or delete {folder} to begin it anew"
        )
