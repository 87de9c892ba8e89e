"""Ratings of the models from the votes alone: Bradley-Terry with ties after Davidson, with and without style control.

P(A wins) : P(B wins) : P(tie) = exp(d / 2) : exp(-d / 2) : nu, where d is the difference of the two models' ratings
(Davidson 1970) and, with style control, of the two responses' style, as the Arena controls for it: length, lists,
headings and bold, each as (a - b) / (a + b), standardised. So a rating is log-odds at equal style.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from battles.schema import CLASSES, MODELS
from report.intervals import resample

STYLE = ("length", "lists", "headings", "bold")
# Precision of a normal prior on the ratings: keeps those of unbeaten models finite. Small beside a model's battles.
_RIDGE = 0.1
_STEPS, _TOLERANCE = 50, 1e-7
# Log-odds; of a resampled fit, which is only one of many.
_RESAMPLED_TOLERANCE = 1e-4
# Score of a tie where there are none.
_NO_TIES = -30.0
DRAWS = 100
# Models that are rated, the most frequent ones: the rest would only add noise and time.
MOST_MODELS = 300
LEAST_BATTLES = 10
# The Arena's scale: 400 points are odds of 10 : 1.
ELO = 400 / np.log(10)


@dataclass(frozen=True)
class Ratings:
    """models: `model, battles, rating, low, high` (log-odds around their mean, 95 %), the best first. style: `style,
    coefficient, low, high`, log-odds for one standard deviation; empty without style control. tie: odds of a tie
    between equal models against one's win. log_loss: mean, in-sample."""

    models: pd.DataFrame
    style: pd.DataFrame
    tie: float
    log_loss: float


def style_differences(features: pd.DataFrame) -> np.ndarray | None:
    """Standardised differences (n, 4) of STYLE between A and B; None where the features do not tell them."""
    sides = []
    for side in ("a", "b"):
        needed = [f"{name}_{side}" for name in ("chars", "lines", "words", "bullets", "numbered", "headings", "bold")]
        if not set(needed) <= set(features.columns):
            return None
        chars, lines, words, bullets, numbered, headings, bold = features[needed].to_numpy(dtype=np.float64).T
        # Back from logarithms and shares of lines to counts.
        chars, lines, words = np.expm1(chars), np.expm1(lines), np.expm1(words)
        sides.append(np.stack([chars, (bullets + numbered) * lines, headings * lines, bold * (words + 10) / 200]))
    a, b = sides
    difference = np.divide(a - b, a + b, out=np.zeros_like(a), where=a + b > 0).T
    deviation = difference.std(axis=0)
    return difference / np.where(deviation > 0, deviation, 1.0)


def rate(battles: pd.DataFrame, votes: np.ndarray, groups: np.ndarray, style: np.ndarray | None) -> Ratings | None:
    """Rates the models of n battles that name both; None where fewer than two of them have enough battles.

    Intervals are of a bootstrap over the groups (n,): prompts.
    """
    a, b = (battles[name].to_numpy(dtype=object) for name in MODELS)
    counts = pd.Series(np.concatenate([a, b])).value_counts()
    kept = counts[counts >= LEAST_BATTLES].head(MOST_MODELS)
    rows = np.isin(a, kept.index) & np.isin(b, kept.index) & (a != b)
    names = sorted({*a[rows], *b[rows]})
    if len(names) < 2:
        return None
    number = {name: at for at, name in enumerate(names)}
    first, second = (np.array([number[name] for name in side[rows]]) for side in (a, b))
    covariates = np.zeros((int(rows.sum()), 0)) if style is None else style[rows]
    model = _Davidson(first, second, covariates, votes[rows], len(names))
    fitted = model.fit(np.ones(len(first)))
    drawn = _bootstrap(model, groups[rows], fitted)
    ratings, style_part = fitted[: len(names)], fitted[len(names) : -1]
    ends = np.quantile(drawn, [0.025, 0.975], axis=0)
    table = pd.DataFrame(
        {
            "model": names,
            "battles": [int(counts[name]) for name in names],
            "rating": ratings,
            "low": ends[0][: len(names)],
            "high": ends[1][: len(names)],
        }
    ).sort_values(["rating", "model"], ascending=[False, True], ignore_index=True)
    coefficients = pd.DataFrame(
        {
            "style": STYLE[: len(style_part)],
            "coefficient": style_part,
            "low": ends[0][len(names) : -1],
            "high": ends[1][len(names) : -1],
        }
    )
    return Ratings(table, coefficients, float(np.exp(fitted[-1])), model.loss(fitted))


class _Davidson:
    """The likelihood of n votes: a sparse design of ratings and style for the lead, one constant for ties."""

    def __init__(
        self, first: np.ndarray, second: np.ndarray, style: np.ndarray, votes: np.ndarray, models: int
    ) -> None:
        rows = np.arange(len(first))
        ones = np.ones(len(first))
        places = (np.concatenate([rows, rows]), np.concatenate([first, second]))
        ratings = sparse.csr_array((np.concatenate([ones, -ones]), places), shape=(len(first), models))
        self.design = sparse.hstack([ratings, sparse.csr_array(style)], format="csr")
        self.transposed = self.design.T.tocsr()
        self.votes, self.voted, self.models = votes, np.eye(CLASSES)[votes], models
        self.ridge = np.concatenate([np.full(models, _RIDGE), np.full(style.shape[1], 1e-6), [0.0]])
        self.ties = bool((votes == CLASSES - 1).any())

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        half = self.design @ x[:-1] / 2
        scores = np.stack([half, -half, np.full(len(half), x[-1])], axis=1)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def loss(self, x: np.ndarray) -> float:
        return float(-np.log(self.probabilities(x)[np.arange(len(self.votes)), self.votes]).mean())

    def fit(self, weights: np.ndarray) -> np.ndarray:
        """Newton's method on the weighted, convex likelihood (votes count `weights` times); ratings are centred."""
        x = np.zeros(self.design.shape[1] + 1)
        if not self.ties:
            x[-1] = _NO_TIES
        for _ in range(_STEPS):
            step = np.linalg.solve(self.hessian(x, weights), self.gradient(x, weights))
            x -= step
            if np.abs(step).max() < _TOLERANCE:
                break
        return self._centred(x)

    def refit(self, weights: np.ndarray, start: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """The fit to other weights, from a fit close to it whose inverse Hessian serves for every step."""
        x = start.copy()
        for _ in range(_STEPS):
            step = inverse @ self.gradient(x, weights)
            x -= step
            if np.abs(step).max() < _RESAMPLED_TOLERANCE:
                break
        return self._centred(x)

    def gradient(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Of the negative log-likelihood with its ridge penalty."""
        a, b, tie = self.probabilities(x).T
        on_lead = weights * ((a - b) - (self.voted[:, 0] - self.voted[:, 1])) / 2
        gradient = np.append(self.transposed @ on_lead, (weights * (tie - self.voted[:, 2])).sum()) + self.ridge * x
        if not self.ties:
            gradient[-1] = 0.0
        return np.asarray(gradient)

    def hessian(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Its second derivatives; those of the ties' odds are left alone where there are no ties."""
        a, b, tie = self.probabilities(x).T
        curve = weights * ((a + b) - (a - b) ** 2) / 4
        hessian = np.zeros((len(x), len(x)))
        hessian[:-1, :-1] = (self.transposed @ self.design.multiply(curve[:, None]).tocsr()).toarray()
        if self.ties:
            hessian[:-1, -1] = hessian[-1, :-1] = self.transposed @ (-weights * (a - b) * tie / 2)
            hessian[-1, -1] = (weights * tie * (1 - tie)).sum()
        else:
            hessian[-1, -1] = 1.0
        return hessian + np.diag(self.ridge + 1e-9)

    def _centred(self, x: np.ndarray) -> np.ndarray:
        x[: self.models] -= x[: self.models].mean()
        return x


def _bootstrap(model: _Davidson, groups: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Fits (draws, coefficients) to battles whose groups are drawn with replacement."""
    codes = np.unique(groups, return_inverse=True)[1]
    count, generator = int(codes.max()) + 1, np.random.default_rng(0)
    inverse = np.linalg.inv(model.hessian(fitted, np.ones(len(codes))))
    return np.stack([model.refit(resample(generator, count)[codes], fitted, inverse) for _ in range(DRAWS)])
