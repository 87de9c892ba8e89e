"""Typed params of this package; every section of params.yaml derives from `Section`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A frozen section of params.yaml; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Prepare(Section):
    """How battles are split: `folds` prompt-grouped, class-stratified folds, shuffled by `seed`."""

    folds: Annotated[int, Field(ge=2, le=50)] = 5
    seed: int = 20


class Sample(Section):
    """Size and seed of the embedded sample."""

    train: Annotated[int, Field(ge=50)] = 3000
    test: Annotated[int, Field(ge=10)] = 600
    seed: int = 7
