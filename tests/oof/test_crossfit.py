from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from oof.crossfit import CrossFit, crossfit, predict_test, select_models
from oof.dependencies import changes
from oof.model_store import RESUME, FoldResult, ModelStore, Variants, finished_models
from oof.table import MEAN, PLAIN, SWAPPED

FOLDS = pd.DataFrame({"id": list("abcdef"), "fold": [0, 1, 2, 0, 1, 2]})
VOTES = np.zeros(len(FOLDS), dtype=int)


class Fit:
    """A base whose prediction tells fold and row; counts its calls and can die in one model."""

    def __init__(self, dies_in: int | None = None, with_test: bool = False) -> None:
        self.calls: list[int] = []
        self.dies_in, self.with_test = dies_in, with_test

    def __call__(self, number: int, train: np.ndarray, valid: np.ndarray, folder: Path) -> FoldResult:
        self.calls.append(number)
        assert set(train).isdisjoint(valid) or not len(valid)
        if number == self.dies_in:
            raise RuntimeError("killed")
        values = np.column_stack([valid / 10, np.full(len(valid), number / 10), 1 - valid / 10 - number / 10])
        (folder / "model").mkdir()
        (folder / "model" / "number").write_text(str(number))
        test = _test_of(number) if self.with_test else None
        return FoldResult({MEAN: values, PLAIN: values, SWAPPED: values[:, ::-1]}, test, 1.0, 0.5)


class Predict:
    """Predicts two test battles with the model that lies in a folder; counts its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __call__(self, folder: Path, scored: int) -> Variants:
        self.calls.append((folder.name, scored))
        return _test_of(int((folder / "model" / "number").read_text()))


def _test_of(number: int) -> Variants:
    return {MEAN: np.full((2, 3), [number / 10, 0.5, 0.5 - number / 10])}


def _silent(text: str) -> None:
    assert text.endswith("already there")


def _store(folder: Path, test: str | None = "t", replace: bool = False, **depends_on: object) -> ModelStore:
    return ModelStore(folder, depends_on, test, replace, _silent)


def _cross(folder: Path, fit: Fit, wanted: list[int] | None = None, refit: bool = False, **of: object) -> CrossFit:
    return crossfit(FOLDS, wanted, _store(folder, **of), fit, refit)  # type: ignore[arg-type]


def test_every_row_is_predicted_by_the_model_of_its_fold(tmp_path: Path) -> None:
    result = _cross(tmp_path, Fit())
    assert result.valid[MEAN][:, 0].tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert result.valid[MEAN][:, 1].tolist() == [0.0, 0.1, 0.2, 0.0, 0.1, 0.2]
    assert np.array_equal(result.valid[SWAPPED], result.valid[MEAN][:, ::-1])
    assert (result.train_seconds, result.inference_seconds, result.folds_run) == (3.0, 1.5, [0, 1, 2])


def test_folds_that_were_not_asked_for_are_missing_not_zero(tmp_path: Path) -> None:
    _cross(tmp_path, Fit(), [2])
    result = _cross(tmp_path, Fit(), [0, 1])
    assert np.isnan(result.valid[MEAN][:, 0]).tolist() == [False, False, True] * 2
    assert result.folds_run == [0, 1]


def test_after_a_crash_finished_folds_are_taken_and_the_result_is_the_same(tmp_path: Path) -> None:
    undisturbed = _cross(tmp_path / "one", Fit())
    with pytest.raises(RuntimeError, match="killed"):
        _cross(tmp_path / "two", Fit(dies_in=1))
    again = Fit()
    resumed = _cross(tmp_path / "two", again)
    assert again.calls == [1, 2]
    assert np.array_equal(undisturbed.valid[MEAN], resumed.valid[MEAN])


def test_finished_models_are_replaced_only_when_that_is_asked_for(tmp_path: Path) -> None:
    _cross(tmp_path / "base", Fit(), settings={"epochs": 1, "rate": 2})
    (tmp_path / "base" / "fold-0" / "left-over").write_text("of the old dependencies")
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match=r"base: 1 finished models \(fold-0\) .* settings.epochs 1 -> 3; give AGAIN=1"):
        _cross(tmp_path / "base", Fit(), settings={"epochs": 3, "rate": 2})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    again = Fit()
    _cross(tmp_path / "base", again, replace=True, settings={"epochs": 3, "rate": 2})
    assert again.calls == [0, 1, 2]
    assert not (tmp_path / "base" / "fold-0" / "left-over").exists()


def test_changes_are_named_by_their_path() -> None:
    before = {"settings": {"epochs": 1, "lora": {"rank": 4}}, "battles": "one", "only": 1}
    now = {"settings": {"epochs": 2, "lora": {"rank": 4, "alpha": 8}}, "battles": "two"}
    assert changes(before, now) == ['battles "one" -> "two"', "settings.epochs 1 -> 2", "settings.lora.alpha None -> 8"]
    assert changes(before, before) == []


def test_what_a_killed_fold_left_is_kept_for_the_same_dependencies_only(tmp_path: Path) -> None:
    left = tmp_path / "fold-1" / RESUME / "checkpoint"
    said: list[str] = []

    class Leaves(Fit):
        def __call__(self, number: int, train: np.ndarray, valid: np.ndarray, folder: Path) -> FoldResult:
            self.found = left.exists()
            (folder / RESUME / "checkpoint").touch()
            return super().__call__(number, train, valid, folder)

    for params, expected in ((1, False), (1, True), (2, False), (1, False)):
        fit = Leaves(dies_in=1)
        with pytest.raises(RuntimeError, match="killed"):
            crossfit(FOLDS, [1], ModelStore(tmp_path, {"params": params}, say=said.append), fit)
        assert fit.found == expected
    assert said[0] == "fold 1: an unfinished training is begun anew (params 1 -> 2)"
    _cross(tmp_path, Leaves(), [1], params=1)
    assert not left.parent.exists()


def test_killed_while_it_tidies_up_a_fold_stays_finished(tmp_path: Path) -> None:
    _cross(tmp_path, Fit(), [1])
    left = tmp_path / "fold-1" / RESUME
    left.mkdir()
    again = Fit()
    _cross(tmp_path, again, [1])
    assert again.calls == []
    assert not left.exists()


def test_a_refit_is_one_more_model_of_all_rows(tmp_path: Path) -> None:
    fit = Fit(dies_in=3)
    with pytest.raises(RuntimeError, match="killed"):
        _cross(tmp_path, fit, refit=True)
    again = Fit()
    result = _cross(tmp_path, again, refit=True)
    assert (fit.calls, again.calls) == ([0, 1, 2, 3], [3])
    assert (result.train_seconds, result.inference_seconds, result.folds_run) == (4.0, 2.0, [0, 1, 2])
    assert set(finished_models(tmp_path)) == {"fold-0", "fold-1", "fold-2", "refit"}


def test_the_test_battles_have_the_mean_of_the_saved_models(tmp_path: Path) -> None:
    _cross(tmp_path, Fit())
    predict = Predict()
    jobs, test_of = select_models(FOLDS, [0, 1, 2], _store(tmp_path), "mean", VOTES)
    assert np.allclose(predict_test(jobs, _store(tmp_path), predict)[MEAN], [[0.1, 0.5, 0.4]] * 2)
    assert predict.calls == [("fold-0", 2), ("fold-1", 2), ("fold-2", 2)]
    assert test_of == "mean of folds 0, 1, 2"
    # Made once; another test file costs predictions, and no training.
    again, fit = Predict(), Fit()
    predict_test(jobs, _store(tmp_path), again)
    assert again.calls == []
    predict_test(jobs, _store(tmp_path, test="another"), again)
    assert len(again.calls) == 3
    _cross(tmp_path, fit, test="another")
    assert fit.calls == []


def test_predictions_made_while_training_are_those_of_the_saved_models(tmp_path: Path) -> None:
    _cross(tmp_path / "base", Fit(with_test=True))
    jobs, _ = select_models(FOLDS, [0, 1, 2], _store(tmp_path / "base"), "mean", VOTES)
    assert all(_store(tmp_path / "base").has_test(job) for job in jobs)
    assert not any(_store(tmp_path / "base", test="another").has_test(job) for job in jobs)
    # Of a model that was trained again since they are made anew.
    _cross(tmp_path / "base", Fit(), replace=True, params=2)
    assert not any(_store(tmp_path / "base", params=2).has_test(job) for job in jobs)


def test_a_test_battle_has_the_mean_of_the_folds_that_read_it_in_both_orders(tmp_path: Path) -> None:
    def predict(folder: Path, scored: int) -> Variants:
        fold = int(folder.name[-1])
        swapped = np.full((3, 3), np.nan)
        swapped[0], swapped[1] = [0.1 * fold, 0.5, 0.5 - 0.1 * fold], [1 / 3] * 3 if fold == 1 else [np.nan] * 3
        return {MEAN: np.full((3, 3), 1 / 3), SWAPPED: swapped}

    _cross(tmp_path, Fit())
    jobs, _ = select_models(FOLDS, [0, 1, 2], _store(tmp_path), "mean", VOTES)
    result = predict_test(jobs, _store(tmp_path), predict)
    assert np.allclose(result[SWAPPED][:2], [[0.1, 0.5, 0.4], [1 / 3] * 3])
    assert np.isnan(result[SWAPPED][2]).all()
    assert np.allclose(result[MEAN], 1 / 3)


def test_the_best_fold_or_the_refit_predicts_the_test_battles(tmp_path: Path) -> None:
    _cross(tmp_path, Fit(), refit=True)
    store = _store(tmp_path)
    # `Fit` gives A row / 10: votes for A suit the fold of rows 2 and 5 best, votes for tie that of rows 0 and 3.
    for vote, best in ((0, 2), (2, 0)):
        jobs, test_of = select_models(FOLDS, [0, 1, 2], store, "best", np.full(len(FOLDS), vote))
        assert ([job.name for job in jobs], test_of) == ([f"fold-{best}"], f"fold {best}")
    # Only those that were run compete.
    assert select_models(FOLDS, [1, 2], store, "best", np.full(len(FOLDS), 2))[1] == "fold 1"
    jobs, test_of = select_models(FOLDS, [0, 1, 2], store, "refit", VOTES)
    assert test_of == "refit"
    assert np.allclose(predict_test(jobs, store, Predict())[MEAN], [[0.3, 0.5, 0.2]] * 2)
