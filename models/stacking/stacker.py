"""The stacker: nested over the fold table's folds, and the candidate that ships.

For each outer fold everything, the choice among candidates included, is fitted on the other folds, which serve as inner
folds. The chosen candidates' predictions of their outer folds together are the stack's out-of-fold table, and their
loss is the figure to report: it includes the cost of tuning and selection. What ships is fitted by the same procedure
on all rows; which of its candidates that is, is decided on their nested losses.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from joblib import delayed

from battles.errors import BadInput
from battles.processes import parallel
from models.stacking.blend import optimal_blend
from models.stacking.candidates import Fitted, boosters, fit
from models.stacking.inner_cv import cross_fitted
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import make_meta
from models.stacking.selection import choose
from models.stacking.settings import STACK, Stack
from models.stacking.smoothing import smoothed_fit
from models.stacking.studies import Storage, StudyPlace, open_storage
from oof.metrics import paired_standard_error, row_losses
from oof.probabilities import softmax


@dataclass(frozen=True)
class Nested:
    """The outcome of stacking n battles.

    probabilities: candidate, and `stack` for the procedure that chooses among them → nested (n, 3).
    outer: outer fold → what was fitted outside of it. final: fitted on all rows; shipped: the candidate to use of it.
    """

    probabilities: Mapping[str, np.ndarray]
    outer: Mapping[int, Fitted]
    final: Fitted
    shipped: str

    def seconds(self) -> dict[str, float]:
        """Seconds that each candidate took, summed over the outer folds and the final fit."""
        fits = [self.final, *self.outer.values()]
        return {name: sum(fitted.seconds[name] for fitted in fits) for name in self.final.models}


def stack(
    data: Level1Data,
    settings: Stack,
    storage: Storage,
    study: str = "",
    count: Callable[[int], None] = lambda trials: None,
    outside: Callable[[int], Level1Data] | None = None,
) -> Nested:
    """Nested predictions of n battles, and a final fit on all of them.

    Studies are stored in `storage`; their names begin with `study`. `count` is called after each of `trial_count`
    trials, in the process that ran it. `outside` gives the battles outside of a fold where they are not just those of
    `data` (see `inputs.NestedRows`). Raises BadInput for fewer than two folds.
    """
    numbers = [int(number) for number in np.unique(data.folds)]
    if len(numbers) < 2:
        raise BadInput(f"stack: predictions cover only fold {numbers}; run the bases on at least two folds")
    open_storage(storage)  # makes a database's tables once, before several processes want them

    def jobs() -> Iterator[Any]:
        def place(rows: str) -> StudyPlace:
            return StudyPlace(storage, rows, study, count)

        # The fit on all rows takes longest: it starts first.
        yield delayed(_fit_rows)(data, None, settings, place("all battles"))
        for k in numbers:
            # Every process cuts its rows out of the same memory-mapped arrays, unless a fold has rows of its own.
            rows = (data, data.folds != k) if outside is None else (outside(k), None)
            yield delayed(_fit_rows)(*rows, settings, place(f"without fold {k}"))

    final, *fitted = parallel(min(settings.workers, len(numbers) + 1), pre_dispatch="n_jobs + 1")(jobs())
    outer = dict(zip(numbers, fitted, strict=True))
    probabilities = {name: np.zeros((len(data), 3)) for name in (*final.models, STACK)}
    for number, model in outer.items():
        held = data.folds == number
        predicted = model.predict(data.meta.rows(held))
        for name, values in predicted.items():
            probabilities[name][held] = values
        probabilities[STACK][held] = predicted[model.chosen]
    losses = {name: row_losses(values, data.labels) for name, values in probabilities.items() if name != STACK}
    return Nested(probabilities, outer, final, choose(losses, data.groups))


def _fit_rows(data: Level1Data, rest: np.ndarray | None, settings: Stack, place: StudyPlace) -> Fitted:
    return fit(data if rest is None else data.rows(rest), settings, place)


def trial_count(data: Level1Data, settings: Stack) -> int:
    """How many trials `stack` runs: those of every booster, for the fit on all battles and the one without each fold.

    With two folds the fits without one of them have a single fold left, on which nothing is tuned.
    """
    folds = data.fold_count
    return settings.trials * len(boosters(data.meta)) * (1 + (folds if folds > 2 else 0))


def leave_one_out(
    probabilities: Mapping[str, np.ndarray],
    labels: np.ndarray,
    folds: np.ndarray,
    groups: np.ndarray | None,
    settings: Stack,
    ties: bool = True,
) -> dict[str, dict[str, float]]:
    """Base → the rise of the optimal blend's out-of-fold log loss without it, and its standard error; {} for one base.

    probabilities: base → (n, 3); labels, folds, groups (n,) and `ties` as in `Level1Data`. The blend stands for the
    stacker, which would have to be tuned once more for every base. The keys are `change`, above 0 where the base helps,
    and `standard_error`.
    """
    if len(probabilities) < 2:
        return {}
    fit_blend = smoothed_fit(partial(optimal_blend, symmetric=settings.symmetric is True), ties)

    def losses(bases: Mapping[str, np.ndarray]) -> np.ndarray:
        return row_losses(softmax(cross_fitted(fit_blend, Level1Data(make_meta(bases), labels, folds))), labels)

    everything, result = losses(probabilities), {}
    for name in probabilities:
        without = losses({key: values for key, values in probabilities.items() if key != name})
        result[name] = {
            "change": float((without - everything).mean()),
            "standard_error": paired_standard_error(without, everything, groups),
        }
    return result


def describe(nested: Nested) -> dict[str, Any]:
    """The part of `metrics.json` that explains the stack, as JSON values.

    `optimistic` are the chosen trials' inner log losses of the final fit, on the rows they were chosen on.
    """
    final = nested.final
    return {
        "shipped": nested.shipped,
        "chosen": {str(fold): fitted.chosen for fold, fitted in nested.outer.items()},
        "optimistic": {name: tuned.loss for name, tuned in final.tuned.items()},
        "inner": dict(final.inner),
        "mirrored": final.symmetric,
        "recipes": {
            name: [dict(recipe.params) | {"rounds": recipe.rounds} for recipe in tuned.recipes]
            for name, tuned in final.tuned.items()
        },
    }
