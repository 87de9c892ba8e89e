"""The stacker: nested over the fold table's folds, and the candidate that ships.

For each outer fold everything, the choice among candidates included, is fitted on the other folds, which serve as inner
folds. The chosen candidates' predictions of their outer folds, put together, are the stack's out-of-fold table, and
their loss is the figure to report: it prices the tuning and the choosing in. What ships is fitted by the same
procedure on all rows; which of its candidates is decided on their nested losses.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from joblib import delayed

from battles.errors import BadInput
from battles.processes import parallel
from models.stacking.blend import optimal_blend
from models.stacking.candidates import Fitted, choose, fit
from models.stacking.inner_cv import cross_fitted
from models.stacking.meta_features import Meta, make_meta
from models.stacking.settings import STACK, Stack
from models.stacking.studies import Where, open_storage
from oof.metrics import log_loss, row_losses
from oof.probabilities import softmax


@dataclass(frozen=True)
class Nested:
    """The outcome of stacking n battles.

    probabilities: candidate, and `stack` for the procedure that chooses among them → nested (n, 3).
    outer: outer fold → what was fitted outside it. final: fitted on all rows; shipped: the candidate to use of it.
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
    meta: Meta,
    labels: np.ndarray,
    folds: np.ndarray,
    settings: Stack,
    where: Where,
    groups: np.ndarray | None = None,
    advance: Callable[[int], None] = lambda fits: None,
    study: str = "",
) -> Nested:
    """Nested predictions of n battles and a final fit on all of them.

    labels (n,) are 0, 1, 2; folds (n,) the fold table's ids; groups (n,), if given, mark battles that are not
    independent, for the standard errors of every choice. The studies are kept at `where`; their names begin with
    `study`. `advance` is called after each of the folds + 1 fits. Raises BadInput for fewer than two folds.
    """
    numbers = [int(number) for number in np.unique(folds)]
    if len(numbers) < 2:
        raise BadInput(f"stack: predictions cover only fold {numbers}; run the bases on at least two folds")
    open_storage(where)  # a database's tables are made once, before several processes want them
    # The fit on all rows is the longest: it starts first.
    tasks = [(np.ones(len(labels), dtype=bool), f"{study}final"), *((folds != k, f"{study}outer-{k}") for k in numbers)]
    jobs = (
        # Every process cuts its rows out of the same memory-mapped inputs.
        delayed(_fit_rows)(rest, meta, labels, folds, settings, where, name, groups)
        for rest, name in tasks
    )
    final, *fitted = _counted(parallel(min(settings.workers, len(tasks)), return_as="generator")(jobs), advance)
    outer = dict(zip(numbers, fitted, strict=True))
    probabilities = {name: np.zeros((len(labels), 3)) for name in (*final.models, STACK)}
    for number, model in outer.items():
        held = folds == number
        predicted = model.predict(meta.rows(held))
        for name, values in predicted.items():
            probabilities[name][held] = values
        probabilities[STACK][held] = predicted[model.chosen]
    losses = {name: row_losses(values, labels) for name, values in probabilities.items() if name != STACK}
    return Nested(probabilities, outer, final, choose(losses, groups))


def _fit_rows(
    rest: np.ndarray,
    meta: Meta,
    labels: np.ndarray,
    folds: np.ndarray,
    settings: Stack,
    where: Where,
    study: str,
    groups: np.ndarray | None,
) -> Fitted:
    of_groups = None if groups is None else groups[rest]
    return fit(meta.rows(rest), labels[rest], folds[rest], settings, where, study, of_groups)


def _counted(fits: Iterable[Fitted], advance: Callable[[int], None]) -> Iterator[Fitted]:
    for fitted in fits:
        advance(1)
        yield fitted


def leave_one_out(
    probabilities: Mapping[str, np.ndarray], labels: np.ndarray, folds: np.ndarray, settings: Stack
) -> dict[str, float]:
    """Base → how much the out-of-fold log loss of the optimal blend rises without it; {} for a single base.

    The blend stands for the stacker, which would have to be tuned once more for every base.
    """
    if len(probabilities) < 2:
        return {}
    fit_blend = partial(optimal_blend, position=settings.symmetric is not True)

    def loss(kept: Mapping[str, np.ndarray]) -> float:
        return log_loss(softmax(cross_fitted(fit_blend, make_meta(kept), labels, folds)), labels)

    everything = loss(probabilities)
    return {
        name: loss({key: values for key, values in probabilities.items() if key != name}) - everything
        for name in probabilities
    }


def describe(nested: Nested) -> dict[str, Any]:
    """What metrics.json says beside the candidates' figures, as JSON values.

    `optimistic` are the best trials' inner log losses of the final fit: the best of many on the rows they were
    chosen on.
    """
    final = nested.final
    return {
        "shipped": nested.shipped,
        "chosen": {str(fold): fitted.chosen for fold, fitted in nested.outer.items()},
        "optimistic": {name: tuned.loss for name, tuned in final.tuned.items()},
        "inner": dict(final.inner),
        "mirrored": final.mirrored,
        "recipes": {
            name: [dict(recipe.params) | {"rounds": recipe.rounds} for recipe in tuned.recipes]
            for name, tuned in final.tuned.items()
        },
    }
