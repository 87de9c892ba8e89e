"""Log loss of stackers on real predictions, all on the same rows and outer folds.

    python -m benchmarks.stackers --table lmsys_base_predictions.parquet

The table holds four base models' probabilities of 7,026 battles of the competition. Beside the candidates of this
project stand what people use instead: the arithmetic mean, scikit-learn's multinomial logistic regression on
log-probabilities, LightGBM from scratch on the same columns. Nothing is tuned for these three.
"""

import argparse
import tempfile
import time
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from models.meta import Meta, make_meta
from models.residual import columns
from models.stack_settings import STACK, Stack
from models.stacker import stack
from oof.metrics import expected_calibration_error, log_loss

BASES = ("llm_1", "llm_2", "tfidf", "embedding")
CLASSES = ("model_a", "model_b", "tie")


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
        rows.append(_split(probabilities, meta, labels, folds, Stack(trials=given.trials)))
        print(f"split {split}: {rows[-1]['seconds']:.0f} s, stack {rows[-1][STACK]:.5f}", flush=True)
    print(f"\nmean of {given.splits} splits, {len(labels)} battles, {given.trials} trials")
    print(pd.DataFrame(rows).mean().round(5).to_string())


def read(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Probabilities by base of the rows that every base covers, and their votes."""
    names = {base: [f"{base}_winner_{name}" for name in CLASSES] for base in BASES}
    table = pd.read_parquet(path).dropna(subset=[column for part in names.values() for column in part])
    values = {base: table[part].to_numpy(dtype=np.float64) for base, part in names.items()}
    return {base: p / p.sum(axis=1, keepdims=True) for base, p in values.items()}, table["label"].to_numpy()


def _split(
    probabilities: dict[str, np.ndarray], meta: Meta, labels: np.ndarray, folds: np.ndarray, settings: Stack
) -> dict[str, float]:
    result = {
        "mean of the two LLMs": log_loss((probabilities["llm_1"] + probabilities["llm_2"]) / 2, labels),
    }
    logs = np.hstack([np.log(np.maximum(p, 1e-6)) for p in probabilities.values()])
    table = columns(meta, np.zeros((len(labels), 3)), bases=True)
    scratch = np.zeros((len(labels), 3))
    regression = np.zeros((len(labels), 3))
    params = {"objective": "multiclass", "num_class": 3, "learning_rate": 0.05, "num_leaves": 15, "verbosity": -1}
    for fold in np.unique(folds):
        held = folds == fold
        rest = ~held
        regression[held] = LogisticRegression(max_iter=1000).fit(logs[rest], labels[rest]).predict_proba(logs[held])
        data = lgb.Dataset(table[rest], labels[rest])
        scratch[held] = lgb.train(params | {"num_threads": 1}, data, 100).predict(table[held])
    result["scikit-learn's logistic regression"] = log_loss(regression, labels)
    result["LightGBM from scratch"] = log_loss(scratch, labels)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        nested = stack(meta, labels, folds, settings, Path(folder) / "study.journal")
    result |= {name: log_loss(values, labels) for name, values in nested.probabilities.items()}
    result["calibration error of the stack"] = expected_calibration_error(nested.probabilities[STACK], labels)
    result["seconds"] = time.perf_counter() - started
    return result


if __name__ == "__main__":
    main()
