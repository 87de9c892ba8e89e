"""The figures of learning curves: paired, by prompt, and in words as in the table."""

import numpy as np
import pytest

from oof.metrics import paired_standard_error
from report.learning import by_share
from tests.report.synthetic import learning


def test_points_are_means_and_paired_differences_to_all_battles() -> None:
    given = learning(400)
    models = by_share(given)
    assert list(models) == ["tfidf alone", "tfidf & <b>columns</b>"]
    for model, fall in zip(models, (0.2, 0.1), strict=True):
        quarter, half, everything = models[model]
        assert (quarter.battles, half.battles, everything.battles) == (80, 160, 320)
        assert (everything.change, everything.change_error) == (0, 0)
        assert quarter.change == pytest.approx(fall, abs=0.02)
        assert half.change == pytest.approx(fall * 2 / 3, abs=0.02)
        losses = given.curve.losses[model]
        assert half.log_loss == pytest.approx(losses[1].mean())
        # The battles are as hard for both shares: their difference is known far better than either loss.
        assert half.change_error == pytest.approx(paired_standard_error(losses[1], losses[2], given.groups))
        assert half.change_error < 0.6 * half.standard_error


def test_battles_of_one_prompt_count_as_one() -> None:
    given = learning(400)
    doubled = {name: np.repeat(values, 2, axis=1) for name, values in given.curve.losses.items()}
    curve = given.curve.__class__(given.curve.shares, given.curve.battles, np.arange(800), doubled, 2)
    twice = given.__class__(curve, np.repeat(given.groups, 2), given.fixed)
    for points, others in zip(by_share(given).values(), by_share(twice).values(), strict=True):
        assert [one.change_error for one in points] == pytest.approx([one.change_error for one in others])
