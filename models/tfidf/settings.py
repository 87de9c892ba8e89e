"""Typed params of the TF-IDF base model. Imports nothing heavy: `make` reads this at every call."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from battles.settings import Section


class Tfidf(Section):
    """The `tfidf` base kind: ridge regression on TF-IDF differences of hashed n-grams (`models.tfidf.model`)."""

    # JSON has no NaN or infinity, and no number here can mean anything by them.
    model_config = ConfigDict(allow_inf_nan=False)

    kind: Literal["tfidf"] = Field(default="tfidf", description="Which kind of base model this section is of.")
    chars: tuple[Annotated[int, Field(ge=1, le=8)], ...] = Field(
        default=(2, 3, 4),
        max_length=8,
        description="Lengths of the character n-grams in UTF-8 bytes, each 1 to 8; empty: none. More are slower.",
    )
    words: tuple[Annotated[int, Field(ge=1, le=4)], ...] = Field(
        default=(1, 2),
        max_length=4,
        description="Lengths of the word n-grams in words, each 1 to 4; empty: none. Punctuation marks are words.",
    )
    bits: int = Field(
        default=18,
        ge=10,
        le=22,
        description="Log2 of the hashed columns for each of the two kinds of n-grams, 10 to 22. Fewer bits: less "
        "memory, more n-grams that share a column (Weinberger et al. 2009).",
    )
    min_battles: int = Field(
        default=3,
        ge=1,
        le=1_000_000,
        description="Training battles in which an n-gram must differ between the responses to be used, 1 or more.",
    )
    ridge: float = Field(
        default=2.0,
        ge=1e-6,
        le=1e6,
        description="Penalty on the squared weights against the summed squared error, 1e-6 to 1e6. In kernel terms "
        "the noise-to-signal ratio, so one value suits any number of battles. Higher: weights closer to 0.",
    )
    length: tuple[Annotated[float, Field(ge=0, le=1e3)], ...] = Field(
        default=(0.0, 0.01),
        min_length=1,
        max_length=8,
        description="Weight of the log length ratio in the kernel beside the n-grams, whose inner products are at most "
        "4 before IDF; 0 to 1000, 0 leaves it out. Of several, each model takes the one of least log loss on its inner "
        "folds; each more makes the fit longer by about half.",
    )
    inner: int = Field(
        default=3,
        ge=2,
        le=20,
        description="Prompt-grouped inner folds, 2 to 20, whose held-out scores the probabilities are calibrated on "
        "(as in Platt scaling). Time grows with them.",
    )
    seed: int = Field(default=17, ge=0, le=2**32 - 1, description="Seed of the inner folds, 0 to 2**32 - 1.")

    @field_validator("length", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _has_ngrams(self) -> "Tfidf":
        if not self.chars and not self.words:
            raise ValueError("chars and words are both empty; give lengths of at least one kind of n-gram")
        return self
