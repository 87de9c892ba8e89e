"""Whether the order of the two responses matters to the votes or to the bases: a position effect."""

import numpy as np

from models.stacking.boosting_cv import boost_cv, inner_folds
from models.stacking.inner_cv import Fit, leading_folds
from models.stacking.level1_data import Level1Data
from models.stacking.residual_booster import Design, fixed_params
from models.stacking.selection import leads
from models.stacking.settings import Stack
from models.stacking.tuning import first_recipes
from oof.metrics import row_losses


def has_position_effect(fit: Fit, bases: bool, data: Level1Data, settings: Stack) -> bool:
    """Whether boosters that can tell A's place from B's beat symmetric ones by two standard errors on the inner folds.

    `fit` fits their margin; `bases` is that of `Design`. False for a single fold, on which nothing can be validated.
    """
    compared = leading_folds(data.folds, settings.tuning_rows)
    if not len(compared):
        return False
    rows = np.flatnonzero(np.isin(data.folds, compared))
    fixed = fixed_params(settings.seed, settings.threads, settings.max_bin)
    params = fixed | first_recipes(settings)[0]

    def losses(symmetric: bool) -> np.ndarray:
        inner = inner_folds(fit, data, Design(bases, symmetric), fixed, compared)
        curve = boost_cv(inner, params, settings.rounds, settings.patience)
        return row_losses(curve.probabilities[rows], data.labels[rows])

    symmetric, free = losses(True), losses(False)
    return leads(free, symmetric, None if data.groups is None else data.groups[rows], 2)
