"""The stacker's regression fitted anew to some of the battles: what a learning curve asks of the level above the bases.

It stands for the stacker, whose boosters would have to be tuned again for every share.
"""

from functools import lru_cache, partial

import numpy as np

from models.stacking.inner_cv import MetaModel
from models.stacking.inputs import TrainingInputs
from models.stacking.level1_data import Level1Data
from models.stacking.logistic import PENALTIES, Regression, Strength, choose_strength
from models.stacking.settings import Stack
from models.stacking.smoothing import smoothed_fit
from oof.learning_curve import FitAndScore
from oof.metrics import row_losses
from oof.probabilities import softmax

REGRESSION = "stacker's regression, bases as they are"
# The penalties that are compared, and the battles on which they are: a penalty of a summed log loss is the precision of
# a prior, so one does for every share. Fewer of both than the stacker has time for.
_PENALTIES = PENALTIES[::2]
_CHOSEN_ON, _VALIDATED_ON = 4_000, 200
_SEED = 3


def choose(data: Level1Data, settings: Stack) -> Strength:
    """The strength of a regression on these battles, by cross-validation on the first of their folds."""
    if len(data) > _CHOSEN_ON:
        data = data.rows(np.sort(np.random.default_rng(_SEED).choice(len(data), _CHOSEN_ON, replace=False)))
    return choose_strength(data, data.meta.has_features, settings.symmetries[:1], _VALIDATED_ON, _PENALTIES)


def fit_regression(data: Level1Data, strength: Strength) -> MetaModel:
    """The candidate `features`, or `regression` without handcrafted columns."""
    fit = smoothed_fit(partial(Regression.fit, strength=strength, features=data.meta.has_features), data.ties)
    return fit(data.meta, data.labels)


def losses(model: MetaModel, held: Level1Data) -> np.ndarray:
    """Log losses (n,) of a model on battles that it has not seen."""
    return row_losses(softmax(model.logits(held.meta)), held.labels)


def regression_refits(training: TrainingInputs, settings: Stack) -> FitAndScore:
    """Fits the regression to some of the covered battles; positions are theirs. The bases' predictions stay.

    What is scored on a fold learns from nested rows where there are some, as the stacker does. Its penalty is chosen on
    all battles outside of that fold.
    """
    data = training.data

    @lru_cache(maxsize=1)
    def outside(fold: int) -> tuple[Level1Data, Strength]:
        rest = training.outside(fold)
        return rest, choose(rest, settings)

    def fit_and_score(train: np.ndarray, held: np.ndarray) -> dict[str, np.ndarray]:
        fold = int(data.folds[held[0]])
        places = np.searchsorted(np.flatnonzero(data.folds != fold), train)
        rest, strength = outside(fold)
        return {REGRESSION: losses(fit_regression(rest.rows(places), strength), data.rows(held))}

    return fit_and_score
