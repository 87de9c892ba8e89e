"""Typed params of the stacker. Imports nothing heavy: `make` reads this at every call."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

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
    AVERAGE,
    MIX,
)

Positive = Annotated[int, Field(ge=1)]


class Stack(Section):
    """How the stacker is tuned and what may compete.

    trials: Optuna trials per outer fold (and once more for the model that ships).
    tuning_rows: held-out rows that are enough to compare trials on; a trial is grown on so many inner folds only.
    rounds: most boosting rounds of a trial; patience: rounds without a better inner loss that end a trial.
    learning_rate: range that is searched. bag: boosters over seeds that a fitted residual averages.
    max_bin: histogram bins of a column. symmetric: whether exchanging A and B must exchange the prediction
    exactly (`true`), is ignored (`false`), or both compete on the inner folds (`auto`).
    workers: processes over outer folds; threads: LightGBM's threads in each.
    """

    trials: Annotated[int, Field(ge=1)] = 20
    tuning_rows: Positive = 10_000
    rounds: Positive = 400
    patience: Positive = 40
    learning_rate: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.02, 0.1)
    bag: Positive = 3
    max_bin: Annotated[int, Field(ge=3, le=255)] = 63
    symmetric: Literal["auto"] | bool = "auto"
    seed: int = 11
    workers: Positive = 2
    threads: Positive = 1

    @model_validator(mode="after")
    def _ordered(self) -> "Stack":
        if self.learning_rate[0] > self.learning_rate[1]:
            raise ValueError(f"learning_rate: {self.learning_rate} is not ordered; give [low, high]")
        return self
