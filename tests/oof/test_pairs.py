from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from oof.pairs import read_pairs, write_pairs

FOLDS = pd.DataFrame({"id": list("abcdef"), "fold": [0, 1, 2, 0, 1, 2]})


def _values() -> np.ndarray:
    values = np.random.default_rng(0).dirichlet([1, 1, 1], (3, 6))
    for fold in range(3):
        values[fold][FOLDS["fold"] == fold] = np.nan
    return values


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x.parquet", FOLDS, _values(), {"base": "x"})
    assert np.array_equal(read_pairs(tmp_path / "x.parquet", FOLDS), _values(), equal_nan=True)
    assert len(pd.read_parquet(tmp_path / "x.parquet")) == 12


def test_another_split_no_file_and_no_probabilities_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(BadInput, match="no such file"):
        read_pairs(path, FOLDS)
    write_pairs(path, FOLDS, _values(), {})
    with pytest.raises(BadInput, match="another split"):
        read_pairs(path, FOLDS.assign(fold=[0, 1, 2, 2, 1, 0]))
    broken = _values()
    broken[0, 1] = np.nan
    with pytest.raises(BadInput, match="a row must be three finite probabilities"):
        write_pairs(path, FOLDS, broken, {})
