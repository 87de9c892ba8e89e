"""Log loss of stackers on real predictions, all on the same rows and outer folds.

    python -m benchmarks.stackers --table lmsys_base_predictions.parquet

The table holds four base models' probabilities of 7,026 battles of the competition. Beside the candidates of this
project stand, marked by a star, what people use instead, on the bases' log-probabilities and without tuning: the
mean of the two language models, scikit-learn's multinomial logistic regression and its StackingClassifier, LightGBM
from scratch, and LightGBM on the regression's residual.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import make_meta
from models.stacking.settings import STACK, Stack
from models.stacking.stacker import stack
from oof import external
from oof.metrics import calibrated_error, expected_calibration_error, log_loss
from oof.probabilities import softmax

BASES = ("llm_1", "llm_2", "tfidf", "embedding")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--table", type=Path, required=True)
    arguments.add_argument("--splits", type=int, default=3)
    arguments.add_argument("--trials", type=int, default=Stack().trials)
    given = arguments.parse_args()
    probabilities, labels = read(given.table)
    meta = make_meta(probabilities)
    rows = []
    for split in range(given.splits):
        folds = np.zeros(len(labels), dtype=np.int64)
        splitter = StratifiedKFold(5, shuffle=True, random_state=split)
        for number, (_, held) in enumerate(splitter.split(labels, labels)):
            folds[held] = number
        rows.append(_split(probabilities, Level1Data(meta, labels, folds), Stack(trials=given.trials)))
        print(f"split {split}: {rows[-1]['seconds']:.0f} s, stack {rows[-1][STACK]:.5f}", flush=True)
    print(f"\nmean of {given.splits} splits, {len(labels)} battles, {given.trials} trials")
    print(pd.DataFrame(rows).mean().round(5).to_string())


def read(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Probabilities by base of the rows that every base covers, and their votes."""
    found = external.read(path, BASES, [])
    return dict(found.probabilities), found.labels


def _split(probabilities: dict[str, np.ndarray], data: Level1Data, settings: Stack) -> dict[str, float]:
    labels = data.labels
    result = {"* mean of the two LLMs": log_loss((probabilities["llm_1"] + probabilities["llm_2"]) / 2, labels)}
    logs = np.hstack([np.log(np.maximum(p, 1e-6)) for p in probabilities.values()])
    for name, fit in OTHERS.items():
        predicted = np.zeros((len(labels), 3))
        for fold in np.unique(data.folds):
            held = data.folds == fold
            predicted[held] = fit(logs[~held], labels[~held], logs[held])
        result[f"* {name}"] = log_loss(predicted, labels)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        nested = stack(data, settings, Path(folder) / "study.journal")
    result |= {name: log_loss(values, labels) for name, values in nested.probabilities.items()}
    result["calibration error of the stack"] = expected_calibration_error(nested.probabilities[STACK], labels)
    result["… of perfectly calibrated ones"] = calibrated_error(nested.probabilities[STACK])[0]
    result["seconds"] = time.perf_counter() - started
    return result


def _regression(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.asarray(LogisticRegression(max_iter=1000).fit(x, y).predict_proba(new))


def _stacking_classifier(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    members = [
        ("regression", LogisticRegression(max_iter=1000)),
        ("booster", HistGradientBoostingClassifier(learning_rate=0.05, max_leaf_nodes=15, max_iter=100)),
    ]
    model = StackingClassifier(members, LogisticRegression(max_iter=1000), cv=5)
    return np.asarray(model.fit(x, y).predict_proba(new))


def _scratch(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.asarray(lgb.train(LIGHTGBM | {"learning_rate": 0.05}, lgb.Dataset(x, y), 100).predict(new))


def _residual(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """What one writes by hand: trees on top of a logistic regression, its in-sample log-odds as init_score."""
    base = LogisticRegression(max_iter=1000).fit(x, y)
    data = lgb.Dataset(x, y, init_score=base.decision_function(x))
    booster = lgb.train(LIGHTGBM | {"learning_rate": 0.03, "min_child_samples": 100}, data, 60)
    return np.asarray(softmax(booster.predict(new, raw_score=True) + base.decision_function(new)))


LIGHTGBM: dict[str, Any] = {
    "objective": "multiclass",
    "num_class": 3,
    "num_leaves": 15,
    "verbosity": -1,
    "num_threads": 1,
    "seed": 0,
}
OTHERS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "scikit-learn's logistic regression": _regression,
    "scikit-learn's StackingClassifier": _stacking_classifier,
    "LightGBM from scratch": _scratch,
    "LightGBM on the regression's residual": _residual,
}


if __name__ == "__main__":
    main()
