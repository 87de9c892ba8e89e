"""Style → strength: how strong the model that writes like this is, learnt from the votes of the other folds.

Test battles carry no model names, but the style of a response betrays its author. The training models are rated
by Bradley-Terry (Bradley & Terry 1952; a tie is half a win for each, with a normal prior on the log-odds), and ridge
regression learns the rating of a response's author from style columns and words. Both are fitted for each fold on the
other folds only. Model names are never a feature, and battles of unknown models are left out of the fit.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from joblib import delayed
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import expit

from battles.processes import parallel
from battles.schema import MODELS, labels
from features.settings import Features
from features.text import word_counts

_RESPONSES = ("response_a", "response_b")
_UNKNOWN = {"", "unknown", "nan", "none"}
_CHUNK = 2000
# Standardised style columns are clipped here: an extreme text must not dominate a prediction.
_CLIP = 4.0
_STEPS, _TOLERANCE = 200, 1e-5
_NEWTON_STEPS = 50


@dataclass(frozen=True)
class Sides:
    """Single responses, all of A and then all of B: `style` (2n, columns) and hashed `words` (2n, buckets), float32."""

    style: np.ndarray
    words: sparse.csr_matrix


def _hash_words(cells: Sequence[str], bits: int) -> sparse.csr_matrix:
    """Rows of 1 + log(count) of unit length, words hashed into 2**bits columns.

    The TF-IDF base hashes n-grams (`models.tfidf.hashing`), which count after hashing and need numpy for speed; here
    the words of `features.text` are counted first, in their own spelling. `features` may not import `models`.
    """
    columns: list[int] = []
    counts: list[int] = []
    ends = [0]
    shift = 32 - bits
    for cell in cells:
        words = word_counts(json.loads(cell))
        columns += [zlib.crc32(word) >> shift for word in words]
        counts += words.values()
        ends.append(len(columns))
    weights = 1 + np.log(np.array(counts, dtype=np.float32))
    rows = np.repeat(np.arange(len(cells)), np.diff(ends))
    norms = np.sqrt(np.bincount(rows, weights**2, minlength=len(cells)))
    data = (weights / norms[rows]).astype(np.float32)
    index = np.array(columns, dtype=np.int32)
    return sparse.csr_matrix((data, index, np.array(ends, dtype=np.int32)), shape=(len(cells), 1 << bits))


def sides(battles: pd.DataFrame, features: pd.DataFrame, swap: dict[str, str], settings: Features, jobs: int) -> Sides:
    """The single responses of a battles table; `features` are its handcrafted columns with their declarations."""
    names = [name.removesuffix("_a") for name, rule in swap.items() if name.endswith("_a") and rule.endswith("_b")]
    style = np.concatenate([features[[f"{name}{side}" for name in names]].to_numpy() for side in ("_a", "_b")])
    cells = (
        battles[column].iloc[start : start + _CHUNK].tolist()
        for column in _RESPONSES
        for start in range(0, len(battles), _CHUNK)
    )
    run = parallel(jobs, pre_dispatch="n_jobs + 1", batch_size=1)
    parts = run(delayed(_hash_words)(chunk, settings.word_bits) for chunk in cells)
    empty = sparse.csr_matrix((0, 1 << settings.word_bits), dtype=np.float32)
    return Sides(style.astype(np.float32, copy=False), sparse.vstack(parts, format="csr") if parts else empty)


def bradley_terry(first: np.ndarray, second: np.ndarray, votes: np.ndarray, models: int, ridge: float) -> np.ndarray:
    """Log-odds ratings, shape (models,), of numbered models from votes (0: first wins, 1: second, 2: tie).

    A tie counts half for each; `ridge` is the precision of a normal prior around 0, which also keeps models
    without a battle at 0 and unbeaten ones finite. Newton's method on a strictly concave likelihood; the Hessian is a
    graph Laplacian with an entry for each pair that met, so conjugate gradients solve for thousands of models.
    """
    pairs, pair = np.unique(first.astype(np.int64) * models + second, return_inverse=True)
    one, other = np.divmod(pairs, models)
    battles = np.bincount(pair)
    won = np.bincount(pair, np.array([1.0, 0.0, 0.5])[votes])
    edges = (np.concatenate([one, other]), np.concatenate([other, one]))
    ratings = np.zeros(models)
    for _ in range(_NEWTON_STEPS):
        chance = expit(ratings[one] - ratings[other])
        surprise, weight = won - battles * chance, battles * chance * (1 - chance)
        gradient = np.bincount(one, surprise, models) - np.bincount(other, surprise, models) - ridge * ratings
        diagonal = np.bincount(one, weight, models) + np.bincount(other, weight, models) + ridge
        laplacian = sparse.csr_array((np.concatenate([-weight, -weight]), edges), shape=(models, models))
        hessian = laplacian + sparse.diags_array(diagonal)
        step, _ = cg(hessian, gradient, rtol=1e-10, atol=1e-13, M=sparse.diags_array(1 / diagonal))
        ratings += step
        if np.abs(step).max() < 1e-9:
            break
    return ratings


def _author_numbers(battles: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Number of each side's author, shape (n, 2), -1 where it is not known; and how many authors there are."""
    if not set(MODELS) <= set(battles.columns):
        return np.full((len(battles), 2), -1), 0
    names = pd.concat([battles[name].astype("str") for name in MODELS])
    known = names.where(~names.str.strip().str.casefold().isin(_UNKNOWN))
    codes, distinct = pd.factorize(known)
    return codes.reshape(2, -1).T, len(distinct)


@dataclass(frozen=True)
class StyleRegression:
    """Ridge regression of ratings on standardised style columns and hashed words.

    center and scale (style columns,) standardise; `mean` is the intercept in log-odds; weights (style columns + word
    buckets,). All float32 but `mean`. `fit` uses SciPy's conjugate gradients on the normal equations: style stays dense
    and words stay sparse, which is three times as fast as scikit-learn's `Ridge(solver="sparse_cg")` on both in one
    sparse matrix (6 against 18 ms a fold of 1,488 battles) and equal to it within 4e-6.
    """

    center: np.ndarray
    scale: np.ndarray
    mean: float
    weights: np.ndarray

    @classmethod
    def fit(cls, seen: Sides, rows: np.ndarray, targets: np.ndarray, ridge: float) -> "StyleRegression":
        """Learns the ratings `targets` of the responses `rows` of `seen`."""
        style, words = seen.style[rows], seen.words[rows]
        center = style.mean(axis=0)
        # A column that is all but constant here says nothing, and would explode elsewhere.
        deviation = style.std(axis=0)
        scale = np.where(deviation > 1e-6, deviation, np.inf) * np.float32(np.sqrt(style.shape[1]))
        mean = float(targets.mean())
        _standardize(style, center, scale)
        columns = style.shape[1]

        def gram(weights: np.ndarray) -> np.ndarray:
            image = style @ weights[:columns] + words @ weights[columns:]
            return np.concatenate([style.T @ image, words.T @ image]) + np.float32(ridge) * weights

        residual = (targets - mean).astype(np.float32)
        right = np.concatenate([style.T @ residual, words.T @ residual])
        operator = LinearOperator((len(right), len(right)), matvec=gram, dtype=np.float32)
        weights, _ = cg(operator, right, rtol=_TOLERANCE, maxiter=_STEPS)
        return cls(center, scale, mean, weights)

    @classmethod
    def nothing(cls, seen: Sides) -> "StyleRegression":
        """Of nothing to learn from: every rating is 0."""
        style, words = seen.style.shape[1], seen.words.shape[1]
        zeros = np.zeros(style + words, dtype=np.float32)
        return cls(zeros[:style], np.full(style, np.inf, dtype=np.float32), 0.0, zeros)

    def predict(self, seen: Sides, rows: np.ndarray) -> np.ndarray:
        """Predicted ratings of the responses `rows` of `seen`, shape (rows,)."""
        style = seen.style[rows]
        _standardize(style, self.center, self.scale)
        columns = style.shape[1]
        return self.mean + style @ self.weights[:columns] + seen.words[rows] @ self.weights[columns:]

    def predict_battles(self, seen: Sides) -> np.ndarray:
        """Predicted ratings of both authors of every battle of `seen`, float32, shape (battles, 2)."""
        return self.predict(seen, np.arange(seen.words.shape[0])).reshape(2, -1).T.astype(np.float32)


def _standardize(style: np.ndarray, center: np.ndarray, scale: np.ndarray) -> None:
    """Standardises fresh rows of style columns in place: at a million battles a copy takes half a gigabyte."""
    limit = np.float32(_CLIP / np.sqrt(style.shape[1]))
    style -= center
    style /= scale
    np.clip(style, -limit, limit, out=style)


def ratings(
    train: pd.DataFrame, fold: np.ndarray, seen: Sides, settings: Features
) -> tuple[np.ndarray, np.ndarray, StyleRegression]:
    """Predicted ratings (log-odds) of the authors of the training battles, and a regression to predict those of others.

    The first, float32 (n, 2), are each learnt from the other folds. Entry [k] of the second, (folds, n, 2), is learnt
    from neither fold k nor the battle's own, NaN for the battles of fold k: a stacker that is scored on fold k learns
    from it. The regression is learnt from all battles. Costs 1 + K + K (K - 1) / 2 fits for K folds. Ratings are 0
    where fewer than two models with names are left to learn from.
    """
    authors, models = _author_numbers(train)
    votes, count = labels(train), len(train)
    out = np.zeros((count, 2), dtype=np.float32)

    def learn(train_rows: np.ndarray) -> StyleRegression:
        """Learns from the battles `train_rows` (mask)."""
        named = train_rows & (authors >= 0).all(axis=1)
        if len(np.unique(authors[named])) < 2:
            return StyleRegression.nothing(seen)
        first, second = authors[named].T
        strengths = bradley_terry(first, second, votes[named], models, settings.rating_ridge)
        responses = np.flatnonzero((train_rows[:, None] & (authors >= 0)).T.ravel())
        targets = strengths[authors.T.ravel()[responses]]
        return StyleRegression.fit(seen, responses, targets, settings.style_ridge)

    def rate(held_out: np.ndarray) -> np.ndarray:
        """Ratings (rows, 2) of the battles `held_out` (mask), learnt from the others."""
        rows = np.flatnonzero(held_out)
        return learn(~held_out).predict(seen, np.concatenate([rows, rows + count])).reshape(2, -1).T

    numbers = np.unique(fold)
    nested = np.full((len(numbers), count, 2), np.nan, dtype=np.float32)
    for number in numbers:
        out[fold == number] = rate(fold == number)
    for j, k in combinations(range(len(numbers)), 2):
        first, second = fold == numbers[j], fold == numbers[k]
        rated = rate(first | second)
        nested[k, first], nested[j, second] = rated[first[first | second]], rated[second[first | second]]
    return out, nested, learn(np.ones(count, dtype=bool))
