"""How much a teacher's out-of-fold rows flatter the student that is scored on the same folds, by shuffled votes.

    python -m benchmarks.distillation

Votes are drawn at random, so that nothing can be learnt and every gain over the honest loss is a leak. Teacher and
student are the same logistic regression: the worst case, as such a student can take over all that its teacher knows
of the votes of the student's own fold. `flattery` is the student's loss on fresh battles, votes random too, less its
out-of-fold loss, with its standard error over repetitions: an honest score has none.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax

from oof.crossfit import crossfit
from oof.model_store import FitModel, FoldResult, ModelStore
from oof.nested import cross_pairs
from oof.table import MEAN

FOLDS, FRESH = 5, 4000
PENALTY = 1e-3
ARMS = ("no teacher", "plain rows", "clean rows")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--battles", type=int, default=1000)
    arguments.add_argument("--repetitions", type=int, default=20)
    arguments.add_argument("--weight", type=float, default=0.5)
    given = arguments.parse_args()
    print(f"{given.battles} battles, {FOLDS} folds, weight {given.weight}, {given.repetitions} repetitions")
    print(f"{'columns':>8} {'student':12} {'out-of-fold':>12} {'fresh':>8} {'flattery':>9}")
    for columns in (10, 50, 200):
        losses = np.array([repetition(seed, given.battles, columns, given.weight) for seed in range(given.repetitions)])
        for arm, (scored, fresh) in zip(ARMS, losses.mean(axis=0), strict=True):
            gaps = losses[:, ARMS.index(arm), 1] - losses[:, ARMS.index(arm), 0]
            error = gaps.std(ddof=1) / np.sqrt(len(gaps))
            print(f"{columns:8} {arm:12} {scored:12.4f} {fresh:8.4f} {fresh - scored:+9.4f} ± {error:.4f}", flush=True)


def repetition(seed: int, battles: int, columns: int, weight: float) -> np.ndarray:
    """Out-of-fold loss and loss on fresh battles, (arms, 2), of one draw."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(battles + FRESH, columns)) / np.sqrt(columns)
    votes = np.eye(3)[random.integers(0, 3, battles + FRESH)]
    seen, fresh = (inputs[:battles], votes[:battles]), (inputs[battles:], votes[battles:])
    folds = pd.DataFrame({"id": np.arange(battles).astype(str), "fold": random.permutation(battles) % FOLDS})
    with tempfile.TemporaryDirectory() as folder:
        store = ModelStore(Path(folder), {})
        plain = crossfit(folds, None, store, _teacher(*seen)).valid[MEAN]
        clean = cross_pairs(folds, store, _teacher(*seen))
    numbers = folds["fold"].to_numpy()
    result = np.zeros((len(ARMS), 2))
    for fold in range(FOLDS):
        learn = numbers != fold
        for arm, guide in enumerate((seen[1], plain, clean[fold])):
            # At temperature 1 cross-entropy and KL are one cross-entropy with mixed targets.
            targets = (1 - weight) * seen[1][learn] + weight * guide[learn]
            weights = fit(seen[0][learn], targets)
            result[arm] += loss(weights, seen[0][~learn], seen[1][~learn]), loss(weights, *fresh)
    return result / FOLDS


def _teacher(inputs: np.ndarray, votes: np.ndarray) -> FitModel:
    def fit_model(number: int, train: np.ndarray, valid: np.ndarray, folder: Path) -> FoldResult:
        logits = _logits(fit(inputs[train], votes[train]), inputs[valid])
        return FoldResult({MEAN: np.exp(log_softmax(logits, axis=1))}, None, 0.0, 0.0)

    return fit_model


def fit(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights (columns + 1, 3) of a multinomial logistic regression on target probabilities."""
    shape = (inputs.shape[1] + 1, 3)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        logs = log_softmax(_logits(weights, inputs), axis=1)
        error = (np.exp(logs) - targets) / len(inputs)
        gradient = np.vstack([inputs.T @ error, error.sum(axis=0)]) + PENALTY * weights
        return float(-(targets * logs).sum(axis=1).mean() + PENALTY / 2 * np.square(weights).sum()), gradient.ravel()

    found: np.ndarray = minimize(objective, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B").x
    return found.reshape(shape)


def loss(weights: np.ndarray, inputs: np.ndarray, votes: np.ndarray) -> float:
    """Mean cross-entropy."""
    return float(-(votes * log_softmax(_logits(weights, inputs), axis=1)).sum(axis=1).mean())


def _logits(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    return inputs @ weights[:-1] + weights[-1]


if __name__ == "__main__":
    main()
