"""The stacker's regression on a share: of all battles it is the candidate; it learns from nested rows."""

from dataclasses import replace

import numpy as np
import pytest

from models.stacking.inputs import TrainingInputs
from models.stacking.level1_data import Level1Data
from models.stacking.logistic import Regression, Strength
from models.stacking.refit import REGRESSION, choose, fit_regression, regression_refits
from oof.metrics import row_losses
from oof.probabilities import softmax
from tests.models.stacking.battles import QUICK, battles


def training(data: Level1Data, outside: Level1Data | None = None) -> TrainingInputs:
    """Inputs whose rows outside of a fold are those of `outside`, which has the same battles."""
    source = data if outside is None else outside
    return TrainingInputs(data, {}, np.ones(len(data), dtype=bool), {}, lambda fold: source.rows(source.folds != fold))


def test_of_all_battles_it_is_the_candidate_features() -> None:
    data = battles(200)
    held, rest = np.flatnonzero(data.folds == 2), np.flatnonzero(data.folds != 2)
    found = regression_refits(training(data), QUICK)(rest, held)[REGRESSION]
    train = data.rows(rest)
    model = Regression.fit(train.meta, train.labels, choose(train, QUICK), True)
    assert found == pytest.approx(row_losses(softmax(model.logits(data.meta.rows(held))), data.labels[held]))


def test_a_share_learns_from_its_own_battles_in_nested_rows() -> None:
    data = battles(200)
    held, some = np.flatnonzero(data.folds == 2), np.flatnonzero(data.folds != 2)[::2]
    # The penalty is the one of all battles outside of the scored fold.
    expected = fit_regression(data.rows(some), choose(data.rows(data.folds != 2), QUICK))
    found = regression_refits(training(data), QUICK)(some, held)[REGRESSION]
    assert found == pytest.approx(row_losses(softmax(expected.logits(data.meta.rows(held))), data.labels[held]))
    # Votes that only the nested rows have are what is learnt.
    turned = replace(data, labels=np.array([1, 0, 2])[data.labels])
    worse = regression_refits(training(data, turned), QUICK)(some, held)[REGRESSION]
    assert worse.mean() > found.mean() + 0.1


def test_without_features_it_is_the_regression_on_the_bases() -> None:
    data = battles(120)
    empty = data.meta.features._replace(
        odd=data.meta.features.odd._replace(names=(), values=data.meta.features.odd.values[:, :0]),
        even=data.meta.features.even._replace(names=(), values=data.meta.features.even.values[:, :0]),
    )
    model = fit_regression(replace(data, meta=replace(data.meta, features=empty)), Strength())
    assert isinstance(model, Regression)
    assert not model.features
