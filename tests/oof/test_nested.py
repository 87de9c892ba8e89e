from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from battles.files import read_metadata, read_table, write_table
from battles.folds import make_folds
from benchmarks.distillation import ARMS, repetition
from models.tfidf.base_model import open_base
from models.tfidf.settings import Tfidf
from oof.crossfit import crossfit
from oof.model_store import FoldResult, ModelStore
from oof.nested import cross_pairs, read_pairs, write_pairs
from oof.table import MEAN
from tests.models.transformer.checkpoints import battles

FOLDS = pd.DataFrame({"id": list("abcdefgh"), "fold": [0, 1, 2, 3] * 2})


class Fit:
    """A teacher whose rows tell its number; remembers what each model saw."""

    def __init__(self) -> None:
        self.seen: dict[int, set[int]] = {}

    def __call__(self, number: int, train: np.ndarray, valid: np.ndarray, folder: Path) -> FoldResult:
        assert set(train) | set(valid) == set(range(8))
        self.seen[number] = set(FOLDS["fold"][train])
        return FoldResult({MEAN: np.full((len(valid), 3), float(number))}, None, 1.0, 1.0)


def test_every_row_is_of_a_model_that_saw_neither_fold(tmp_path: Path) -> None:
    fit = Fit()
    values = cross_pairs(FOLDS, ModelStore(tmp_path, {}), fit)
    assert len(fit.seen) == 4 * 3 / 2
    assert values.shape == (4, 8, 3)
    for without in range(4):
        for row, fold in enumerate(FOLDS["fold"]):
            if fold == without:
                assert np.isnan(values[without, row]).all()
            else:
                assert fit.seen[int(values[without, row, 0])] == set(range(4)) - {fold, without}
    again = Fit()
    assert np.array_equal(cross_pairs(FOLDS, ModelStore(tmp_path, {}), again), values, equal_nan=True)
    assert not again.seen


def test_two_folds_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"prepare.folds: 2; .* 3 or more"):
        cross_pairs(FOLDS.assign(fold=FOLDS["fold"] % 2), ModelStore(tmp_path, {}), Fit())


def test_the_votes_of_a_students_fold_reach_only_the_plain_rows(tmp_path: Path) -> None:
    """The leak of second order, and that the clean rows have none."""
    settings = Tfidf(bits=10, chars=(), min_battles=1)
    table = battles()
    folds = make_folds(table, 3, 0)
    changed, fold = table.copy(), (folds["fold"] == 1).to_numpy()
    winners = ["winner_model_a", "winner_model_b", "winner_tie"]
    changed.loc[fold, winners] = np.roll(table.loc[fold, winners].to_numpy(), 1, axis=1)
    plain, clean = [], []
    for name, one in (("before", table), ("after", changed)):
        fit, _ = open_base(settings, one, None)
        store = ModelStore(tmp_path / name, {})
        plain.append(crossfit(folds, None, store, fit).valid[MEAN])
        clean.append(cross_pairs(folds, store, fit))
    assert np.array_equal(clean[0][1], clean[1][1], equal_nan=True)
    assert not np.array_equal(plain[0][~fold], plain[1][~fold])
    assert not np.array_equal(clean[0][0], clean[1][0], equal_nan=True)


def test_on_random_votes_only_plain_rows_seem_to_teach() -> None:
    """Nothing can be learnt of random votes: a loss below that of fresh battles is a leak."""
    losses = np.mean([repetition(seed, battles=600, columns=40, weight=0.7) for seed in range(3)], axis=0)
    flattery = dict(zip(ARMS, losses[:, 1] - losses[:, 0], strict=True))
    assert flattery["plain rows"] > 0.05
    assert abs(flattery["clean rows"]) < 0.025
    assert abs(flattery["no teacher"]) < 0.025


TRIPLES = pd.DataFrame({"id": list("abcdef"), "fold": [0, 1, 2, 0, 1, 2]})


def _values() -> np.ndarray:
    values = np.random.default_rng(0).dirichlet([1, 1, 1], (3, 6))
    for fold in range(3):
        values[fold][TRIPLES["fold"] == fold] = np.nan
    return values


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x.parquet", TRIPLES, _values(), {"base": "x"})
    assert np.array_equal(read_pairs(tmp_path / "x.parquet", TRIPLES), _values(), equal_nan=True)
    assert len(pd.read_parquet(tmp_path / "x.parquet")) == 12


def test_another_split_no_file_and_no_probabilities_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(BadInput, match="no such file"):
        read_pairs(path, TRIPLES)
    write_pairs(path, TRIPLES, _values(), {})
    with pytest.raises(BadInput, match="another split"):
        read_pairs(path, TRIPLES.assign(fold=[0, 1, 2, 2, 1, 0]))
    broken = _values()
    broken[0, 1] = np.nan
    with pytest.raises(BadInput, match="a row must be three finite probabilities"):
        write_pairs(path, TRIPLES, broken, {})


def test_a_table_of_other_battles_or_another_order_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_pairs(path, TRIPLES, _values(), {})
    table, metadata = read_table(path), read_metadata(path)
    for changed, message in (
        (table.iloc[::-1], "its ids are in another order than the run's"),
        (table[table["id"] != "c"], "id c is missing"),
        (table.assign(id=table["id"].replace("c", "z")), "id z is not a battle of this run"),
    ):
        write_table(path, changed.reset_index(drop=True), metadata)
        with pytest.raises(BadInput, match=f"{message}.*run `make oof` again"):
            read_pairs(path, TRIPLES)
