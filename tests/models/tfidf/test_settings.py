import pytest
from pydantic import ValidationError

from models.tfidf.settings import Tfidf


def test_every_field_is_described() -> None:
    assert [name for name, field in Tfidf.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    "values",
    [
        {"seed": -1},
        {"seed": 10**20},
        {"seed": 1.5},
        {"ridge": 0},
        {"ridge": float("nan")},
        {"ridge": float("inf")},
        {"length": float("inf")},
        {"length": -1},
        {"length": float("nan")},
        {"inner": 1},
        {"inner": 100_000},
        {"bits": 64},
        {"min_battles": 10**20},
        {"chars": (0,)},
        {"words": (2,) * 5},
        {"chars": (), "words": ()},
    ],
)
def test_a_value_that_cannot_work_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Tfidf.model_validate(values)


def test_bounds_themselves_are_taken() -> None:
    Tfidf(seed=2**32 - 1, ridge=1e-6, length=1e3, inner=20, bits=22, chars=tuple(range(1, 9)), words=(1, 2, 3, 4))
    Tfidf(seed=0, ridge=1e6, length=0, inner=2, bits=10, chars=(), words=(1,), min_battles=1)
