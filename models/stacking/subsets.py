"""Stackers for battles that only some of the bases have read: for every subset at which a prediction can stop.

Where time runs out, a language model has read no battle, some of them, or all in one order only. Each subset of the
bases that may be there then has a stacker of its own, a regression on those bases and the features; the full set has
the one that ships. Log losses are cross-fitted: of each fold by models whose penalty too was chosen on the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import delayed

from battles.processes import parallel
from models.stacking import serialization
from models.stacking.inner_cv import MetaModel
from models.stacking.inputs import predicted_inputs
from models.stacking.level1_data import Level1Data
from models.stacking.logistic import Regression, choose_strength
from models.stacking.meta_features import Meta
from models.stacking.settings import Stack
from models.stacking.smoothing import smoothed_fit
from oof.metrics import row_losses
from oof.model_store import Variants
from oof.probabilities import softmax
from oof.table import MEAN, PLAIN, SWAPPED

FOLDER = "subsets"
# Of more language models than this there are too many subsets: then only those along their order of strength.
MOST = 5
# Stands for the bases where there is none.
NONE = "none"


@dataclass(frozen=True)
class Losses:
    """Cross-fitted log loss, in nats, when each language model of a subset has read one order, and when both."""

    plain: float
    both: float


@dataclass(frozen=True)
class Subsets:
    """Fitted stackers and their losses by `key`; the full set has losses only.

    names: all bases, in the order of the run. late: those whose rows may be missing. seconds: of each of them, what a
    battle took when the out-of-fold rows were predicted. shares (3,): of the votes.
    """

    names: tuple[str, ...]
    late: tuple[str, ...]
    models: Mapping[str, MetaModel]
    losses: Mapping[str, Losses]
    seconds: Mapping[str, float]
    shares: tuple[float, float, float]

    def key(self, late: Iterable[str]) -> str:
        """The name of the subset of these late bases and all others."""
        chosen = set(late)
        return ",".join(name for name in self.names if name not in self.late or name in chosen)

    def probabilities(
        self, variants: Mapping[str, Variants], features: pd.DataFrame, swap: Mapping[str, str], full: MetaModel
    ) -> np.ndarray:
        """Probabilities (n, 3) of n battles; `variants` may hold NaN rows, and lack late bases altogether.

        Each row is stacked by the model of the best subset of what it has; `full` is the one that ships.
        """
        rows = len(features)
        there = {name: has_rows(values) for name, values in variants.items() if name in self.late}
        patterns: dict[tuple[str, ...], list[int]] = {}
        for row in range(rows):
            patterns.setdefault(tuple(name for name, mask in there.items() if mask[row]), []).append(row)
        result = np.zeros((rows, 3))
        for late, members in patterns.items():
            at, chosen = np.array(members), self.best(late)
            model = full if set(chosen) == set(self.late) else self.models[self.key(chosen)]
            names = [name for name in self.names if name not in self.late or name in chosen]
            of_rows = {name: {kind: values[at] for kind, values in variants[name].items()} for name in names}
            meta = inputs_of(of_rows, features.iloc[at].reset_index(drop=True), swap)
            result[at] = softmax(model.logits(meta))
        return result

    def best(self, late: Sequence[str]) -> tuple[str, ...]:
        """Those of these late bases that a battle is stacked with: all, if they are all that there are, and else the
        subset of the least loss, so that a base which does harm without the others is left out."""
        if set(late) == set(self.late):
            return tuple(late)
        subsets = (some for size in range(len(late) + 1) for some in combinations(late, size))
        fitted = [some for some in subsets if self.key(some) in self.models]
        return min(fitted, key=lambda some: self.losses[self.key(some)].both)

    def save(self, folder: Path) -> None:
        """Writes the models and what is known of them to a folder."""
        losses = {key: [loss.plain, loss.both] for key, loss in self.losses.items()}
        about: dict[str, Any] = {"names": self.names, "late": self.late, "losses": losses}
        about |= {"seconds": dict(self.seconds), "shares": self.shares}
        serialization.save(folder, self.models, self.key(()), about)

    @classmethod
    def load(cls, folder: Path) -> "Subsets":
        """What `save` wrote; raises BadInput where it is missing or damaged."""
        about = serialization.read(folder)
        models = {key: serialization.load(folder, key) for key in about["models"]}
        losses = {key: Losses(*values) for key, values in about["losses"].items()}
        shares = tuple(about["shares"])
        return cls(tuple(about["names"]), tuple(about["late"]), models, losses, about["seconds"], shares)


def fit_subsets(
    variants: Mapping[str, Variants],
    features: tuple[pd.DataFrame, Mapping[str, str]],
    data: Level1Data,
    late: Sequence[str],
    seconds: Mapping[str, float],
    settings: Stack,
    shipped: float | None = None,
) -> Subsets:
    """Fits and scores a stacker for every subset of the late bases beside all others.

    variants: base → its out-of-fold rows, of the n battles of `data`. features: their columns, without `id`, and swap
    declarations. shipped: nested log loss of the stacker that ships, which is then the full set's. Of more than `MOST`
    late bases only the subsets along their order of strength are fitted.
    """
    names = tuple(variants)
    subsets = Subsets(names, tuple(late), {}, {}, seconds, _shares(data.labels, data.ties))
    always = _meta(subsets, variants, features, (), True)

    def inputs(chosen: tuple[str, ...], both: bool) -> Meta:
        """A subset's inputs; the columns of the features, the same for all, are held once."""
        meta = _meta(subsets, variants, features, chosen, both)
        return replace(meta, features=always.features, means=always.means)

    chosen_sets = _subsets(variants, data.labels, late)
    complete = {chosen: inputs(chosen, True) for chosen in chosen_sets}
    metas = {chosen: (inputs(chosen, False), complete[chosen]) for chosen in chosen_sets}
    first = replace(data, meta=always)
    folds = [data.folds == fold for fold in np.unique(data.folds)]
    # On all battles first, which takes longest.
    learnt = [np.ones(len(data), dtype=bool), *(~held for held in folds)]
    jobs = (delayed(_fit_all)(complete, first, rest, settings) for rest in learnt)
    everything, *without = parallel(min(settings.workers, len(learnt)), pre_dispatch="n_jobs + 1")(jobs)

    sums = {chosen: np.zeros(2) for chosen in metas}
    for held, fitted in zip(folds, without, strict=True):
        for chosen, model in fitted.items():
            for number, meta in enumerate(metas[chosen]):
                sums[chosen][number] += row_losses(softmax(model.logits(meta.rows(held))), data.labels[held]).sum()
    losses = {subsets.key(chosen): Losses(*(total / len(data)).tolist()) for chosen, total in sums.items()}
    if shipped is not None:
        full = losses[subsets.key(late)]
        losses[subsets.key(late)] = Losses(shipped + full.plain - full.both, shipped)
    models = {subsets.key(chosen): model for chosen, model in everything.items() if len(chosen) < len(late)}
    return Subsets(names, tuple(late), models, losses, seconds, subsets.shares)


def _fit_all(
    metas: Mapping[tuple[str, ...], Meta], first: Level1Data, rest: np.ndarray, settings: Stack
) -> dict[tuple[str, ...], MetaModel]:
    """Every subset's model of some battles (mask). The penalty is chosen once, on `first`: what is always there."""
    strength = choose_strength(first.rows(rest), True, settings.symmetries, settings.tuning_rows)
    fit = smoothed_fit(partial(Regression.fit, strength=strength, features=True), first.ties)
    return {chosen: fit(meta.rows(rest), first.labels[rest]) for chosen, meta in metas.items()}


def inputs_of(variants: Mapping[str, Variants], features: pd.DataFrame, swap: Mapping[str, str]) -> Meta:
    """The stacker's inputs; without a base, of one that knows nothing."""
    nothing = {NONE: {MEAN: np.full((len(features), 3), 1 / 3)}}
    return predicted_inputs(variants or nothing, features, swap)


def has_rows(variants: Variants) -> np.ndarray:
    """The mask (n,) of the battles that a base has read, in one order at least."""
    return np.asarray(np.isfinite(variants[MEAN]).all(axis=1))


def one_order(variants: Variants) -> Variants:
    """A base's rows as if the second order had not been read."""
    if SWAPPED not in variants:
        return variants
    return {MEAN: variants[PLAIN], PLAIN: variants[PLAIN], SWAPPED: np.full_like(variants[PLAIN], np.nan)}


def _meta(
    subsets: Subsets,
    variants: Mapping[str, Variants],
    features: tuple[pd.DataFrame, Mapping[str, str]],
    late: Sequence[str],
    both: bool,
) -> Meta:
    names = [name for name in subsets.names if name not in subsets.late or name in late]
    return inputs_of({name: variants[name] if both else one_order(variants[name]) for name in names}, *features)


def _subsets(variants: Mapping[str, Variants], labels: np.ndarray, late: Sequence[str]) -> list[tuple[str, ...]]:
    if len(late) <= MOST:
        return [some for size in range(len(late) + 1) for some in combinations(late, size)]
    strongest = sorted(late, key=lambda name: float(row_losses(variants[name][MEAN], labels).mean()))
    return [tuple(name for name in late if name in strongest[:size]) for size in range(len(late) + 1)]


def _shares(labels: np.ndarray, ties: bool) -> tuple[float, float, float]:
    """The shares of the votes, none of them 0 but that of ties where they are impossible."""
    counts = np.bincount(labels, minlength=3) + np.array([1, 1, int(ties)])
    a, b, tie = (counts / counts.sum()).tolist()
    return a, b, tie
