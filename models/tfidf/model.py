"""The TF-IDF base model: a sparse linear model of the difference between A and B, symmetric by construction.

A battle is the difference of two TF-IDF rows (`models.tfidf.hashing`). Ridge regression of the vote (+1 A, 0 tie, -1 B)
on the differences gives a score d that changes its sign when A and B are exchanged; the probabilities are
softmax(s d, -s d, t) with a tie logit t of quantities that do not change: |d|, the distance of the rows, the lengths.
Scale and tie logit are fitted on scores from prompt-grouped inner folds, so they are calibrated for new battles. Those
scores also choose the weight of the lengths.
A fitted model is two small files, `weights.npz` and `model.json`: numbers and settings, no pickled code.
"""

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
from models.tfidf.hashing import Ngrams, hashed_rows, text_of
from models.tfidf.settings import Tfidf
from oof.metrics import log_loss

# Battles hashed at a time: the rows of A and B take twice the memory of their difference.
_CHUNK = 1000
# Conjugate gradients end after so many steps, or when the residual is so small relative to the targets.
_STEPS, _TOLERANCE = 60, 1e-3
_SMALLEST = np.float32(1e-30)  # divisors of subsets that are solved already


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
        """The battles at `index` (positions)."""
        return Differences(self.grams[index], self.gap[index], self.even[index])


def differences(battles: pd.DataFrame, settings: Tfidf) -> Differences:
    """The differences of a battles table, one row a battle."""
    ngrams = _ngrams(settings)
    parts, sizes = [], []
    for start in range(0, len(battles), _CHUNK):
        chunk = battles.iloc[start : start + _CHUNK]
        a, b = turns(chunk["response_a"]), turns(chunk["response_b"])
        part = (hashed_rows(a, ngrams) - hashed_rows(b, ngrams)).tocsr()
        part.eliminate_zeros()
        parts.append(part)
        sizes += [(len(text_of(x)), len(text_of(y))) for x, y in zip(a, b, strict=True)]
    empty = sparse.csr_matrix((0, ngrams.columns), dtype=np.float32)
    grams = sparse.vstack(parts, format="csr") if parts else empty
    logs = np.log1p(np.array(sizes, dtype=np.float64).reshape(-1, 2))
    gap = logs[:, 0] - logs[:, 1]
    distance = np.sqrt(np.asarray(grams.multiply(grams).sum(axis=1), dtype=np.float64).ravel())
    return Differences(grams, gap, np.column_stack([distance, np.abs(gap), logs[:, 0] + logs[:, 1]]))


def _ngrams(settings: Tfidf) -> Ngrams:
    return Ngrams(settings.chars, settings.words, settings.bits)


@dataclass(frozen=True)
class TfidfModel:
    """A fitted model: a weight for each n-gram column, one for the length gap, and the calibration.

    length: the one of `settings.length` that was chosen.
    """

    settings: Tfidf
    weights: np.ndarray
    gap_weight: float
    calibration: Calibration
    length: float

    def predict(self, battles: pd.DataFrame) -> np.ndarray:
        """Probabilities of A wins, B wins, tie, shape (battles, 3), float64; exactly symmetric."""
        return self.predict_differences(differences(battles, self.settings))

    def predict_differences(self, rows: Differences) -> np.ndarray:
        """`predict` for battles whose differences are there already."""
        scores = rows.grams.astype(np.float64) @ self.weights + self.gap_weight * rows.gap
        return self.calibration.probabilities(scores, rows.even)

    def save(self, folder: Path) -> None:
        """Writes `weights.npz` and `model.json` to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        columns = np.flatnonzero(self.weights)
        with atomic(folder / "weights.npz") as path, path.open("wb") as file:
            np.savez_compressed(file, columns=columns, values=self.weights[columns])
        write_json(
            folder / "model.json",
            {
                "settings": self.settings.model_dump(mode="json"),
                "gap_weight": self.gap_weight,
                "length": self.length,
                **self.calibration.values(),
            },
            sealed=True,
        )

    @classmethod
    def load(cls, folder: Path) -> "TfidfModel":
        """The model that `save` wrote."""
        stored = read_json(folder / "model.json", sealed=True)
        settings = Tfidf.model_validate(stored["settings"])
        weights = np.zeros(_ngrams(settings).columns)
        with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
            weights[arrays["columns"]] = arrays["values"]
        return cls(settings, weights, stored["gap_weight"], Calibration.of(stored), stored["length"])


def fit(battles: pd.DataFrame, settings: Tfidf) -> TfidfModel:
    """Fits on voted battles; everything that is learnt (IDF, weights, calibration) is learnt from them alone."""
    return fit_differences(differences(battles, settings), battles["prompt"].to_numpy(), labels(battles), settings)


def fit_differences(train: Differences, prompts: Iterable[str], votes: np.ndarray, settings: Tfidf) -> TfidfModel:
    """`fit` for battles whose differences are there already."""
    return fit_cross_fitted(train, prompts, votes, settings)[0]


def fit_cross_fitted(
    train: Differences, prompts: Iterable[str], votes: np.ndarray, settings: Tfidf
) -> tuple[TfidfModel, np.ndarray]:
    """`fit_differences`, and the training battles' probabilities (n, 3), each without its own inner fold.

    Only scale, tie logit and the weight of the lengths have seen the battle's own vote.
    """
    inner = _inner_folds(prompts, settings)
    squared_idf = _squared_idf(train.grams, settings)
    problem = _Ridge(train, squared_idf, (votes == 0).astype(np.float32) - (votes == 1), settings.ridge)
    without = (inner[:, None] != np.arange(settings.inner)).astype(np.float32)
    choices = []
    for length in settings.length:
        weights, gap_weights = problem.solve(without, length)
        scores = (train.grams @ weights).astype(np.float64) + np.outer(train.gap, gap_weights)
        held_out = scores[np.arange(len(votes)), inner]
        calibration = Calibration.fit(held_out, train.even, votes)
        probabilities = calibration.probabilities(held_out, train.even)
        choices.append((log_loss(probabilities, votes), length, calibration, probabilities))
    _, length, calibration, cross_fitted = min(choices, key=lambda choice: choice[0])
    weights, gap_weights = problem.solve(np.ones((len(votes), 1), dtype=np.float32), length)
    model = TfidfModel(settings, weights[:, 0].astype(np.float64), float(gap_weights[0]), calibration, length)
    return model, cross_fitted


def _inner_folds(prompts: Iterable[str], settings: Tfidf) -> np.ndarray:
    """The inner fold of each battle; battles with the same prompt share one."""
    codes, distinct = pd.factorize(np.array([prompt_key(prompt) for prompt in turns(prompts)]))
    order = np.random.default_rng(settings.seed).permutation(len(distinct))
    return order[codes] % settings.inner


def _squared_idf(grams: sparse.csr_matrix, settings: Tfidf) -> np.ndarray:
    """Squared IDF of each n-gram over the battles whose responses differ in it, scaled to a median of 1; 0 if rare."""
    battles = np.bincount(grams.indices, minlength=grams.shape[1])
    idf = np.log((1 + grams.shape[0]) / (1 + battles)) + 1
    frequent = battles >= settings.min_battles
    scale = np.median(idf[frequent]) if frequent.any() else 1.0
    return np.where(frequent, (idf / scale) ** 2, 0).astype(np.float32)


@dataclass(frozen=True)
class _Ridge:
    """Ridge regression of targets (n,) on the n-grams, weighted by `squared_idf`, and the length gap."""

    train: Differences
    squared_idf: np.ndarray
    targets: np.ndarray
    penalty: float

    def solve(self, subsets: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the n-grams (columns, subsets) and of the gap (subsets,), fitted on each subset of the battles.

        `subsets` (n, subsets) is 1 where a battle is in the subset.
        """
        dual = self._dual(subsets, length)
        return self.squared_idf[:, None] * (self.train.grams.T @ dual), length * (self.train.gap @ dual)

    def _dual(self, subsets: np.ndarray, length: float) -> np.ndarray:
        """Kernel ridge on several subsets at once, by conjugate gradients: coefficients (n, subsets), 0 elsewhere."""
        # scikit-learn's Ridge (lsqr) solves five folds of 1,488 battles in 1.2 s of CPU time instead of 1.8 s, with
        # probabilities that differ by 0.002 at most, but it needs a scaled copy of the matrix and one more for each
        # subset: 0.8 GB on top of 0.8 GB at 11,904 battles, where this needs nothing.
        grams, gap = self.train.grams, self.train.gap.astype(np.float32)[:, None]

        def kernel(dual: np.ndarray) -> np.ndarray:
            weights = self.squared_idf[:, None] * (grams.T @ dual)
            return grams @ weights + np.float32(length) * gap * (gap.T @ dual)

        residual = self.targets.astype(np.float32)[:, None] * subsets
        dual, direction = np.zeros_like(residual), residual.copy()
        size = (residual**2).sum(axis=0)
        target_size = _TOLERANCE**2 * size
        for _ in range(_STEPS):
            if (size <= target_size).all():
                break
            image = subsets * kernel(direction) + np.float32(self.penalty) * direction
            step = size / np.maximum((direction * image).sum(axis=0), _SMALLEST)
            dual += step * direction
            residual -= step * image
            new_size = (residual**2).sum(axis=0)
            direction = residual + new_size / np.maximum(size, _SMALLEST) * direction
            size = new_size
        return dual
