"""Learning curves: what a model loses that learns from a share of the prompts, on battles that it has not seen.

Every fit learns from prompts outside of the fold that it is scored on. A share is drawn by prompt, several times where
that is affordable; the smaller share of a draw is part of the larger one, so that their difference is of the share.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SHARES = (0.25, 0.5, 1.0)
_SEED = 5

# Fits models on the battles at some positions, and gives the log losses (m,) of each on the battles at m others.
FitAndScore = Callable[[np.ndarray, np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class LearningCurve:
    """The log losses of m battles by models that learnt from each of s shares.

    shares (s,): of the battles outside of the scored one's fold, the last is 1. battles (s,): how many that were, on
    average. rows (m,): positions of the scored battles. losses: model → (s, m), the mean over `draws` of the share.
    """

    shares: tuple[float, ...]
    battles: np.ndarray
    rows: np.ndarray
    losses: Mapping[str, np.ndarray]
    draws: int


def learning_curve(
    fit_and_score: FitAndScore,
    folds: np.ndarray,
    groups: np.ndarray,
    scored: np.ndarray,
    draws: int,
    count: Callable[[int], None] = lambda battles: None,
) -> LearningCurve:
    """The curve of n battles with fold numbers and groups (prompts), both (n,), scored on the folds `scored`.

    `count` is called after each fit with the battles that it learnt from; `planned` says how many that will be.
    """
    losses, battles = dict[str, np.ndarray](), np.zeros(len(SHARES))
    for fold in scored:
        held, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        # The largest share first: what is chosen for all of them can be chosen on it.
        for at, share in reversed([*enumerate(SHARES)]):
            repeated = _draws(share, draws)
            for draw in range(repeated):
                train = drawn(rest, groups, share, draw)
                for name, values in fit_and_score(train, held).items():
                    losses.setdefault(name, np.zeros((len(SHARES), len(folds))))[at, held] += values / repeated
                battles[at] += len(train) / repeated / len(scored)
                count(len(train))
    rows = np.flatnonzero(np.isin(folds, scored))
    return LearningCurve(SHARES, battles, rows, {name: table[:, rows] for name, table in losses.items()}, draws)


def drawn(rest: np.ndarray, groups: np.ndarray, share: float, draw: int) -> np.ndarray:
    """Of the positions `rest` those of about a share of their battles: whole groups, in the order of a seeded draw."""
    if share == 1:
        return rest
    codes, sizes = np.unique(groups[rest], return_inverse=True, return_counts=True)[1:]
    order = np.random.default_rng((_SEED, draw)).permutation(len(sizes))
    kept = np.zeros(len(sizes), dtype=bool)
    # At least one group; the one that crosses the share is left out.
    kept[order[: max(1, int(np.searchsorted(np.cumsum(sizes[order]), share * len(rest), side="right")))]] = True
    return rest[kept[codes]]


def planned(folds: np.ndarray, scored: np.ndarray, draws: int) -> int:
    """The battles that the fits of a curve learn from, all together: about what `count` will add up to."""
    outside = sum(int((folds != fold).sum()) for fold in scored)
    return round(outside * sum(share * _draws(share, draws) for share in SHARES))


def _draws(share: float, draws: int) -> int:
    return 1 if share == 1 else draws
