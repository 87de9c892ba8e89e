"""The kernel candidate: ridge regression with Gaussian kernels on the handcrafted columns and the bases' leads.

It is smooth where trees have steps, so it errs elsewhere than they do. The lead has a preference kernel (Houlsby et al.
2011, arXiv:1112.5745, section 2.2): it is g(A) - g(B) for a function g of a single response's style, which may depend
on the prompt. The tie is a function of what both responses have in common and of how far apart they are. So exchanging
A and B exchanges the prediction exactly. Of many battles some are drawn, the landmarks, whose kernels span what
is fitted (subset of regressors; Rasmussen and Williams 2006, section 8.3.1); of fewer it is kernel ridge regression.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from models.calibration import Calibration
from models.stacking.level1_data import Level1Data
from models.stacking.logistic_solver import Scaler
from models.stacking.meta_features import Meta
from models.stacking.selection import leads
from oof.metrics import log_loss, row_losses
from oof.probabilities import centred, log_probabilities, softmax

# Inverse squared widths of the kernels, on columns whose squares sum to about 1 a block, and penalties of the summed
# squared error, the strongest first. Both are compared on the inner folds.
GAMMAS = (0.06, 0.2, 0.6)
PENALTIES = (10.0, 3.0, 1.0)
# A base's lead counts as much as so many handcrafted columns.
BASE_COLUMNS = 10.0
# Standardised columns are clipped here: an extreme text must not be far from everything.
CLIP = 4.0
LANDMARKS = 600
# Battles on which widths and penalties are compared, at most: both are of a prior, so one does for any number.
CHOSEN_ON = 2000
# Added to the landmarks' kernel, whose values are at most 2, so that rounding leaves it positive definite.
JITTER = 1e-6
CHUNK = 2048
SEED = 5


class Points(NamedTuple):
    """n battles in the kernels' spaces: `first` and `second` (n, q) response, `prompt` (n, r), `pair` (n, s)."""

    first: np.ndarray
    second: np.ndarray
    prompt: np.ndarray
    pair: np.ndarray

    def rows(self, index: np.ndarray | slice) -> "Points":
        """The battles at `index`."""
        return Points(*(part[index] for part in self))


@dataclass(frozen=True)
class Space:
    """Standardises columns, clips them, and weighs them; fitted without votes."""

    side: Scaler
    prompt: Scaler
    gap: Scaler

    @classmethod
    def fit(cls, meta: Meta) -> "Space":
        middle, half = _sides(meta)
        return cls(
            Scaler.fit(np.vstack([middle + half, middle - half]), odd=False),
            Scaler.fit(meta.features.even.values, odd=False),
            Scaler.fit(np.abs(half), odd=False),
        )

    def points(self, meta: Meta) -> Points:
        """The battles of `meta` as points."""
        middle, half = _sides(meta)
        bases = len(meta.bases)
        own = half.shape[1] - bases
        weights = np.sqrt(np.repeat([1.0, BASE_COLUMNS], [own, bases]) / max(own, 1))
        first, second = (self._scaled(self.side, middle + sign * half) * weights for sign in (1, -1))
        prompt = self._scaled(self.prompt, meta.features.even.values) / np.sqrt(max(len(meta.features.even.names), 1))
        gap = self._scaled(self.gap, np.abs(half)) * weights
        return Points(first, second, prompt, np.hstack([(first + second) / 2, gap, prompt]))

    @staticmethod
    def _scaled(scaler: Scaler, values: np.ndarray) -> np.ndarray:
        return np.clip(scaler.transform(values.astype(np.float64)), -CLIP, CLIP)


def _sides(meta: Meta) -> tuple[np.ndarray, np.ndarray]:
    """Mean and half the difference (n, q) of what is measured of each response; of a base's lead the mean is 0.

    Columns of the pair alone, such as which response is longer, are left out: they have steps.
    """
    odd, means = meta.features.odd, dict(zip(meta.means.even.names, meta.means.even.values.T, strict=True))
    middle, half = [], []
    for name, values in zip(odd.names, odd.values.T, strict=True):
        if (mean := means.get(_mean_of(name))) is not None:
            middle.append(mean)
            half.append(values / 2)
    leads = meta.base.odd.values.T / 2
    middle, half = [*middle, *np.zeros_like(leads)], [*half, *leads]
    return np.column_stack(middle).astype(np.float64), np.column_stack(half).astype(np.float64)


def side_names(meta: Meta) -> list[str]:
    """The columns of `Points.first` and `second`, by the names of the differences; the bases come last."""
    present = set(meta.means.even.names)
    return [*(name for name in meta.features.odd.names if _mean_of(name) in present), *meta.base.odd.names]


def _mean_of(difference: str) -> str:
    """The name of the mean of two partners whose difference has this name."""
    stem = difference.removesuffix("_diff")
    return f"{stem}_a+{stem}_b" if stem != difference else difference.replace("-", "+")


def gaussian(points: np.ndarray, others: np.ndarray, gamma: float) -> np.ndarray:
    """exp(-gamma · squared distance), (n, m), of n points and m others."""
    squares = np.square(points).sum(axis=1)[:, None] + np.square(others).sum(axis=1) - 2 * points @ others.T
    return np.asarray(np.exp(-gamma * np.maximum(squares, 0.0)))


def _kernels(points: Points, others: Points, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """The kernels of lead and tie, each (n, m), of n points and m others."""
    same = gaussian(points.first, others.first, gamma) + gaussian(points.second, others.second, gamma)
    crossed = gaussian(points.first, others.second, gamma) + gaussian(points.second, others.first, gamma)
    by_prompt = (1 + gaussian(points.prompt, others.prompt, gamma)) / 2
    return (same - crossed) * by_prompt, gaussian(points.pair, others.pair, gamma)


class Shape(NamedTuple):
    """What is chosen on inner folds: inverse squared width and penalty; and how scores become probabilities."""

    gamma: float
    penalty: float
    calibration: Calibration


@dataclass(frozen=True)
class KernelRidge:
    """A fitted one: the scores of lead and tie are sums over the landmarks, weighted by `weights` (landmarks, 2)."""

    space: Space
    landmarks: Points
    gamma: float
    weights: np.ndarray
    calibration: Calibration

    @classmethod
    def fit(cls, meta: Meta, labels: np.ndarray, shape: Shape) -> "KernelRidge":
        """Fits on the votes (n,)."""
        space = Space.fit(meta)
        points = space.points(meta)
        landmarks = points.rows(_some(len(meta), LANDMARKS))
        weights = next(_ridge_path(points, landmarks, labels, shape.gamma, [shape.penalty]))
        return cls(space, landmarks, shape.gamma, weights, shape.calibration)

    def logits(self, meta: Meta) -> np.ndarray:
        """Centred logits (n, 3)."""
        return _logits(self.calibration, _scores(self.space.points(meta), self.landmarks, self.gamma, self.weights))

    def arrays(self) -> dict[str, np.ndarray]:
        """Its columns' scales, landmarks and weights by name, to be saved."""
        scalers = {
            f"{name}.{key}": value for name, scaler in asdict(self.space).items() for key, value in scaler.items()
        }
        points = {f"landmarks.{name}": part for name, part in self.landmarks._asdict().items()}
        return {**scalers, **points, "weights": self.weights}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], gamma: float, calibration: Calibration) -> "KernelRidge":
        """The one whose `arrays` these are."""

        def part(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

        space = Space(*(Scaler(**part(f"{name}.")) for name in ("side", "prompt", "gap")))
        return cls(space, Points(**part("landmarks.")), gamma, arrays["weights"], calibration)


def fit_kernel(data: Level1Data, others: np.ndarray, share: float) -> tuple[KernelRidge, np.ndarray]:
    """A kernel ridge regression on all battles, and its out-of-fold logits (n, 3).

    others (n, 3): out-of-fold logits of what it is averaged with; share: its weight there, 0 to 1. They choose its
    width and penalty (see `_chosen`). The calibration is fitted on held-out scores; of the out-of-fold logits, on those
    of the other folds. With a single fold nothing can be held out: the first width and the strongest penalty then,
    calibrated on scores of its own battles.
    """
    numbers = _some(len(data), CHOSEN_ON)
    some = data.rows(numbers)
    tried = {
        (gamma, penalty): scores
        for gamma in (GAMMAS if data.fold_count > 1 else GAMMAS[:1])
        for penalty, scores in zip(PENALTIES, _held_out(some, gamma, PENALTIES), strict=True)
    }
    gamma, penalty = _chosen(tried, some, others[numbers], share) if data.fold_count > 1 else next(iter(tried))
    scores = tried[gamma, penalty]
    if len(some) < len(data):
        (scores,) = _held_out(data, gamma, [penalty])
    calibration = Calibration.fit(scores[:, 0], scores[:, 1:], data.labels)
    model = KernelRidge.fit(data.meta, data.labels, Shape(gamma, penalty, calibration))
    return model, _cross_calibrated(scores, data)


def _chosen(
    tried: Mapping[tuple[float, float], np.ndarray], data: Level1Data, others: np.ndarray, share: float
) -> tuple[float, float]:
    """Width and penalty of the lowest cross-validated log loss, unless the average is better with another.

    It then has to be better by more than a paired standard error: of nine that resemble each other the best is expected
    to be about that much ahead by chance. A narrow kernel can be worse alone and err elsewhere than the others do.

    tried: held-out scores (n, 2) by width and penalty.
    """
    logits = {shape: _cross_calibrated(scores, data) for shape, scores in tried.items()}
    alone = {shape: log_loss(softmax(own), data.labels) for shape, own in logits.items()}
    averaged = {
        shape: row_losses(softmax((1 - share) * others + share * own), data.labels) for shape, own in logits.items()
    }
    best, first = min(tried, key=lambda shape: averaged[shape].mean()), min(tried, key=alone.__getitem__)
    return best if leads(averaged[best], averaged[first], data.groups, 1) else first


def _cross_calibrated(scores: np.ndarray, data: Level1Data) -> np.ndarray:
    """Logits (n, 3) of held-out scores (n, 2), those of each fold by a calibration fitted on the others."""
    logits = np.zeros((len(data), 3))
    for fold in np.unique(data.folds):
        held = data.folds == fold
        rest = ~held if (~held).any() else held
        calibration = Calibration.fit(scores[rest, 0], scores[rest, 1:], data.labels[rest])
        logits[held] = _logits(calibration, scores[held])
    return logits


def _logits(calibration: Calibration, scores: np.ndarray) -> np.ndarray:
    return centred(log_probabilities(calibration.probabilities(scores[:, 0], scores[:, 1:])))


def _held_out(data: Level1Data, gamma: float, penalties: Sequence[float]) -> list[np.ndarray]:
    """Scores (n, 2) of lead and tie for each penalty, of each fold by a ridge regression fitted on the others."""
    points = Space.fit(data.meta).points(data.meta)
    results = [np.zeros((len(data), 2)) for _ in penalties]
    for fold in np.unique(data.folds):
        held = data.folds == fold
        rest = np.flatnonzero(~held if (~held).any() else held)
        landmarks = points.rows(rest[_some(len(rest), LANDMARKS)])
        path = _ridge_path(points.rows(rest), landmarks, data.labels[rest], gamma, penalties)
        for result, weights in zip(results, path, strict=True):
            result[held] = _scores(points.rows(held), landmarks, gamma, weights)
    return results


def _ridge_path(
    points: Points, landmarks: Points, labels: np.ndarray, gamma: float, penalties: Sequence[float]
) -> Iterator[np.ndarray]:
    """For each penalty the landmarks' weights (landmarks, 2) in lead and tie, fitted on the votes (n,) of the points.

    The targets are +1 for A, -1 for B and 0 for a tie; and whether it is a tie, less the share of ties.
    """
    ties = (labels == 2).astype(np.float64)
    targets = np.column_stack([(labels == 0).astype(np.float64) - (labels == 1), ties - ties.mean()])
    count = len(landmarks.first)
    factors = [np.linalg.cholesky(k + JITTER * np.eye(count)) for k in _kernels(landmarks, landmarks, gamma)]
    grams, rights = [np.zeros((count, count)) for _ in factors], [np.zeros(count) for _ in factors]
    for some in _chunks(points):
        for side, kernel in enumerate(_kernels(points.rows(some), landmarks, gamma)):
            image = solve_triangular(factors[side], kernel.T, lower=True, check_finite=False)
            grams[side] += image @ image.T
            rights[side] += image @ targets[some, side]
    for penalty in penalties:
        weights = []
        for factor, gram, right in zip(factors, grams, rights, strict=True):
            solved = cho_solve(cho_factor(gram + penalty * np.eye(count), check_finite=False), right)
            weights.append(solve_triangular(factor, solved, lower=True, trans="T", check_finite=False))
        yield np.column_stack(weights)


def _scores(points: Points, landmarks: Points, gamma: float, weights: np.ndarray) -> np.ndarray:
    """Scores (n, 2) of lead and tie."""
    result = np.zeros((len(points.first), 2))
    for some in _chunks(points):
        for side, kernel in enumerate(_kernels(points.rows(some), landmarks, gamma)):
            result[some, side] = kernel @ weights[:, side]
    return result


def _chunks(points: Points) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, len(points.first), CHUNK))


def _some(rows: int, most: int) -> np.ndarray:
    """The numbers of all rows, or of `most` that are drawn."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(SEED).choice(rows, most, replace=False))
