"""Every field of this area's settings is documented and bounded."""

import math

import pytest
from pydantic import ValidationError

from battles.settings import MAX_SEED, Prepare, Sample, Section
from features.settings import Features

FIELDS = [(section, name) for section in (Prepare, Sample, Features) for name in section.model_fields]


@pytest.mark.parametrize(("section", "name"), FIELDS)
def test_a_field_says_what_it_is(section: type[Section], name: str) -> None:
    description = section.model_fields[name].description
    assert description
    assert description.endswith(".")


@pytest.mark.parametrize(("section", "name"), FIELDS)
@pytest.mark.parametrize("value", [-1, 10**20, math.inf, -math.inf, math.nan, None, "many", [1]])
def test_a_value_out_of_bounds_is_refused(section: type[Section], name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        section.model_validate({name: value})


def test_seeds_are_those_of_numpy() -> None:
    assert Prepare(seed=MAX_SEED).seed == MAX_SEED
    for section in (Prepare, Sample):
        with pytest.raises(ValidationError):
            section.model_validate({"seed": MAX_SEED + 1})
