from dataclasses import replace

import numpy as np
import pytest

from models.stacking.level1_data import Level1Data
from tests.models.stacking.battles import battles


def test_rows_cut_every_part_alike() -> None:
    data = replace(battles(20), groups=np.arange(20) // 2)
    index = np.array([3, 8, 9])
    part = data.rows(index)
    assert len(part) == len(part.meta) == 3
    np.testing.assert_array_equal(part.meta.logs, data.meta.logs[:, index])
    np.testing.assert_array_equal(part.labels, data.labels[index])
    np.testing.assert_array_equal(part.folds, [3, 3, 4])
    np.testing.assert_array_equal(part.groups, [1, 4, 4])


def test_splits_hold_every_battle_out_once() -> None:
    data = battles(23)
    held_out = np.zeros(23, dtype=int)
    for held, rest, out in data.splits():
        held_out += held
        assert len(rest) + len(out) == 23
        assert not set(rest.folds) & set(out.folds)
        np.testing.assert_array_equal(out.labels, data.labels[held])
    assert (held_out == 1).all()
    assert [len(out) for _, _, out in data.splits(np.array([4]))] == [4]


def test_parts_of_different_lengths_are_refused() -> None:
    data = battles(20)
    with pytest.raises(ValueError, match=r"have \[19, 20\] rows"):
        Level1Data(data.meta, data.labels[1:], data.folds)
