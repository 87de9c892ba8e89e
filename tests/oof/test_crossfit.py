from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oof.crossfit import RESUME, FoldResult, crossfit
from oof.table import MEAN, PLAIN, SWAPPED

FOLDS = pd.DataFrame({"id": list("abcdef"), "fold": [0, 1, 2, 0, 1, 2]})


class Fit:
    """A base whose prediction tells fold and row; counts its calls and can die in one fold."""

    def __init__(self, dies_in: int | None = None) -> None:
        self.calls: list[int] = []
        self.dies_in = dies_in

    def __call__(self, fold: int, train: np.ndarray, valid: np.ndarray, folder: Path, with_test: bool) -> FoldResult:
        self.calls.append(fold)
        assert set(train).isdisjoint(valid)
        assert len(train) + len(valid) == len(FOLDS)
        if fold == self.dies_in:
            raise RuntimeError("killed")
        values = np.column_stack([valid / 10, np.full(len(valid), fold / 10), 1 - valid / 10 - fold / 10])
        test = np.full((2, 3), [fold / 10, 0.5, 0.5 - fold / 10])
        variants = {MEAN: values, PLAIN: values, SWAPPED: values[:, ::-1]}
        return FoldResult(variants, {MEAN: test} if with_test else None, train_seconds=1.0, inference_seconds=0.5)


def _silent(text: str) -> None:
    assert text.endswith("already there")


def test_every_row_is_predicted_by_the_model_of_its_fold(tmp_path: Path) -> None:
    result = crossfit(FOLDS, None, {"params": 1}, tmp_path, Fit(), _silent)
    assert result.valid[MEAN][:, 0].tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert result.valid[MEAN][:, 1].tolist() == [0.0, 0.1, 0.2, 0.0, 0.1, 0.2]
    assert np.array_equal(result.valid[SWAPPED], result.valid[MEAN][:, ::-1])
    assert result.test is not None
    assert np.allclose(result.test[MEAN], [[0.1, 0.5, 0.4]] * 2)
    assert (result.train_seconds, result.inference_seconds, result.folds_run) == (3.0, 1.5, [0, 1, 2])


def test_a_test_battle_has_the_mean_of_the_folds_that_read_it_in_both_orders(tmp_path: Path) -> None:
    def fit(fold: int, train: np.ndarray, valid: np.ndarray, folder: Path, with_test: bool) -> FoldResult:
        values = np.full((len(valid), 3), 1 / 3)
        swapped = np.full((3, 3), np.nan)
        swapped[0], swapped[1] = [0.1 * fold, 0.5, 0.5 - 0.1 * fold], [1 / 3] * 3 if fold == 1 else [np.nan] * 3
        return FoldResult({MEAN: values}, {MEAN: np.full((3, 3), 1 / 3), SWAPPED: swapped}, 1.0, 0.5)

    result = crossfit(FOLDS, None, {}, tmp_path, fit, _silent)
    assert result.test is not None
    assert np.allclose(result.test[SWAPPED][:2], [[0.1, 0.5, 0.4], [1 / 3] * 3])
    assert np.isnan(result.test[SWAPPED][2]).all()
    assert np.allclose(result.test[MEAN], 1 / 3)


def test_folds_that_were_not_asked_for_are_missing_not_zero(tmp_path: Path) -> None:
    crossfit(FOLDS, [2], {}, tmp_path, Fit(), _silent)
    result = crossfit(FOLDS, [0, 1], {}, tmp_path, Fit(), _silent)
    assert np.isnan(result.valid[MEAN][:, 0]).tolist() == [False, False, True] * 2
    assert result.folds_run == [0, 1]
    assert result.test is not None
    assert np.allclose(result.test[MEAN][:, 0], 0.05)


def test_after_a_crash_finished_folds_are_taken_and_the_result_is_the_same(tmp_path: Path) -> None:
    undisturbed = crossfit(FOLDS, None, {}, tmp_path / "one", Fit(), _silent)
    with pytest.raises(RuntimeError, match="killed"):
        crossfit(FOLDS, None, {}, tmp_path / "two", Fit(dies_in=1), _silent)
    again = Fit()
    resumed = crossfit(FOLDS, None, {}, tmp_path / "two", again, _silent)
    assert again.calls == [1, 2]
    assert np.array_equal(undisturbed.valid[MEAN], resumed.valid[MEAN])


def test_another_key_runs_everything_again(tmp_path: Path) -> None:
    crossfit(FOLDS, None, {"params": 1}, tmp_path, Fit(), _silent)
    (tmp_path / "fold-0" / "left-over").write_text("of the old key")
    again = Fit()
    crossfit(FOLDS, None, {"params": 2}, tmp_path, again, _silent)
    assert again.calls == [0, 1, 2]
    assert not (tmp_path / "fold-0" / "left-over").exists()


def test_what_a_killed_fold_left_is_kept_for_the_same_key_only(tmp_path: Path) -> None:
    left = tmp_path / "fold-1" / RESUME / "checkpoint"

    class Leaves(Fit):
        def __call__(
            self, fold: int, train: np.ndarray, valid: np.ndarray, folder: Path, with_test: bool
        ) -> FoldResult:
            self.found = left.exists()
            (folder / RESUME / "checkpoint").touch()
            return super().__call__(fold, train, valid, folder, with_test)

    for key, expected in ((1, False), (1, True), (2, False), (1, False)):
        fit = Leaves(dies_in=1)
        with pytest.raises(RuntimeError, match="killed"):
            crossfit(FOLDS, [1], {"params": key}, tmp_path, fit, _silent)
        assert fit.found == expected
    crossfit(FOLDS, [1], {"params": 1}, tmp_path, Leaves(), _silent)
    assert not left.parent.exists()


def test_killed_while_it_tidies_up_a_fold_stays_finished(tmp_path: Path) -> None:
    crossfit(FOLDS, [1], {}, tmp_path, Fit(), _silent)
    left = tmp_path / "fold-1" / RESUME
    left.mkdir()
    again = Fit()
    crossfit(FOLDS, [1], {}, tmp_path, again, _silent)
    assert again.calls == []
    assert not left.exists()


def test_the_best_fold_predicts_the_test_battles(tmp_path: Path) -> None:
    # `Fit` gives A row / 10: votes for A suit the fold of rows 2 and 5 best, votes for tie that of rows 0 and 3.
    for vote, best in ((0, 2), (2, 0)):
        votes = np.full(len(FOLDS), vote)
        result = crossfit(FOLDS, None, {}, tmp_path, Fit(), _silent, "best", votes)
        assert result.test is not None
        assert result.test[MEAN][0, 0] == best / 10
        assert result.test_of == f"fold {best}"
    # Only those that were asked for compete.
    assert crossfit(FOLDS, [1, 2], {}, tmp_path, Fit(), _silent, "best", votes).test_of == "fold 1"


def test_a_refit_on_all_rows_predicts_the_test_battles(tmp_path: Path) -> None:
    mean = crossfit(FOLDS, None, {}, tmp_path / "mean", Fit(), _silent)
    fit = Fit(dies_in=3)
    with pytest.raises(RuntimeError, match="killed"):
        crossfit(FOLDS, None, {}, tmp_path, fit, _silent, "refit")
    again = Fit()
    result = crossfit(FOLDS, None, {}, tmp_path, again, _silent, "refit")
    assert (fit.calls, again.calls) == ([0, 1, 2, 3], [3])
    assert result.test is not None
    assert np.allclose(result.test[MEAN], [[0.3, 0.5, 0.2]] * 2)
    assert np.array_equal(result.valid[MEAN], mean.valid[MEAN])
    assert (result.test_of, mean.test_of) == ("refit", "mean of folds 0, 1, 2")
    assert (result.train_seconds, result.inference_seconds, result.folds_run) == (4.0, 2.0, [0, 1, 2])
    assert not (tmp_path / "fold-0" / "test.parquet").exists()
    # The folds made no predictions of the test battles: their mean has to run them again.
    averaged = Fit()
    assert crossfit(FOLDS, None, {}, tmp_path, averaged, _silent).test is not None
    assert averaged.calls == [0, 1, 2]
