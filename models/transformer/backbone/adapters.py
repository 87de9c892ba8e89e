"""Which weights of a backbone are trained, and how: all, or LoRA adapters and the head; frozen layers; checkpointing.

Nothing here reads a weight, so it works on a model without weights (`backbone.meta_device`) just as on a loaded one.
"""

from functools import partial
from typing import Any, TypeAlias

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.lora import Linear, LoraLayer
from transformers import PreTrainedModel

from battles.errors import BadInput
from models.transformer.backbone.fused import fuse
from models.transformer.backbone.precision import quantised_layers
from models.transformer.settings import Transformer

Model: TypeAlias = PreTrainedModel | PeftModel


def adapt(model: PreTrainedModel, settings: Transformer) -> Model:
    """Makes a loaded model ready for training, in place: what is frozen, adapters, checkpointing, fp32 where trained.

    Settings must be resolved (`planning.preflight`). Raises BadInput for target modules that match nothing and for more
    frozen layers than the model can spare.
    """
    if settings.kernels == "fused":
        fuse(model)
    layers = _layers(model, settings)
    adapted: Model = model
    if settings.lora is not None:
        if settings.quantization != "none":
            _widen_what_stayed_whole(model)
        adapted = _with_lora(model, settings, len(layers))
    elif settings.frozen_layers:
        for module in (*_embeddings(model), *layers[: settings.frozen_layers]):
            module.requires_grad_(False)
    if settings.gradient_checkpointing:
        if not model.supports_gradient_checkpointing:
            raise BadInput(f"gradient_checkpointing: {settings.backbone} does not support it; set it to false")
        # bitsandbytes' int8 product keeps its inputs outside of autograd's reach, so that checkpointing without
        # re-entry would free none of them. With re-entry the first pass makes no graph; its inputs need a gradient.
        reentrant = settings.quantization == "int8"
        if reentrant:
            model.enable_input_require_grads()
        model.activation_checkpointing_enable({"use_reentrant": reentrant}, settings.checkpoint_every)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def merge(model: torch.nn.Module, settings: Transformer) -> None:
    """Adds the adapters to the weights beside which they were trained, in place, to predict without their products.

    Only where the weights are not quantised, as the sum would be rounded again. In 16 bits the sum is rounded once, by
    no more than the product itself is. Save the model before.
    """
    if isinstance(model, PeftModel) and settings.quantization == "none":
        model.merge_adapter()


def _layers(model: PreTrainedModel, settings: Transformer) -> list[torch.nn.Module]:
    """The layers from the lowest, once it is known that not all of them are to be frozen; none where none are."""
    if not settings.frozen_layers:
        return []
    count = model.config.num_hidden_layers
    if settings.frozen_layers >= count:
        raise BadInput(
            f"frozen_layers: {settings.frozen_layers}, but {settings.backbone} has {count} layers; "
            f"set it to {count - 1} or less"
        )
    stacks = (m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == count)
    layers = next(stacks, None)
    if layers is None:
        raise BadInput(f"frozen_layers: {settings.backbone} does not keep its layers in one list; set it to 0")
    return list(layers)


def _embeddings(model: PreTrainedModel) -> list[torch.nn.Module]:
    """What comes before the layers: the token embeddings, and positions and norm where they stand together."""
    return [module for name, module in model.base_model.named_children() if name.startswith("embed")]


def _widen_what_stayed_whole(model: PreTrainedModel) -> None:
    """Norms and biases that are not quantised to fp32, as QLoRA does, and with them the stream between the layers.

    The table of token embeddings keeps its narrow type, which it was stored in: only the rows that are looked up are
    widened. (`peft.prepare_model_for_kbit_training` widens the table: 1.8 GB more for Gemma 2 9B.)
    """
    table = model.get_input_embeddings()
    table.register_forward_hook(lambda module, given, rows: rows.float())
    packed = {id(module.weight) for _, module in quantised_layers(model)} | {id(table.weight)}
    for parameter in model.parameters():
        parameter.requires_grad = False
        if id(parameter) not in packed and parameter.is_floating_point():
            parameter.data = parameter.data.float()


def _with_lora(model: PreTrainedModel, settings: Transformer, layers: int) -> PeftModel:
    assert settings.lora is not None
    wanted: Any = settings.lora.target_modules
    names = sorted({name.rsplit(".", 1)[-1] for name, _ in quantised_layers(model)})
    lacking = [] if wanted == "all-linear" else [name for name in wanted if name.rsplit(".", 1)[-1] not in names]
    if lacking:
        raise _matches_nothing(settings, lacking, names)
    only = {}
    if wanted == "all-linear" and settings.head == "mlp":
        wanted = names  # PEFT would give the layers inside of the head adapters of their own
    if settings.frozen_layers:
        # PEFT takes layer numbers only beside names.
        wanted = names if wanted == "all-linear" else wanted
        only = {"layers_to_transform": list(range(settings.frozen_layers, layers))}
    # A fresh config per fold: PEFT appends the head's name to modules_to_save of the object that it is given.
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        use_rslora=settings.lora.rslora,
        use_dora=settings.lora.dora,
        target_modules=wanted,
        **only,
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError:  # the last part of a dotted name is there, but not the whole
        raise _matches_nothing(settings, list(wanted), names) from None
    except TypeError:  # an adapter inside of a head that is trained whole, under a name that PEFT does not expect
        raise BadInput(
            f"lora.target_modules: {settings.lora.target_modules} reaches into the head of {settings.backbone}; "
            f"name the layers that get adapters, of {', '.join(names)}"
        ) from None
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            # Autocast computes their products in 16 bits: PEFT's cast of the inputs to fp32 would be undone there, and
            # autograd would keep it.
            module.cast_input_dtype_enabled = settings.dtype == "float32"
        if type(module) is Linear and type(module.base_layer) is torch.nn.Linear and not settings.lora.dora:
            module.forward = partial(_add_in_product, module)
    return adapted


def _add_in_product(layer: Any, rows: torch.Tensor) -> torch.Tensor:
    """A linear layer and its adapter: PEFT's own forward, with the sum made by the adapter's second product.

    PEFT scales and adds in steps of their own, which read and write the layer's whole output.
    """
    if layer.merged:
        merged: torch.Tensor = layer.base_layer(rows)
        return merged
    (name,) = layer.active_adapters
    flat = rows.flatten(0, -2)
    out: torch.Tensor = layer.base_layer(flat)
    narrow = layer.lora_A[name](layer.lora_dropout[name](flat)) * layer.scaling[name]
    out.addmm_(narrow.to(out.dtype), layer.lora_B[name].weight.to(out.dtype).t())
    return out.unflatten(0, rows.shape[:-1])


def _matches_nothing(settings: Transformer, lacking: list[str], names: list[str]) -> BadInput:
    return BadInput(
        f"lora.target_modules: {', '.join(lacking)} matches nothing in {settings.backbone}; its linear layers are "
        f"{', '.join(names)}; or use all-linear"
    )
