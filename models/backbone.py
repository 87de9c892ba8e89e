"""Backbone factory: a local checkpoint or hub name becomes a model of battles ready for one fold."""

from typing import Any, TypeAlias

import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, PeftModel, TaskType, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
)

from battles.errors import BadInput
from models.settings import Transformer

Model: TypeAlias = PreTrainedModel | PeftModel

HEADS = ["score", "classifier"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NF4_BLOCK = 64
# Llama 3 has no pad token of its own; these are reserved in its vocabulary and never occur in text. Taking
# the end-of-text token instead would make the pooling stop at the wrong position.
RESERVED_PADS = ("<|finetune_right_pad_id|>", "<|reserved_special_token_0|>")


def device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_dtype(settings: Transformer, where: torch.device) -> torch.dtype:
    """The compute type: as set, or bf16 on cards that have it, fp16 on older ones, fp32 on the CPU."""
    if settings.dtype != "auto":
        return DTYPES[settings.dtype]
    if where.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(where)[0] >= 8 else torch.float16


def load_config(settings: Transformer) -> Any:
    """The backbone's configuration, and the first check that it can be had and holds `max_length`."""
    try:
        config = AutoConfig.from_pretrained(settings.backbone, revision=settings.revision)
    except (OSError, ValueError) as error:
        raise _unavailable(settings.backbone, error) from None
    # RoBERTa counts positions from pad_token_id + 1.
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    positions = getattr(config, "max_position_embeddings", settings.max_length + offset) - offset
    if settings.max_length > positions:
        raise BadInput(
            f"max_length: {settings.max_length}, but {settings.backbone} has {positions} positions; "
            f"set it to {positions} or less"
        )
    return config


def load_tokenizer(settings: Transformer) -> Any:
    """The backbone's tokenizer, with a pad token that is not the end-of-text token."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.backbone, revision=settings.revision)
    except (OSError, ValueError) as error:
        raise _unavailable(settings.backbone, error) from None
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        vocabulary = tokenizer.get_vocab()
        pad = next((token for token in RESERVED_PADS if token in vocabulary), tokenizer.unk_token)
        if pad is None:
            raise BadInput(
                f"{settings.backbone}: the tokenizer has no pad token, nor {' nor '.join(RESERVED_PADS)}, nor an "
                "unknown token; save it with a pad_token set"
            )
        tokenizer.pad_token = pad
    return tokenizer


def attention(settings: Transformer, model_type: str) -> str:
    """The attention implementation: as set, or eager for Gemma 2 (it has no sdpa), sdpa for all others."""
    if settings.attention != "auto":
        return settings.attention
    return "eager" if model_type == "gemma2" else "sdpa"


def load(settings: Transformer, seed: int, pad_token_id: int, where: torch.device) -> Model:
    """A fresh model for one fold: backbone, quantised if asked, LoRA if asked, new head, on its device.

    The head is seeded, kept out of quantisation and in fp32, as all trained weights are. Raises BadInput for a
    model that cannot be had and for target modules that match nothing.
    """
    config = load_config(settings)
    dtype = resolve_dtype(settings, where)
    options: dict[str, Any] = {}
    if settings.quantization == "int8":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=HEADS)
    elif settings.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=HEADS,
        )
    if options and where.type == "cuda":
        options["device_map"] = {"": where.index or 0}
    torch.manual_seed(seed)  # the head's weights are drawn while loading
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            settings.backbone,
            revision=settings.revision,
            num_labels=settings.outputs,
            # A full fine-tune keeps fp32 weights and computes under autocast; frozen weights can be narrow.
            dtype=torch.float32 if settings.lora is None else dtype,
            attn_implementation=attention(settings, config.model_type),
            **options,
        )
    except OSError as error:
        raise _unavailable(settings.backbone, error) from None
    if where.type == "cpu":
        _prepare_nf4_on_cpu(model, settings.backbone)
    model.config.pad_token_id = pad_token_id
    model.config.use_cache = False
    if settings.lora is not None:
        model = _with_lora(model, settings)
    elif settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model if options else model.to(where)


def _prepare_nf4_on_cpu(model: PreTrainedModel, backbone: str) -> None:
    """Keeps NF4 layers on the differentiable path on CPUs that have AVX512-BF16, and refuses what they get wrong.

    There bitsandbytes 0.50 repacks a layer's weights at its first forward in eval mode, for a kernel that has no
    gradient: training that goes on after a validation would lose the gradient through every frozen layer, with a
    warning only. And it gives wrong weights where a block of 64 crosses two rows (relative error 0.4 instead of 0.09).
    """
    for name, module in model.named_modules():
        if isinstance(module, Linear4bit):
            if module.in_features % NF4_BLOCK:
                raise BadInput(
                    f"quantization: nf4, but {name} of {backbone} has {module.in_features} inputs, no multiple of "
                    f"{NF4_BLOCK}, which bitsandbytes gets wrong on the CPU; use int8 or none"
                )
            module.support_avx512bf16_for_cpu = False


def _with_lora(model: PreTrainedModel, settings: Transformer) -> PeftModel:
    assert settings.lora is not None
    if settings.quantization != "none":
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=settings.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    elif settings.gradient_checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # A fresh config per fold: PEFT appends the head's name to modules_to_save of the object that it is given.
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules=settings.lora.target_modules,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        names = sorted({name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)})
        raise BadInput(
            f"lora.target_modules: {settings.lora.target_modules} matches nothing in {settings.backbone} "
            f"({str(error).splitlines()[0]}); its linear layers are {', '.join(names)}"
        ) from None


def _unavailable(backbone: str, error: Exception) -> BadInput:
    reason = str(error).strip().splitlines()[0]
    return BadInput(
        f"backbone: {backbone!r} cannot be loaded ({reason}); give a local checkpoint folder, or accept the "
        f"licence at huggingface.co/{backbone}, set HF_TOKEN to an access token, and unset HF_HUB_OFFLINE"
    )
