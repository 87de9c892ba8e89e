"""Typed params of a transformer base model. Imports nothing heavy: `make` reads this at every call."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from battles.settings import Section
from models.transformer.settings_parts import ExtraFile, Growing, Lora, Positive, Teacher, Template

NonNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Transformer(Growing):
    """A sequence-classification base model on any local checkpoint or hub name."""

    kind: Literal["transformer"] = Field("transformer", description="kind of the base")
    backbone: str = Field(
        min_length=1, description="local folder or hub name (owner/name); {run} stands for the run's name"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a hub repository")
    template: Template = Field(Template(), description="text around prompt and responses")
    max_length: Annotated[int, Field(ge=16, le=1_000_000)] = Field(
        1024, description="tokens of a whole battle, template included; longer texts are cut"
    )
    predict_max_length: Annotated[int, Field(ge=16, le=1_000_000)] | None = Field(
        None, description="max_length of battles that are predicted, scored and test ones; none: as in training"
    )
    truncation: Literal["middle", "left", "right", "proportional"] = Field(
        "middle",
        description="what of too long a text is cut off: its middle, its beginning (left) or its end (right); "
        "proportional: the middle, of prompt and responses the same share, whatever prompt_share says",
    )
    prompt_share: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = Field(
        0.2, description="share of max_length that is the prompt's; the responses share the rest equally"
    )
    quantization: Literal["auto", "none", "int8", "nf4"] = Field(
        "none", description="storage of frozen weights; auto: nf4 only where 16 bits do not fit the GPU's memory"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="type to compute in; auto: bfloat16 where the device has it, else float16, float32 on a CPU",
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = Field(
        "auto", description="attention implementation; auto: the fastest that architecture and device can train with"
    )
    softcapping: Literal["keep", "none"] = Field(
        "keep",
        description="the cap on Gemma 2's attention logits; none: without it, to have sdpa where flex cannot be, "
        "but not as the backbone was trained",
    )
    kernels: Literal["auto", "fused", "stock"] = Field(
        "auto",
        description="norms, gates and rotary embeddings of decoders: one kernel each (fused), or those of transformers "
        "(stock); auto: fused on GPUs whose machine has a C compiler",
    )
    lora: Lora | None = Field(None, description="low-rank adapters; none: all weights are trained")
    frozen_layers: Annotated[int, Field(ge=0, le=10_000)] = Field(
        0, description="lowest layers that are not trained (and, without lora, the embeddings below them)"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, one more forward pass"
    )
    checkpoint_every: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="with gradient_checkpointing: every so many-th layer; make plan says which number still fits"
    )
    epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(2, description="passes over the training battles")
    learning_rate: Rate = Field(2e-4, description="peak rate of AdamW, after warm-up")
    head_learning_rate: Rate | None = Field(None, description="peak rate of the new head; none: learning_rate")
    weight_decay: NonNegative = Field(0.01, description="decoupled weight decay of AdamW")
    warmup: Share = Field(0.1, description="share of the steps in which the rate rises; then half a cosine to 0")
    max_grad_norm: Positive = Field(1.0, description="gradients are clipped to this norm")
    objective: Literal["cross_entropy", "mse"] = Field(
        "cross_entropy", description="mse: one output and squared error, as in the founding paper (engine/scalar_head)"
    )
    head: Literal["linear", "mlp"] = Field(
        "linear",
        description="of decoders: one layer, or a hidden one as wide as the backbone, GELU and dropout before it (mlp)",
    )
    head_dropout: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        0.1, description="share of the hidden layer of head: mlp that training drops"
    )
    names_weight: Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)] = Field(
        0.0,
        description="weight of the loss of two further heads that guess the names of the two models while training "
        "(LMSYS 16th place); 0: there are none; a trained model keeps nothing of them",
    )
    teacher: Teacher | None = Field(None, description="other bases, or rows of a file, to learn from beside the votes")
    extra_train: str | list[ExtraFile] | None = Field(
        None,
        description="file of further battles to learn from, in any format, never scored, or several: [{path: …, "
        "weight: …}]; winner columns may hold probabilities, which must come from models that saw none of the run's "
        "votes; battles whose prompt one of the run's battles has are left out",
    )
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = Field(
        "adamw", description="8-bit moments (Dettmers et al. 2021, arXiv:2110.02861); paged: they may leave the GPU"
    )
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(16, description="battles of an optimizer step")
    tokens_per_batch: Annotated[int, Field(ge=64, le=1_000_000_000)] = Field(
        16384, description="most tokens of a micro-batch, padding included; halves where memory runs out"
    )
    batching: Literal["auto", "padded", "packed"] = Field(
        "auto", description="padded to the longest, or packed end to end; auto: packed with flex or flash attention"
    )
    checkpoint_minutes: NonNegative = Field(
        10.0, description="minutes between checkpoints, 0: after every step; one is written after every epoch too"
    )
    swap_training: Literal["both", "paired", "alternate", "none"] = Field(
        "alternate",
        description="response orders of an epoch: both, both in the same step (paired: batch_size / 2 battles a step), "
        "a seeded one that alternates, or as they are",
    )
    init_from: str | None = Field(
        None,
        description="folder `model` of a fold that another base has finished, whose adapters and head this one starts "
        "from; {fold} stands for the fold's number, so that each starts from one that did not see its scored battles",
    )
    head_from: Annotated[list[str], Field(min_length=3, max_length=3)] | None = Field(
        None, description="answers for A, B, tie: the head starts from the language model's rows of their first tokens"
    )
    tta: Literal["both", "none", "budget"] = Field(
        "both", description="swap TTA: average both response orders; budget: only the closest battles, for tta_seconds"
    )
    tta_seconds: NonNegative | None = Field(
        None, description="seconds of a model's second order; scored and test battles share them by number"
    )
    test_from: Literal["mean", "best", "refit", "adapters"] = Field(
        "mean",
        description="who predicts the test battles: the mean of the folds' models, the best on its own fold, one more "
        "model trained on all battles, or one model with the mean of the folds' adapters, where that comes to the same",
    )
    eval_battles: Annotated[int, Field(ge=0, le=100_000_000)] = Field(
        512, description="scored battles whose log loss stands in the curve after every epoch; nothing is chosen by it"
    )
    seed: Seed = Field(11, description="seed of head, order of battles and dropout; fold k adds k")

    LATER = frozenset({"softcapping", "head", "head_dropout", "names_weight", "kernels"})

    @property
    def extra_files(self) -> list[ExtraFile]:
        """The files of further battles."""
        if isinstance(self.extra_train, str):
            return [ExtraFile(path=self.extra_train)]
        return self.extra_train or []

    @property
    def orders(self) -> int:
        """How often an epoch shows a battle."""
        return 2 if self.swap_training in ("both", "paired") else 1

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
    def _pairs_fill_a_step(self) -> Self:
        if self.swap_training == "paired" and self.batch_size % 2:
            raise ValueError(f"swap_training: paired shows battles in pairs, and batch_size {self.batch_size} is odd")
        return self

    @model_validator(mode="after")
    def _starts(self) -> Self:
        if self.init_from is not None and self.lora is None:
            raise ValueError(
                "init_from: adapters need lora; to go on with a full fine-tune, set backbone to its folder"
            )
        if self.head_from is not None and self.head == "mlp":
            raise ValueError("head_from: rows of one layer cannot start the two of head: mlp; drop one of the two")
        if self.head_from is not None and self.objective == "mse":
            raise ValueError("head_from: objective mse has one output, not three answers; drop one of the two")
        return self

    @model_validator(mode="after")
    def _seconds_with_a_budget(self) -> Self:
        if self.tta == "budget" and self.tta_seconds is None:
            raise ValueError("tta: budget needs tta_seconds, the seconds that a fold may spend on the second order")
        if self.tta != "budget" and self.tta_seconds is not None:
            raise ValueError(f"tta_seconds: {self.tta_seconds} is of no use with tta: {self.tta}; set tta: budget")
        return self

    @model_validator(mode="after")
    def _adapters_can_be_averaged(self) -> Self:
        if self.test_from == "adapters":
            if self.lora is None or self.lora.dora:
                raise ValueError("test_from: adapters needs lora, without dora: its lengths of columns have no mean")
            if self.objective == "mse":
                raise ValueError("test_from: adapters, but no battle is left to calibrate objective mse on; use mean")
        return self

    @model_validator(mode="after")
    def _one_output_has_no_teacher(self) -> Self:
        if self.objective == "mse" and self.teacher is not None:
            raise ValueError(
                "objective mse: one output cannot learn a teacher's three probabilities; drop one of the two"
            )
        return self


class TinyBackbone(Section):
    """Sizes of one tiny backbone of a real architecture, pretrained on the sample's corpus or the run's own text."""

    architecture: Literal["roberta", "llama", "gemma2"] = Field(description="which architecture it is of")
    hidden: Annotated[int, Field(ge=16, le=65_536)] = Field(64, description="width of the residual stream")
    layers: Annotated[int, Field(ge=1, le=1_000)] = Field(2, description="number of layers")
    heads: Annotated[int, Field(ge=1, le=1_000)] = Field(4, description="attention heads")
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(150, description="optimizer steps of pretraining")
    learning_rate: Rate = Field(6e-3, description="peak rate of pretraining")


class Tiny(Section):
    """Tiny backbones that the run makes for itself, so that it needs no download."""

    vocabulary: Annotated[int, Field(ge=300, le=1_000_000)] = Field(2000, description="tokens of the tokenizer")
    max_length: Annotated[int, Field(ge=16, le=1_000_000)] = Field(512, description="positions of the backbones")
    template: Template = Field(
        Template(), description="layout of the text they are pretrained on, best that of the bases which take them"
    )
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        32, description="battles or documents of a pretraining step"
    )
    seed: Seed = Field(5, description="seed of weights, order and masks")
    backbones: dict[str, TinyBackbone] = Field(default_factory=dict, description="name and sizes of each")
