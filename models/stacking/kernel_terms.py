"""What each column adds to the scores of a kernel ridge regression: integrated gradients.

The gradient along the straight line from the average battle, whose standardised columns are all 0, to the battle itself
(Sundararajan et al. 2017, arXiv:1703.01365, equation 1), by Gauss-Legendre quadrature. The terms add up to the
difference of the scores of the two.
"""

from typing import NamedTuple

import numpy as np

from models.stacking.kernel import KernelRidge, Points, gaussian, side_names
from models.stacking.meta_features import Meta

# With so many points on the line the sums are right to 1e-9, with columns as far apart as clipping lets them be.
NODES = 20


class ScoreTerms(NamedTuple):
    """Scores of lead and tie of n battles are start (2,) and the sum of terms (n, columns, 2)."""

    names: list[str]
    start: np.ndarray
    terms: np.ndarray


def score_terms(model: KernelRidge, meta: Meta) -> ScoreTerms:
    """Of the scores before they are calibrated. The columns are the differences of what is measured of the responses,
    the bases, and the prompt's."""
    points = model.space.points(meta)
    sides, prompts = points.first.shape[1], points.prompt.shape[1]
    terms = np.zeros((len(meta), sides + prompts, 2))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        slopes = _slopes(model, Points(*(node * part for part in points)))
        by_part = Points(*(weight * slope * part for slope, part in zip(slopes, points, strict=True)))
        terms[:, :sides, 0] += by_part.first + by_part.second
        terms[:, sides:, 0] += by_part.prompt
        # Of the pair: the responses' middle, how far they are apart, the prompt.
        terms[:, :sides, 1] += by_part.pair[:, :sides] + by_part.pair[:, sides : 2 * sides]
        terms[:, sides:, 1] += by_part.pair[:, 2 * sides :]
    average = gaussian(np.zeros((1, points.pair.shape[1])), model.landmarks.pair, model.gamma)
    # Two equal responses: neither leads.
    start = np.array([0.0, float(average[0] @ model.weights[:, 1])])
    return ScoreTerms([*side_names(meta), *meta.features.even.names], start, terms)


def _slopes(model: KernelRidge, points: Points) -> Points:
    """Gradients at n points: of the lead's score in `first`, `second` and `prompt`, of the tie's in `pair`."""
    gamma, landmarks = model.gamma, model.landmarks
    of_lead, of_tie = model.weights.T

    def slope(at: np.ndarray, others: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """Of the sum of a weighted kernel (n, m) between n points and m others: (n, columns)."""
        return -2 * gamma * (at * kernel.sum(axis=1, keepdims=True) - kernel @ others)

    own = gaussian(points.first, landmarks.first, gamma), gaussian(points.second, landmarks.second, gamma)
    crossed = gaussian(points.first, landmarks.second, gamma), gaussian(points.second, landmarks.first, gamma)
    of_prompt = gaussian(points.prompt, landmarks.prompt, gamma)
    by_prompt = of_lead * (1 + of_prompt) / 2
    return Points(
        slope(points.first, landmarks.first, by_prompt * own[0])
        - slope(points.first, landmarks.second, by_prompt * crossed[0]),
        slope(points.second, landmarks.second, by_prompt * own[1])
        - slope(points.second, landmarks.first, by_prompt * crossed[1]),
        slope(points.prompt, landmarks.prompt, of_lead * (sum(own) - sum(crossed)) * of_prompt / 2),
        slope(points.pair, landmarks.pair, of_tie * gaussian(points.pair, landmarks.pair, gamma)),
    )
