"""Sections inside a transformer base's section: the text around a battle, adapters, teachers, further battles."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from battles.settings import Section

Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Growing(Section):
    """A section to which settings were added after the first models were trained by it.

    Those in `LATER` are left out of what is written down while they have their default: what a finished model depends
    on, and the hashes made of it, stay what they were.
    """

    LATER: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        fields = type(self).model_fields
        unused = {name for name in self.LATER if getattr(self, name) == fields[name].get_default()}
        return {name: value for name, value in values.items() if name not in unused}


class Template(Growing):
    """The text around the three parts of a battle, in the order in which the model reads them.

    Each is tokenised alone. One that ends in a space leaves a lone space token before the text, which language models
    have hardly seen, as a space is part of the word after it: end in a line break.
    """

    prompt: str = Field("User:\n", max_length=2000, description="before the prompt")
    first: str = Field("\n\nResponse A:\n", max_length=2000, description="before the response in the first place")
    second: str = Field("\n\nResponse B:\n", max_length=2000, description="before the response in the second place")
    end: str = Field("\n\nWhich response is better?", max_length=2000, description="after the second response")
    turns: Literal["joined", "interleaved"] = Field(
        "joined",
        description="battles of several turns: all prompts as one text, then all answers of each response (joined), or "
        "turn by turn, each prompt before its two answers (interleaved: tascj's solution of the LMSYS competition)",
    )
    between: str = Field(
        "\n\n", max_length=2000, description="before the text in front of a further prompt, where turns are interleaved"
    )

    LATER = frozenset({"turns", "between"})


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=4096)] = Field(16, description="rank of the matrices A and B")
    alpha: Positive = Field(32.0, description="adapters are scaled by alpha / rank")
    dropout: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        0.05, description="share of an adapter's inputs that training drops"
    )
    rslora: bool = Field(
        False, description="scale adapters by alpha / sqrt(rank) instead (Kalajdzievski 2023, arXiv:2312.03732)"
    )
    dora: bool = Field(
        False,
        description="learn the length of a weight's columns apart from their direction (arXiv:2402.09353); slower",
    )
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear",
        description="layers that get adapters, by the last part of their name; all-linear: all but the head",
    )
    plus_ratio: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)] | None = Field(
        None, description="LoRA+ (Hayou et al. 2024, arXiv:2402.12354): B learns at so many times the rate of A"
    )


class Teacher(Growing):
    """Learning from another base's out-of-fold rows, or from rows of a file (Hinton et al. 2015, arXiv:1503.02531).

    loss = (1 - weight) · cross-entropy(vote)
         + weight · (temperature² · KL(teacher ‖ student) + cosine · (1 - cos(teacher, student)))

    The cosine is that of the two vectors of softened probabilities, as in PyTorch's CosineEmbeddingLoss of a like pair;
    the LMSYS competition's first place added one to both other terms. Several teachers are one: the mean of their
    probabilities.

    A training battle's row of another base comes from a model that did not see its vote, but that did see the votes of
    the fold on which the student is scored: a leak of second order, which flatters the student's score
    (`benchmarks/distillation.py` measures it). The rows of a file must come from models that saw none of the run's
    votes: nothing here can check that, and a teacher that saw them gives the scored votes away.
    """

    base: str | list[str] | None = Field(None, description="names of teachers, bases of the same run: one or a list")
    weight: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        0.5, description="weight of the teacher's terms; the votes have the rest"
    )
    temperature: Positive = Field(1.0, description="softens both sides of the teacher's terms; 1: as they are")
    clean: bool = Field(
        False,
        description="take rows of teachers that saw neither fold: no leak, K (K - 1) / 2 more trainings of each",
    )
    file: str | list[str] | None = Field(
        None,
        description="tables (one or a list) with id and three winner columns for each of the run's training battles, "
        "by models that saw none of the run's votes; battles whose ids the run does not have are passed over",
    )
    shares: Annotated[list[Positive], Field(min_length=1)] | None = Field(
        None, description="weights of the teachers in their mean, bases before files, of any sum; none: all alike"
    )
    cosine: Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)] = Field(
        0.0, description="weight of the cosine term beside the KL term, 0: none"
    )

    LATER = frozenset({"file", "shares", "cosine"})

    @property
    def bases(self) -> list[str]:
        """The teachers that are bases of the run."""
        return _as_list(self.base)

    @property
    def files(self) -> list[str]:
        """The teachers that are files."""
        return _as_list(self.file)

    @model_validator(mode="after")
    def _there_are_teachers(self) -> Self:
        count = len(self.bases) + len(self.files)
        if not count:
            raise ValueError("teacher: neither base nor file is given; name a base of the run, or a table of rows")
        if self.shares is not None and len(self.shares) != count:
            raise ValueError(f"teacher.shares: {len(self.shares)} weights for {count} teachers; give each its own")
        if self.clean and not self.bases:
            raise ValueError("teacher.clean: true, but the rows of a file stay what they are; set it to false")
        return self


class ExtraFile(Section):
    """A file of further battles, and how much they count."""

    path: str = Field(min_length=1, description="file of battles, in any format")
    weight: Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)] = Field(
        1.0, description="the loss of each of its battles counts so many times that of a battle of the run"
    )


def _as_list(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value
