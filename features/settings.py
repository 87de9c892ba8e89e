"""Typed params of the handcrafted features. Imports nothing heavy: `make` reads this at every call."""

from typing import Annotated

from pydantic import Field

from battles.settings import Section

Positive = Annotated[float, Field(gt=0)]


class Features(Section):
    """What the features step fits, that is style → strength; the other columns have no settings.

    rating_ridge: prior precision of a Bradley-Terry rating (log-odds). style_ridge: penalty of the regression of
    ratings on response text. word_bits: log2 of the columns into which words are hashed.
    """

    rating_ridge: Positive = 1.0
    style_ridge: Positive = 30.0
    word_bits: Annotated[int, Field(ge=8, le=20)] = 14
