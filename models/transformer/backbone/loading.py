"""Backbone factory: a local checkpoint or hub name becomes a model of battles ready for one fold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import set_peft_model_state_dict
from peft.utils import load_peft_weights
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification

from battles.errors import BadInput
from models.transformer.backbone import heads
from models.transformer.backbone.adapter_mean import with_saved_rank
from models.transformer.backbone.adapters import adapt, merge
from models.transformer.backbone.attention import loadable, repeat_keys, repeats_keys
from models.transformer.backbone.device import device_spec
from models.transformer.backbone.precision import DTYPES, loading_options, recorded_precision
from models.transformer.backbone.pretrained import say_download, unavailable
from models.transformer.backbone.starts import start_head, take_adapter
from models.transformer.settings import Transformer


@dataclass(frozen=True)
class LoadedBase:
    """A model of battles, and what whoever calls it needs to know.

    `settings` are resolved; `dtype` is the type that it computes in, by autocast; `pad` is its tokenizer's pad token.
    """

    model: torch.nn.Module
    settings: Transformer
    dtype: torch.dtype
    pad: int


def load(settings: Transformer, seed: int, pad: int, device: torch.device, on_device: bool = True) -> LoadedBase:
    """A fresh model for one fold: backbone, quantised if asked, LoRA if asked, new head; on its device, or still on the
    CPU without `on_device`.

    `settings` must be resolved (`planning.preflight`). The head is seeded, kept out of quantisation and in fp32, as all
    trained weights are. Raises BadInput for a model that cannot be had.
    """
    dtype = DTYPES[settings.dtype]
    options = loading_options(settings, dtype)
    if device.type == "cuda" and (on_device or options):
        # Straight from the file to the card: else each process would hold a copy in the host's memory.
        options["device_map"] = {"": device.index or 0}
    if settings.softcapping == "none":
        options["attn_logit_softcapping"] = None
    say_download(settings)
    torch.manual_seed(seed)  # the head's weights are drawn while loading
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            settings.backbone,
            revision=settings.revision,
            num_labels=settings.outputs,
            # A full fine-tune keeps fp32 weights and computes under autocast; frozen weights can be narrow.
            dtype=torch.float32 if settings.lora is None else dtype,
            attn_implementation=loadable(settings),
            use_safetensors=True,  # other formats are pickles, which run code
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # of a head; anything else is refused below
            output_loading_info=True,
            **options,
        )
    except (OSError, SafetensorError) as error:
        raise unavailable(settings, error) from None
    heads.draw_anew(found["mismatched_keys"], settings)
    if loadable(settings) != settings.attention:
        model.config._attn_implementation = settings.attention
    heads.install(model, settings)
    if settings.head == "mlp" and (state := heads.read_mlp(Path(settings.backbone))):
        _take_head(model, state, settings)
    if device.type == "cpu" and settings.quantization == "nf4":
        _keep_nf4_differentiable(model)
    model.config.pad_token_id = pad
    model.config.use_cache = False
    if repeats_keys(settings.attention, device_spec(device)):
        repeat_keys(model)
    if settings.head_from is not None:
        start_head(model, settings)
    adapted = adapt(model, settings)
    if settings.init_from is not None:
        take_adapter(adapted, settings)
    return LoadedBase(adapted, settings, dtype, pad)


def restore(settings: Transformer, folder: Path, pad: int, device: torch.device) -> LoadedBase:
    """The model that was saved in `folder`, ready to predict; its predictions are those of the model that was saved.

    With LoRA the backbone is loaded from where it came, and then its adapters and head from `folder`; a full fine-tune
    lies in `folder` as a whole. Adapters learn to correct the weights that they were trained beside, so the backbone is
    quantised as it was then, whatever `quantization: auto` comes to here. Raises BadInput for a model that cannot be
    had.
    """
    settings = settings.model_copy(update={k: v for k, v in recorded_precision(folder).items() if k == "quantization"})
    if settings.lora is None:
        if settings.head == "mlp" and not heads.read_mlp(folder):
            raise BadInput(
                f"{folder}: the saved model has no head of two layers; delete its fold and run `make oof` again"
            )
        return load(settings.model_copy(update={"backbone": str(folder), "revision": None}), 0, pad, device)
    settings = with_saved_rank(settings, folder)
    fresh = settings.model_copy(update={"init_from": None, "head_from": None})
    base = load(fresh, 0, pad, device)
    try:
        weights = load_peft_weights(str(folder), device=str(device))
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(
            f"{folder}: the saved model cannot be read ({str(error).splitlines()[0]}); delete the folder of its fold "
            "and run `make oof` again"
        ) from None
    set_peft_model_state_dict(base.model, weights)
    merge(base.model, settings)
    return base


def _take_head(model: Any, state: dict[str, torch.Tensor], settings: Transformer) -> None:
    """Puts the head that a full fine-tune was saved with into a loaded model, in place."""
    try:
        model.score.load_state_dict(state)
    except RuntimeError:
        raise BadInput(
            f"backbone: {settings.backbone} has a head of two layers for other outputs than {settings.outputs}; set "
            "head to linear to draw one anew"
        ) from None


def _keep_nf4_differentiable(model: torch.nn.Module) -> None:
    """Keeps NF4 layers on the differentiable path on CPUs that have AVX512-BF16.

    There bitsandbytes 0.50 repacks a layer's weights at its first forward in eval mode, for a kernel that has no
    gradient: training that goes on after a validation would lose the gradient through every frozen layer, with a
    warning only.
    """
    # Not at the top: a machine that only predicts with unquantised models need not have the library.
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
