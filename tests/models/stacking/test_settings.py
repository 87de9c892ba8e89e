import math
from typing import Any

import pytest
from pydantic import ValidationError

from battles.errors import BadInput
from models.stacking.settings import Stack, with_workers


def test_every_field_is_documented() -> None:
    for name, field in Stack.model_fields.items():
        assert len(field.description or "") > 20, name


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("trials", (0, 100_001, math.inf, math.nan)),
        ("tuning_rows", (0, -1, 10**20)),
        ("rounds", (0, 100_001)),
        ("patience", (0, 100_001)),
        ("learning_rate", ((0.1, 0.01), (0.0, 0.1), (0.1, 1.1), (0.1, math.inf), (math.nan, math.nan), (0.1,))),
        ("bag", (0, 1001)),
        ("max_bin", (2, 256)),
        ("symmetric", ("yes, please", 7, None)),
        ("seed", (-1, 2**32, 10**20)),
        ("workers", (0, 257)),
        ("threads", (0, 1025)),
    ],
)
def test_values_out_of_bounds_are_refused(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(ValidationError, match=name):
            Stack.model_validate({name: value})


def test_symmetric_is_true_false_or_auto() -> None:
    assert [Stack.model_validate({"symmetric": value}).symmetric for value in (True, False, "auto")] == [
        True,
        False,
        "auto",
    ]
    assert Stack().symmetric == "auto"


def test_the_variable_workers_goes_before_the_setting() -> None:
    assert with_workers(Stack(workers=3), "").workers == 3
    assert with_workers(Stack(workers=3), "8").workers == 8
    for text in ("two", "0", "-1", "257", "100000", "9" * 5000, "1.5", " ", "²"):
        with pytest.raises(BadInput, match=r"WORKERS: .*; give a number of processes, 1 to 256"):
            with_workers(Stack(), text)
