"""Typed params of the handcrafted features. Imports nothing heavy: `make` reads this at every call."""

from pydantic import Field

from battles.settings import Section


class Features(Section):
    """What the features step fits: ratings of models and their regression on style. Other columns have no settings."""

    rating_ridge: float = Field(
        default=1.0,
        ge=1e-6,
        le=1e6,
        allow_inf_nan=False,
        description="Precision of the normal prior on a Bradley-Terry rating (log-odds), 1e-6 to 1e6. Larger values "
        "pull the ratings of models with few battles towards 0.",
    )
    style_ridge: float = Field(
        default=30.0,
        ge=1e-6,
        le=1e9,
        allow_inf_nan=False,
        description="Ridge penalty of the regression of ratings on style and words, 1e-6 to 1e9. Larger values give "
        "smaller weights (Hoerl & Kennard 1970).",
    )
    word_bits: int = Field(
        default=14,
        ge=8,
        le=20,
        description="Log2 of the number of columns into which words are hashed, 8 to 20. More bits mean fewer "
        "collisions and more memory (Weinberger et al. 2009, arXiv:0902.2206).",
    )
