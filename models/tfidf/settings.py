"""Typed params of the TF-IDF base model. Imports nothing heavy: `make` reads this at every call."""

from typing import Annotated, Literal

from pydantic import Field

from battles.settings import Section


class Tfidf(Section):
    """The sparse linear base: ridge on TF-IDF differences of hashed n-grams.

    chars, words: lengths of the character (byte) and word n-grams; either may be empty. bits: log2 of the columns of
    each kind. min_battles: an n-gram counts only if it tells apart the responses of so many training battles.
    ridge: penalty of the summed squared error; in kernel terms the noise-to-signal ratio, so it suits any number of
    battles. length: weight of the log length ratio beside the n-grams. inner: prompt-grouped inner folds whose
    out-of-fold scores the probabilities are calibrated on.
    """

    kind: Literal["tfidf"] = "tfidf"
    chars: tuple[Annotated[int, Field(ge=1, le=8)], ...] = (2, 3, 4)
    words: tuple[Annotated[int, Field(ge=1, le=4)], ...] = (1, 2)
    bits: Annotated[int, Field(ge=10, le=22)] = 18
    min_battles: Annotated[int, Field(ge=1)] = 3
    ridge: Annotated[float, Field(gt=0)] = 2.0
    length: Annotated[float, Field(ge=0)] = 0.01
    inner: Annotated[int, Field(ge=2)] = 3
    seed: int = 17
