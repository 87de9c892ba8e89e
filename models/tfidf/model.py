"""The TF-IDF base model: a sparse linear model of what sets A apart from B, symmetric by construction.

Battle i is the difference of two TF-IDF rows (`models.tfidf.hashing`; hashed, so there is no vocabulary to leak). Ridge
regression of the vote (+1 A, 0 tie, -1 B) on the differences gives a score d that changes its sign with the order; the
probabilities are softmax(s d, -s d, t) with a tie logit t of even quantities (|d|, similarity, lengths). Scale and
tie logit are fitted on scores from prompt-grouped inner folds, so they are calibrated for battles not seen.
A fitted model is two small files, `weights.npz` and `model.json`: numbers and settings, no pickled code.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from battles.files import atomic, read_json, write_json
from battles.folds import prompt_key
from battles.schema import labels, turns
from models.calibration import Calibration
from models.tfidf import hashing
from models.tfidf.settings import Tfidf
from oof.crossfit import FitFold, FoldResult

_CHUNK = 1000
_STEPS, _TOLERANCE = 60, 1e-3


@dataclass(frozen=True)
class Differences:
    """Battles as this model sees them: `grams` (n, columns) and `gap` (n,) change sign with the order, `even` does not.

    grams: TF rows of A minus those of B; gap: log length ratio; even (n, 3): distance of the rows, absolute gap,
    log length of both together. Stateless: nothing in it is fitted.
    """

    grams: sparse.csr_matrix
    gap: np.ndarray
    even: np.ndarray

    def rows(self, index: np.ndarray) -> "Differences":
        return Differences(self.grams[index], self.gap[index], self.even[index])


def _grams(settings: Tfidf) -> hashing.Grams:
    return hashing.Grams(settings.chars, settings.words, settings.bits)


def differences(battles: pd.DataFrame, settings: Tfidf) -> Differences:
    """The sparse view of a battles table; made some rows at a time, as the rows of A and B take twice the space."""
    parts, sizes = [], []
    for start in range(0, len(battles), _CHUNK):
        chunk = battles.iloc[start : start + _CHUNK]
        a, b = turns(chunk["response_a"]), turns(chunk["response_b"])
        part = (hashing.rows(a, _grams(settings)) - hashing.rows(b, _grams(settings))).tocsr()
        part.eliminate_zeros()
        parts.append(part)
        sizes += [(len(hashing.text_of(x)), len(hashing.text_of(y))) for x, y in zip(a, b, strict=True)]
    empty = sparse.csr_matrix((0, _grams(settings).columns), dtype=np.float32)
    grams = sparse.vstack(parts, format="csr") if parts else empty
    logs = np.log1p(np.array(sizes, dtype=np.float64).reshape(-1, 2))
    gap = logs[:, 0] - logs[:, 1]
    distance = np.sqrt(np.asarray(grams.multiply(grams).sum(axis=1), dtype=np.float64).ravel())
    return Differences(grams, gap, np.column_stack([distance, np.abs(gap), logs[:, 0] + logs[:, 1]]))


@dataclass(frozen=True)
class TfidfModel:
    """A fitted model: a weight for each n-gram column, one for the length gap, and the calibration."""

    settings: Tfidf
    weights: np.ndarray
    gap_weight: float
    calibration: Calibration

    def predict(self, battles: pd.DataFrame) -> np.ndarray:
        """Probabilities of A wins, B wins, tie, shape (battles, 3), float64; exactly symmetric."""
        return self.predict_differences(differences(battles, self.settings))

    def predict_differences(self, seen: Differences) -> np.ndarray:
        scores = seen.grams.astype(np.float64) @ self.weights + self.gap_weight * seen.gap
        return self.calibration.probabilities(scores, seen.even)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        columns = np.flatnonzero(self.weights)
        with atomic(folder / "weights.npz") as path, path.open("wb") as file:
            np.savez_compressed(file, columns=columns, values=self.weights[columns])
        write_json(
            folder / "model.json",
            {
                "settings": self.settings.model_dump(mode="json"),
                "gap_weight": self.gap_weight,
                **self.calibration.values(),
            },
            sealed=True,
        )

    @classmethod
    def load(cls, folder: Path) -> "TfidfModel":
        """The model that `save` wrote."""
        stored = read_json(folder / "model.json", sealed=True)
        settings = Tfidf.model_validate(stored["settings"])
        weights = np.zeros(_grams(settings).columns)
        with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
            weights[arrays["columns"]] = arrays["values"]
        return cls(settings, weights, stored["gap_weight"], Calibration.of(stored))


def _column_weights(grams: sparse.csr_matrix, settings: Tfidf) -> np.ndarray:
    """Squared IDF of each n-gram over the training battles it tells apart, scaled to a median of 1; 0 for rare ones."""
    battles = np.bincount(grams.indices, minlength=grams.shape[1])
    idf = np.log((1 + grams.shape[0]) / (1 + battles)) + 1
    used = battles >= settings.min_battles
    scale = np.median(idf[used]) if used.any() else 1.0
    return np.where(used, (idf / scale) ** 2, 0).astype(np.float32)


def _solve(
    seen: Differences, importance: np.ndarray, targets: np.ndarray, use: np.ndarray, settings: Tfidf
) -> np.ndarray:
    """Kernel ridge on several subsets of the battles at once, by conjugate gradients.

    `use` (n, subsets) is 1 where a battle is in the subset. Returns dual coefficients (n, subsets), 0 elsewhere.
    """
    gap = seen.gap.astype(np.float32)[:, None]

    def kernel(dual: np.ndarray) -> np.ndarray:
        primal = importance[:, None] * (seen.grams.T @ dual)
        return seen.grams @ primal + np.float32(settings.length) * gap * (gap.T @ dual)

    residual = targets.astype(np.float32)[:, None] * use
    dual, direction = np.zeros_like(residual), residual.copy()
    size = (residual**2).sum(axis=0)
    enough = _TOLERANCE**2 * size
    for _ in range(_STEPS):
        if (size <= enough).all():
            break
        image = use * kernel(direction) + np.float32(settings.ridge) * direction
        step = size / np.maximum((direction * image).sum(axis=0), np.float32(1e-30))
        dual += step * direction
        residual -= step * image
        smaller = (residual**2).sum(axis=0)
        direction = residual + smaller / np.maximum(size, np.float32(1e-30)) * direction
        size = smaller
    return dual


def _inner_folds(prompts: Iterable[str], settings: Tfidf) -> np.ndarray:
    """An inner fold for each battle; battles with the same prompt share one."""
    codes, distinct = pd.factorize(np.array([prompt_key(prompt) for prompt in turns(prompts)]))
    order = np.random.default_rng(settings.seed).permutation(len(distinct))
    return order[codes] % settings.inner


def fit(battles: pd.DataFrame, settings: Tfidf) -> TfidfModel:
    """Fits on voted battles; everything that is learnt (IDF, weights, calibration) is learnt from them alone."""
    return fit_differences(differences(battles, settings), battles["prompt"].to_numpy(), labels(battles), settings)


def fit_differences(seen: Differences, prompts: Iterable[str], votes: np.ndarray, settings: Tfidf) -> TfidfModel:
    """`fit` on battles that are differences already."""
    inner = _inner_folds(prompts, settings)
    use = np.column_stack([*(inner != fold for fold in range(settings.inner)), np.ones(len(votes), dtype=bool)])
    importance = _column_weights(seen.grams, settings)
    targets = (votes == 0).astype(np.float32) - (votes == 1)
    dual = _solve(seen, importance, targets, use.astype(np.float32), settings)
    primal = importance[:, None] * (seen.grams.T @ dual)
    gap_weights = settings.length * (seen.gap @ dual)
    scores = (seen.grams @ primal).astype(np.float64) + np.outer(seen.gap, gap_weights)
    held_out = scores[np.arange(len(votes)), inner]
    calibration = Calibration.fit(held_out, seen.even, votes)
    return TfidfModel(settings, primal[:, -1].astype(np.float64), float(gap_weights[-1]), calibration)


def fit_folds(settings: Tfidf, battles: pd.DataFrame, test: pd.DataFrame | None) -> FitFold:
    """The function that fits and predicts one fold of this base; texts are hashed here, once for all folds."""
    seen = differences(battles, settings)
    seen_test = None if test is None else differences(test, settings)
    prompts, votes = battles["prompt"].to_numpy(), labels(battles)

    def fit_fold(
        fold: int, train_rows: np.ndarray, valid_rows: np.ndarray, folder: Path, with_test: bool = True
    ) -> FoldResult:
        began = time.perf_counter()
        model = fit_differences(seen.rows(train_rows), prompts[train_rows], votes[train_rows], settings)
        trained = time.perf_counter()
        valid = {"": model.predict_differences(seen.rows(valid_rows))}
        out_test = None if seen_test is None or not with_test else {"": model.predict_differences(seen_test)}
        predicted = time.perf_counter()
        model.save(folder / "model")
        return FoldResult(valid, out_test, trained - began, predicted - trained)

    return fit_fold
