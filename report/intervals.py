"""95 % intervals of means over battles, by bootstrap over prompts: battles of one prompt are drawn together."""

import numpy as np

DRAWS = 1000
_SEED = 0
# Drawn counts that are held at a time: groups x draws.
_CELLS = 5_000_000


def bootstrap(values: np.ndarray, groups: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Means (draws, m) of values (n, m) over samples of the groups (n,), drawn with replacement (Efron 1979).

    Of one group alone every sample is the same.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1
    sums = np.stack([np.bincount(codes, weights=column) for column in values.T], axis=1)
    sizes = np.bincount(codes).astype(np.float64)
    generator = np.random.default_rng(_SEED)
    means, step = [], max(1, _CELLS // count)
    for start in range(0, draws, step):
        drawn = min(step, draws - start)
        weights = np.stack([resample(generator, count) for _ in range(drawn)])
        means.append(weights @ sums / (weights @ sizes)[:, None])
    return np.concatenate(means)


def resample(generator: np.random.Generator, count: int) -> np.ndarray:
    """How often each of `count` groups is drawn in a sample of as many with replacement, float64 (count,)."""
    return np.bincount(generator.integers(count, size=count), minlength=count).astype(np.float64)


def interval(means: np.ndarray) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of bootstrapped means (draws,)."""
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
