"""Typed params of the stacker. Imports nothing heavy: `make` reads this at every call."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from battles.errors import BadInput
from battles.settings import Section

# The stack's own names, in tables, files and charts: of the procedure that chooses, and of what always competes.
STACK = "stack"
AVERAGE, MIX = "average", "mix"
CANDIDATES = (
    "prior",
    "best_base",
    "equal_blend",
    "blend",
    "regression",
    "features",
    "booster",
    "handcrafted",
    "forest",
    "kernel",
    AVERAGE,
    MIX,
)
MAX_WORKERS = 256
# Battles below which a stack is fitted on so little that it must prove itself: the prior ships unless a candidate leads
# it beyond noise, and `make stack` says so.
MINIMUM_BATTLES = 200

LearningRate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Stack(Section):
    """How the stacker is tuned, and which models may compete."""

    trials: int = Field(
        default=20,
        ge=1,
        le=100_000,
        description="Optuna trials of each booster, per outer fold and once more for the model that ships; "
        "the time to stack is proportional to it.",
    )
    tuning_rows: int = Field(
        default=10_000,
        ge=1,
        le=100_000_000,
        description="Held-out battles on which trials are compared: of the inner folds, only the first that together "
        "hold so many are boosted in a trial.",
    )
    rounds: int = Field(
        default=400,
        ge=1,
        le=100_000,
        description="Most boosting rounds (three trees each) of a trial; the best number is read off the inner folds.",
    )
    patience: int = Field(
        default=40,
        ge=1,
        le=100_000,
        description="Rounds without a lower inner log loss after which a trial ends.",
    )
    learning_rate: tuple[LearningRate, LearningRate] = Field(
        default=(0.02, 0.1),
        description="Lowest and highest learning rate of a trial, 0 to 1; a lower one needs more rounds.",
    )
    bag: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="Boosters of the chosen trial, each with a seed of its own, which are averaged (bagging; Breiman "
        "1996).",
    )
    trees: int = Field(
        default=300,
        ge=1,
        le=100_000,
        description="Trees of the forest; more of them are smoother, and the time to grow them is proportional to it.",
    )
    max_bin: int = Field(
        default=63,
        ge=3,
        le=255,
        description="Histogram bins of a column (LightGBM's max_bin); fewer are faster and regularise.",
    )
    symmetric: Literal["auto"] | bool = Field(
        default="auto",
        description="Whether exchanging A and B must exchange the prediction exactly: true, false, or auto, "
        "which lets both compete on the inner folds.",
    )
    clean: bool = Field(
        default=True,
        description="Whether a stacker that is scored on a fold learns from rows of TF-IDF bases and of style → "
        "strength that saw neither that fold nor their own: K (K - 1) / 2 more fits of each for K folds, and a "
        "figure without the leak of second order. Language models are too dear for it.",
    )
    seed: int = Field(
        default=11,
        ge=0,
        le=2**32 - 1,
        description="Seed of the trials that are drawn and of the boosters.",
    )
    workers: int = Field(
        default=2,
        ge=1,
        le=MAX_WORKERS,
        description="Processes side by side, each on another outer fold; results do not depend on it, memory does.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="LightGBM's threads in each process.",
    )

    @property
    def symmetries(self) -> tuple[bool, ...]:
        """The values of `symmetric` that compete, the simplest first."""
        return (True, False) if self.symmetric == "auto" else (self.symmetric,)

    @model_validator(mode="after")
    def _ordered(self) -> "Stack":
        if self.learning_rate[0] > self.learning_rate[1]:
            raise ValueError(f"learning_rate: {self.learning_rate} is not ordered; give [low, high]")
        return self


def with_workers(settings: Stack, text: str) -> Stack:
    """The settings with `workers` replaced by the variable WORKERS, unless it is empty; raises BadInput for no number.

    WORKERS is a variable and not a param, as the number of processes changes no result.
    """
    if not text:
        return settings
    if not (
        text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_WORKERS)) and 1 <= int(text) <= MAX_WORKERS
    ):
        raise BadInput(f"WORKERS: {text!r}; give a number of processes, 1 to {MAX_WORKERS}")
    return settings.model_copy(update={"workers": int(text)})
