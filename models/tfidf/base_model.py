"""The TF-IDF base over the folds: texts are hashed once, for all of them."""

import time
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from battles.schema import labels
from models.tfidf.model import Differences, TfidfModel, differences, fit_differences
from models.tfidf.settings import Tfidf
from oof.model_store import FitModel, FoldResult, PredictTest, Variants
from oof.table import MEAN


def open_base(settings: Tfidf, battles: pd.DataFrame, test: pd.DataFrame | None) -> tuple[FitModel, PredictTest]:
    """The functions that fit one model of this base and that predict the test battles with a saved one."""
    base = _Base(settings, battles, test)
    return base.fit, base.predict_test


def open_saved(settings: Tfidf, battles: pd.DataFrame) -> PredictTest:
    """The function that predicts these battles with a saved model."""
    rows = differences(battles, settings)

    def predict(folder: Path, scored: int) -> Variants:
        return {MEAN: TfidfModel.load(folder / "model").predict_differences(rows)}

    return predict


class _Base:
    def __init__(self, settings: Tfidf, battles: pd.DataFrame, test: pd.DataFrame | None) -> None:
        self._settings, self._battles, self._test = settings, battles, test
        self._prompts, self._votes = battles["prompt"].to_numpy(), labels(battles)

    @cached_property
    def _train_rows(self) -> Differences:
        return differences(self._battles, self._settings)

    @cached_property
    def _test_rows(self) -> Differences:
        assert self._test is not None
        return differences(self._test, self._settings)

    def fit(self, number: int, train_rows: np.ndarray, valid_rows: np.ndarray, folder: Path) -> FoldResult:
        began = time.perf_counter()
        rows = self._train_rows.rows(train_rows)
        model = fit_differences(rows, self._prompts[train_rows], self._votes[train_rows], self._settings)
        trained = time.perf_counter()
        valid = {MEAN: model.predict_differences(self._train_rows.rows(valid_rows))}
        test = None if self._test is None else {MEAN: model.predict_differences(self._test_rows)}
        predicted = time.perf_counter()
        model.save(folder / "model")
        return FoldResult(valid, test, trained - began, predicted - trained)

    def predict_test(self, folder: Path, scored: int) -> Variants:
        return {MEAN: TfidfModel.load(folder / "model").predict_differences(self._test_rows)}
