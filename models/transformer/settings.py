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


class Teacher(Section):
    """Learning from another base's rows: loss = (1 - weight) · cross-entropy(vote) + weight · KL(teacher ‖ student).

    `base` is a base of the same run; `temperature` softens both sides of the KL term (Hinton et al. 2015,
    arXiv:1503.02531). A training battle's teacher row is out-of-fold: made by a model that did not see its vote.
    But that model did see the votes of the fold on which the student is scored, and so they reach the student: a leak
    of second order, which flatters the student's score (`benchmarks/distillation.py` shows by how much). `clean`
    takes rows of teachers that saw neither fold; it costs K (K - 1) / 2 more trainings of the teacher for K folds.
    """

    base: str
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Positive = 1.0
    clean: bool = False


class Transformer(Section):
    """A sequence-classification base model: any local checkpoint or hub name.

    `max_length` counts tokens of a whole battle, template included; `prompt_share` of it is the prompt's, the rest
    is the responses' in equal parts. `swap_training` says in which order a training battle is shown: `both` (in
    each epoch twice), `alternate` (a seeded order, exchanged from epoch to epoch) or `none`. `tta: both` predicts
    both response orders and averages the probabilities; `tta: budget` does so for the closest battles, as many as
    `tta_seconds` allow: what a fold may spend on the second order, held-out and test battles sharing it by number.
    `batching`: `padded` batches of like lengths, `packed` ones laid end to end, or `auto`: packed where `attention` is
    flex or flash. A batch has at most `tokens_per_batch` tokens, filling included; it halves where memory runs out.
    `watch` held-out battles are scored for the curve after every epoch; nothing is chosen by them.
    `quantization: auto` stores frozen weights in 4 bits only where whole ones would not fit in the card's memory.
    `frozen_layers`: so many layers from the lowest stay as they are loaded (in a full fine-tune the embeddings below
    them too; with `lora` they get no adapters).

    A killed training goes on from its last checkpoint: one is written every `checkpoint_minutes` (0: after every
    step) and after every epoch. The 8-bit optimizers keep their state in 8 bits (Dettmers et al. 2021,
    arXiv:2110.02861), `paged` where it may also leave the card's memory.

    `objective: mse` is the founding paper's single output (`engine.scalar_head`). `extra_train` is a file of
    further battles to learn from, in the columns of a training file, whose three winner columns may hold
    probabilities; they are never scored, and those whose prompt occurs among the battles that a fold scores are left
    out there. Probabilities in it must come from models that saw none of the run's votes. The test battles' prompts
    may occur in it. `test_from` says whose predictions of the test battles count: the `mean` of the folds' models, the
    `best` of them (the paper's choice: the least log loss on its own fold, so that figure is flattered by the
    choice, the test rows are not), or one more model, a `refit` on all training battles.
    """

    kind: Literal["transformer"] = "transformer"
    backbone: str
    revision: str | None = None
    template: Template = Template()
    max_length: Annotated[int, Field(ge=16)] = 1024
    prompt_share: Share = 0.2
    quantization: Literal["auto", "none", "int8", "nf4"] = "none"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = "auto"
    lora: Lora | None = None
    frozen_layers: Annotated[int, Field(ge=0)] = 0
    gradient_checkpointing: bool = False
    epochs: Annotated[int, Field(ge=1)] = 2
    learning_rate: Positive = 2e-4
    head_learning_rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_grad_norm: Positive = 1.0
    objective: Literal["cross_entropy", "mse"] = "cross_entropy"
    teacher: Teacher | None = None
    extra_train: str | None = None
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    batch_size: Annotated[int, Field(ge=1)] = 16
    tokens_per_batch: Annotated[int, Field(ge=64)] = 16384
    batching: Literal["auto", "padded", "packed"] = "auto"
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 10.0
    swap_training: Literal["both", "alternate", "none"] = "alternate"
    tta: Literal["both", "none", "budget"] = "both"
    tta_seconds: Annotated[float, Field(ge=0)] | None = None
    test_from: Literal["mean", "best", "refit"] = "mean"
    watch: Annotated[int, Field(ge=0)] = 512
    seed: int = 11

    @property
    def outputs(self) -> int:
        """Neurons of the head."""
        return 1 if self.objective == "mse" else 3

    @model_validator(mode="after")
    def _quantised_needs_lora(self) -> Self:
        if self.quantization in ("int8", "nf4") and self.lora is None:
            raise ValueError(f"quantization {self.quantization}: quantised weights cannot be trained; set lora")
        return self

    @model_validator(mode="after")
    def _seconds_with_a_budget(self) -> Self:
        if self.tta == "budget" and self.tta_seconds is None:
            raise ValueError("tta: budget needs tta_seconds, the seconds that a fold may spend on the second order")
        if self.tta != "budget" and self.tta_seconds is not None:
            raise ValueError(f"tta_seconds: {self.tta_seconds} is of no use with tta: {self.tta}; set tta: budget")
        return self

    @model_validator(mode="after")
    def _one_output_has_no_teacher(self) -> Self:
        if self.objective == "mse" and self.teacher is not None:
            raise ValueError(
                "objective mse: one output cannot learn a teacher's three probabilities; drop one of the two"
            )
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
