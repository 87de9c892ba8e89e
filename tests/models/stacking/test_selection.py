"""Who leads beyond noise."""

import numpy as np
import pytest

from models.stacking.selection import leads


def test_a_lead_counts_in_paired_standard_errors() -> None:
    rng = np.random.default_rng(0)
    behind = rng.exponential(size=400)
    gain = rng.normal(scale=0.2, size=400)
    gain += 0.015 - gain.mean()  # its standard error is 0.01
    assert leads(behind - gain, behind, None, 1)
    assert not leads(behind - gain, behind, None, 2)
    assert not leads(behind, behind - gain, None, 0)


@pytest.mark.parametrize("groups", [None, np.arange(400)])
def test_equal_models_lead_by_nothing(groups: np.ndarray | None) -> None:
    losses = np.linspace(0, 2, 400)
    assert not leads(losses, losses, groups, 0)


def test_rows_of_one_group_count_as_one() -> None:
    gain = np.repeat([0.5, -0.3], 200) + np.tile([0.01, -0.01], 200)
    losses = np.ones(400)
    assert leads(losses - gain, losses, None, 2)
    assert not leads(losses - gain, losses, np.repeat([0, 1], 200), 2)
