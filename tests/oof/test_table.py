from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from battles.files import read_metadata, read_table, write_table
from oof.table import MEAN, PLAIN, SWAPPED, columns, read, read_test, write, write_test


@pytest.fixture
def folds() -> pd.DataFrame:
    return pd.DataFrame({"id": ["b", "a", "d", "c"], "fold": [0, 1, 0, 1], "group": ["p", "q", "r", "s"]})


def simplex(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1, 1, 1], rows)


def test_what_is_written_is_read(tmp_path: Path, folds: pd.DataFrame) -> None:
    plain, swapped = simplex(4), simplex(4, 1)
    variants = {MEAN: (plain + swapped) / 2, PLAIN: plain, SWAPPED: swapped}
    write(tmp_path / "x.parquet", folds, variants, {"base": "x"})
    predictions = read(tmp_path / "x.parquet", folds)
    np.testing.assert_array_equal(predictions.probabilities, variants[MEAN])
    assert predictions.plain is not None
    np.testing.assert_array_equal(predictions.plain, plain)
    assert predictions.metadata["base"] == "x"
    assert predictions.covered.all()
    assert read_table(tmp_path / "x.parquet")["id"].tolist() == ["b", "a", "d", "c"]


def test_rows_read_in_one_order_only_are_told_apart(tmp_path: Path, folds: pd.DataFrame) -> None:
    plain, swapped = simplex(4), simplex(4, 1)
    swapped[[0, 3]] = np.nan
    mean = np.where(np.isnan(swapped), plain, (plain + swapped) / 2)
    path = tmp_path / "x.parquet"
    write(path, folds, {MEAN: mean, PLAIN: plain, SWAPPED: swapped}, {})
    assert read_table(path)["swapped"].tolist() == [False, True, True, False]
    predictions = read(path, folds)
    assert predictions.covered.all()
    np.testing.assert_array_equal(predictions.swapped, swapped)
    broken(path, read_table(path).assign(swapped=True))
    with pytest.raises(BadInput, match="row 1 \\(id b\\) holds \\[nan, nan, nan\\]"):
        read(tmp_path / "broken.parquet", folds)
    write_test(tmp_path / "x.test.parquet", list("abcd"), {MEAN: mean, PLAIN: plain, SWAPPED: swapped}, {})
    np.testing.assert_array_equal(read_test(tmp_path / "x.test.parquet", list("abcd")).swapped, swapped)


def test_folds_not_run_are_nan_and_only_read_as_partial(tmp_path: Path, folds: pd.DataFrame) -> None:
    values = simplex(4)
    values[folds["fold"] == 1] = np.nan
    write(tmp_path / "x.parquet", folds, {MEAN: values}, {})
    with pytest.raises(BadInput, match=r"no predictions for folds \[1\]"):
        read(tmp_path / "x.parquet", folds)
    predictions = read(tmp_path / "x.parquet", folds, partial=True)
    assert predictions.covered.tolist() == [True, False, True, False]
    assert np.isnan(predictions.probabilities[1]).all()


@pytest.mark.parametrize("bad", [[0.5, 0.5, 0.5], [1.2, -0.2, 0.0], [np.nan, 0.5, 0.5], [np.inf, 0.0, 0.0]])
def test_rows_off_the_simplex_are_never_written(tmp_path: Path, folds: pd.DataFrame, bad: list[float]) -> None:
    values = simplex(4)
    values[2] = bad
    with pytest.raises(BadInput, match="row 3 \\(id d\\)"):
        write(tmp_path / "x.parquet", folds, {MEAN: values}, {})
    assert not (tmp_path / "x.parquet").exists()


def broken(path: Path, table: pd.DataFrame) -> Path:
    """Writes a changed table with the metadata of the good one."""
    write_table(path.with_name("broken.parquet"), table, read_metadata(path))
    return path.with_name("broken.parquet")


def test_a_reader_refuses_what_is_not_the_runs_table(tmp_path: Path, folds: pd.DataFrame) -> None:
    path = tmp_path / "x.parquet"
    write(path, folds, {MEAN: simplex(4)}, {})
    table = read_table(path)
    cases = {
        "occurs more than once": table.assign(id=["b", "a", "b", "c"]),
        "is not a battle of this run": table.assign(id=["b", "a", "z", "c"]),
        "id d is missing": table[table["id"] != "d"],
        "another order": table.iloc[[1, 0, 2, 3]],
        "column fold differs": table.assign(fold=[1, 1, 0, 0]),
        "column winner_tie is missing": table.drop(columns="winner_tie"),
        "covered in part": table.assign(**{name: [*table[name][:3], np.nan] for name in columns(MEAN)}),
    }
    for message, changed in cases.items():
        with pytest.raises(BadInput, match=message):
            read(broken(path, changed), folds, partial=True)


def test_another_split_is_refused(tmp_path: Path, folds: pd.DataFrame) -> None:
    write(tmp_path / "x.parquet", folds, {MEAN: simplex(4)}, {})
    with pytest.raises(BadInput, match="fold hash"):
        read(tmp_path / "x.parquet", folds.assign(fold=[1, 0, 0, 1]))


def test_test_tables_hold_the_test_ids_in_order(tmp_path: Path) -> None:
    write_test(tmp_path / "x.test.parquet", ["3", "1"], {MEAN: simplex(2)}, {})
    assert read_test(tmp_path / "x.test.parquet", ["3", "1"]).probabilities.shape == (2, 3)
    with pytest.raises(BadInput, match="another order"):
        read_test(tmp_path / "x.test.parquet", ["1", "3"])
    with pytest.raises(BadInput, match="run `make oof-y` first"):
        read_test(tmp_path / "y.test.parquet", ["1", "3"])
