"""What more battles would bring: which models of a run are fitted again on shares of its prompts, for the report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from battles.files import read_metadata, read_table
from battles.paths import RunPaths
from battles.schema import ID, labels
from models.stacking.inner_cv import leading_folds
from models.stacking.inputs import TrainingInputs, predicted_inputs
from models.stacking.level1_data import Level1Data
from models.stacking.logistic import Strength
from models.stacking.meta_features import Meta
from models.stacking.refit import REGRESSION, choose, fit_regression, losses, regression_refits
from models.stacking.settings import Stack
from models.tfidf.model import differences, fit_cross_fitted
from models.tfidf.settings import Tfidf
from oof.learning_curve import FitAndScore, learning_curve, planned
from oof.metrics import row_losses
from oof.probabilities import without_ties
from oof.table import MEAN
from report.inputs import Learning
from stages.common import section, stamp
from stages.run_tables import has_ties, read_split

# Battles that a curve is scored on: the first folds that hold so many. And battles up to which a share is drawn several
# times: of more of them one draw is much like another.
SCORED, REPEATED, DRAWS = 1_500, 4_000, 2
# Texts of more battles would take minutes to be read and fitted again.
MOST_TEXTS = 10_000
# Ratings that are learnt from the votes of all battles of other folds: a share must not see them.
_LEARNT_FROM_VOTES = "strength_"


@dataclass(frozen=True)
class _Plan:
    """A curve to be measured, of n battles: how its models are fitted, and on which folds and draws."""

    fit_and_score: FitAndScore
    folds: np.ndarray
    groups: np.ndarray
    fixed: str

    @property
    def scored(self) -> np.ndarray:
        return leading_folds(self.folds, SCORED)

    @property
    def draws(self) -> int:
        return DRAWS if len(self.folds) <= REPEATED else 1

    @property
    def work(self) -> int:
        return planned(self.folds, self.scored, self.draws)

    def measure(self, count: Callable[[int], None]) -> Learning:
        curve = learning_curve(self.fit_and_score, self.folds, self.groups, self.scored, self.draws, count)
        return Learning(curve, self.groups[curve.rows], self.fixed)


def measured(curves: Sequence[_Plan], units: int, count: Callable[[int], None]) -> Iterator[Learning]:
    """The curves, one after the other; `count` is called with `units` units of work altogether, as they are done."""
    work, done, told = sum(plan.work for plan in curves), 0, 0

    def add(battles: int) -> None:
        nonlocal done, told
        done += battles
        now = min(units, units * done // max(work, 1))
        count(now - told)
        told = now

    for plan in curves:
        yield plan.measure(add)
    count(units - told)


def plans(run: str, training: TrainingInputs, names: list[str]) -> list[_Plan]:
    """The curves of a run: of TF-IDF from the texts up, where it has that base, and of the stacker's regression."""
    stack, _ = section(run, "stack", Stack)
    data = training.data
    assert data.groups is not None
    found = []
    tfidf = [name for name in names if _kind(run, name) == "tfidf"]
    few = len(training.covered) <= MOST_TEXTS
    if tfidf and few:
        found.append(_from_texts(run, tfidf[0], stack))
    if data.fold_count > 1:
        fixed = f"{REGRESSION}: only the regression of the stacker is fitted again; what the bases predict stays."
        if tfidf and not few:
            fixed += f" TF-IDF is not fitted again, as there are more than {MOST_TEXTS:,} battles."
        found.append(_Plan(regression_refits(training, stack), data.folds, data.groups, fixed))
    return found


def _kind(run: str, name: str) -> str:
    """The kind of a base; none of one whose predictions were made elsewhere."""
    if stamp(run, "inputs")["table"]:
        return ""
    kind: str = stamp(run, name)["settings"]["kind"]
    return kind


def _from_texts(run: str, name: str, stack: Stack) -> _Plan:
    """TF-IDF alone, and the stacker's regression on it and the handcrafted columns: nothing is learnt elsewhere."""
    battles, folds = read_split(run)
    settings, _ = section(run, name, Tfidf)
    path = RunPaths(run).train_features
    swap = {key: rule for key, rule in read_metadata(path)["swap"].items() if not key.startswith(_LEARNT_FROM_VOTES)}
    columns = read_table(path, columns=[ID, *swap]).drop(columns=ID)
    rows, prompts, votes = differences(battles, settings), battles["prompt"].to_numpy(), labels(battles)
    numbers, groups, ties = folds["fold"].to_numpy(), folds["group"].to_numpy(), has_ties(run)

    def possible(probabilities: np.ndarray) -> np.ndarray:
        return probabilities if ties else without_ties(probabilities)

    def level1(at: np.ndarray, probabilities: np.ndarray) -> Level1Data:
        meta: Meta = predicted_inputs({name: {MEAN: probabilities}}, columns.iloc[at].reset_index(drop=True), swap)
        return Level1Data(meta, votes[at], numbers[at], groups[at], ties)

    # By the fold that is scored, as none of its battles may choose; the largest share is fitted first.
    strengths = dict[int, Strength]()

    def fit_and_score(train: np.ndarray, held: np.ndarray) -> dict[str, np.ndarray]:
        model, cross_fitted = fit_cross_fitted(rows.rows(train), prompts[train], votes[train], settings)
        predicted = possible(model.predict_differences(rows.rows(held)))
        learnt = level1(train, possible(cross_fitted))
        fold = int(numbers[held[0]])
        if fold not in strengths:
            strengths[fold] = choose(learnt, stack)
        regression = fit_regression(learnt, strengths[fold])
        return {
            f"{name} alone": row_losses(predicted, votes[held]),
            f"{name} and handcrafted columns": losses(regression, level1(held, predicted)),
        }

    fixed = (
        f"{name} alone, and with the stacker's regression on it and the handcrafted columns: fitted again from the "
        "texts up. Ratings of styles, which are learnt from votes, are left out."
    )
    return _Plan(fit_and_score, numbers, groups, fixed)
