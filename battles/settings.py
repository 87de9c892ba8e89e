"""Typed params of this package; every section of params.yaml derives from `Section`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_SEED = 2**32 - 1


class Section(BaseModel):
    """A frozen section of params.yaml; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Prepare(Section):
    """How the training battles are split into prompt-grouped, class-stratified folds."""

    folds: int = Field(
        default=5,
        ge=2,
        le=50,
        description="Number of folds, 2 to 50. Every base is trained once per fold; more folds cost more training and "
        "leave more battles to each.",
    )
    seed: int = Field(
        default=20,
        ge=0,
        le=MAX_SEED,
        description="Seed of the shuffle before the split, 0 to 2^32 - 1. Another seed gives another split.",
    )
    ties: Literal["auto"] | bool = Field(
        default="auto",
        description="Whether a battle can end in a tie. Where none can there are two classes, and the probability of a "
        "tie is 0. auto: ties are possible, unless none of 200 or more voted battles is one.",
    )


class Sample(Section):
    """The embedded sample: battles of an invented world, drawn anew from the seed."""

    train: int = Field(
        default=3000,
        ge=50,
        le=1_000_000,
        description="Number of voted battles, 50 to 1,000,000.",
    )
    test: int = Field(
        default=600,
        ge=10,
        le=1_000_000,
        description="Number of battles without votes, 10 to 1,000,000.",
    )
    seed: int = Field(
        default=7,
        ge=0,
        le=MAX_SEED,
        description="Seed of prompts, responses and votes, 0 to 2^32 - 1. The same seed gives the same bytes.",
    )
