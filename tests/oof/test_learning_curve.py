"""Learning curves: what is learnt from, that nothing scored is, and that the mean over draws is one."""

import numpy as np
import pytest

from oof.learning_curve import SHARES, drawn, learning_curve, planned

FOLDS = np.repeat(np.arange(4), 50)
# Prompts of one to four battles each, none in two folds.
GROUPS = np.concatenate([np.sort(np.random.default_rng(fold).integers(20, size=50)) + 100 * fold for fold in range(4)])


def test_a_share_is_of_whole_prompts_and_part_of_the_larger_one() -> None:
    rest = np.flatnonzero(FOLDS != 1)
    for draw in range(3):
        quarter, half, everything = (drawn(rest, GROUPS, share, draw) for share in SHARES)
        assert set(quarter) < set(half) < set(everything) == set(rest)
        for rows, share in ((quarter, 0.25), (half, 0.5)):
            assert share * len(rest) - 10 < len(rows) <= share * len(rest)
            left = np.setdiff1d(rest, rows)
            assert not set(GROUPS[rows]) & set(GROUPS[left])
    assert set(drawn(rest, GROUPS, 0.5, 0)) != set(drawn(rest, GROUPS, 0.5, 1))


def test_one_prompt_of_all_battles_is_taken_whole() -> None:
    assert drawn(np.arange(6), np.zeros(6), 0.25, 0).tolist() == [0, 1, 2, 3, 4, 5]


def test_no_fit_learns_from_a_prompt_that_it_is_scored_on_and_losses_are_means_over_draws() -> None:
    seen: list[tuple[int, int]] = []

    def fit_and_score(train: np.ndarray, held: np.ndarray) -> dict[str, np.ndarray]:
        assert len(set(FOLDS[held])) == 1
        assert not set(GROUPS[train]) & set(GROUPS[held])
        seen.append((len(train), int(FOLDS[held[0]])))
        return {"size": np.full(len(held), float(len(train))), "place": held.astype(np.float64)}

    counted: list[int] = []
    curve = learning_curve(fit_and_score, FOLDS, GROUPS, np.array([0, 2]), 3, counted.append)
    assert curve.rows.tolist() == np.flatnonzero(np.isin(FOLDS, [0, 2])).tolist()
    assert counted == [size for size, _ in seen]
    assert len(seen) == 2 * (3 + 3 + 1)
    # The largest share comes first.
    sizes = [size for size, fold in seen if fold == 2]
    assert sizes[0] == 150
    for at, taken in ((2, sizes[:1]), (1, sizes[1:4]), (0, sizes[4:])):
        assert curve.losses["size"][at, curve.rows >= 100] == pytest.approx(np.mean(taken))
        assert curve.losses["place"][at] == pytest.approx(curve.rows)
        assert curve.battles[at] == pytest.approx(curve.losses["size"][at].mean())
    assert planned(FOLDS, np.array([0, 2]), 3) == pytest.approx(sum(counted), rel=0.05)
