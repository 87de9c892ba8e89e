"""Typed params of a transformer base model. Imports nothing heavy: `make` reads this at every call."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from battles.settings import Section

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Template(Section):
    """The text around the three parts of a battle, in the order in which the model reads them."""

    prompt: str = "User: "
    first: str = "\n\nResponse A: "
    second: str = "\n\nResponse B: "
    end: str = "\n\nWhich response is better?"


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) of rank `rank`, scaled by alpha / rank.

    With LoRA+ (Hayou et al. 2024, arXiv:2402.12354) B learns at `plus_ratio` times the learning rate of A.
    """

    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Positive = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    target_modules: list[str] | Literal["all-linear"] = "all-linear"
    plus_ratio: Annotated[float, Field(ge=1)] | None = None


class Transformer(Section):
    """A sequence-classification base model: any local checkpoint or hub name.

    `max_length` counts tokens of a whole battle, template included; `prompt_share` of it is the prompt's, the rest
    is the responses' in equal parts. `swap_training` says in which order a training battle is shown: `both` (in
    each epoch twice), `alternate` (a seeded order, exchanged from epoch to epoch) or `none`. `tta: both` predicts
    both response orders and averages the probabilities. `watch` held-out battles are scored for the curve after
    every epoch; nothing is chosen by them.

    A killed training goes on from its last checkpoint: one is written every `checkpoint_minutes` (0: after every
    step) and after every epoch. The 8-bit optimizers keep their state in 8 bits (Dettmers et al. 2021,
    arXiv:2110.02861), `paged` where it may also leave the card's memory.
    """

    kind: Literal["transformer"] = "transformer"
    backbone: str
    revision: str | None = None
    template: Template = Template()
    max_length: Annotated[int, Field(ge=16)] = 1024
    prompt_share: Share = 0.2
    quantization: Literal["none", "int8", "nf4"] = "none"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = "auto"
    lora: Lora | None = None
    gradient_checkpointing: bool = False
    epochs: Annotated[int, Field(ge=1)] = 2
    learning_rate: Positive = 2e-4
    head_learning_rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_grad_norm: Positive = 1.0
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    batch_size: Annotated[int, Field(ge=1)] = 16
    tokens_per_batch: Annotated[int, Field(ge=64)] = 16384
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 10.0
    swap_training: Literal["both", "alternate", "none"] = "alternate"
    tta: Literal["both", "none"] = "both"
    watch: Annotated[int, Field(ge=0)] = 512
    seed: int = 11

    @model_validator(mode="after")
    def _quantised_needs_lora(self) -> Self:
        if self.quantization != "none" and self.lora is None:
            raise ValueError(f"quantization {self.quantization}: quantised weights cannot be trained; set lora")
        return self


class TinyBackbone(Section):
    """Sizes of one tiny backbone of a real architecture, pretrained on the run's own training text."""

    architecture: Literal["roberta", "llama", "gemma2"]
    hidden: Annotated[int, Field(ge=16)] = 64
    layers: Annotated[int, Field(ge=1)] = 2
    heads: Annotated[int, Field(ge=1)] = 4
    steps: Annotated[int, Field(ge=1)] = 150
    learning_rate: Positive = 6e-3


class Tiny(Section):
    """Tiny backbones that the run makes for itself, so that it needs no download.

    They are pretrained on battles laid out by `template`, best that of the base models which take them.
    """

    vocabulary: Annotated[int, Field(ge=300)] = 2000
    max_length: Annotated[int, Field(ge=16)] = 512
    template: Template = Template()
    batch_size: Annotated[int, Field(ge=1)] = 32
    seed: int = 5
    backbones: dict[str, TinyBackbone] = Field(default_factory=dict)
