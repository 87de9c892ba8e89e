"""The residual booster: LightGBM learns only what a simpler model, its margin, leaves over.

The margin's logits are LightGBM's `init_score`, which LightGBM neither keeps in its model file nor adds when it
predicts. `Residual` is the one place that adds them back.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd

from battles.swap import SWAPPED_CLASSES, swap_probabilities
from models.stacking.contrasts import from_logits
from models.stacking.inner_cv import MetaModel
from models.stacking.meta_features import Meta, Parts


@dataclass(frozen=True)
class Design:
    """The rows and columns that a booster sees.

    bases: whether the margin, the bases and their disagreement are columns beside the handcrafted features.
    symmetric: whether it is trained on both orders of every battle, and averaged over both when it predicts.
    """

    bases: bool
    symmetric: bool


def columns(meta: Meta, margin: np.ndarray, design: Design) -> pd.DataFrame:
    """The booster's columns, float32: the features and the means of paired ones; with `design.bases` also the rest.

    margin (n, 3) are the margin's logits. One row per battle; a symmetric design has n more below them, the same
    battles with A and B exchanged (see `average_orders`).
    """
    groups, names = _groups(meta, design), column_names(meta, design)
    rows = len(meta)
    # Filled in place: with a million battles there is no memory for copies.
    values = np.empty(((1 + design.symmetric) * rows, len(names)), dtype=np.float32)
    for sign, part in ((1, values[:rows]), (-1, values[rows:])):
        if not len(part):
            continue
        at = 0
        if design.bases:
            lead, tie = from_logits(margin)
            part[:, 0], part[:, 1], at = sign * lead, tie, 2
        for of_side, side in zip((sign, 1), zip(*groups, strict=True), strict=True):
            for block in side:
                width = len(block.names)
                np.multiply(block.values, of_side, out=part[:, at : at + width], casting="same_kind")
                at += width
    return pd.DataFrame(values, columns=_lightgbm_names(names), copy=False)


def _lightgbm_names(names: Sequence[str]) -> list[str]:
    """Names without JSON's special characters, which LightGBM refuses; those that are alike then get a number."""
    plain = [re.sub(r"[^\w+.-]", "_", name) for name in names]
    taken, unique = set(plain), []
    for place, name in enumerate(plain):
        number = 2
        if name in plain[:place]:
            while f"{name}_{number}" in taken:
                number += 1
            name = f"{name}_{number}"
            taken.add(name)
        unique.append(name)
    return unique


def _groups(meta: Meta, design: Design) -> list[Parts]:
    return [*((meta.base, meta.disagreement) if design.bases else ()), meta.features, meta.means]


def column_names(meta: Meta, design: Design) -> list[str]:
    """The booster's columns by the names of the meta-features, in the order of `columns`."""
    names = [name for side in zip(*_groups(meta, design), strict=True) for block in side for name in block.names]
    return ["margin_lead", "margin_tie", *names] if design.bases else names


def average_orders(scores: np.ndarray) -> np.ndarray:
    """Mean (n, 3) of the scores (2n, 3) of n battles and, below them, of the same battles with A and B exchanged."""
    plain, exchanged = np.split(scores, 2)
    return np.asarray((plain + swap_probabilities(exchanged)) / 2)


def fixed_params(seed: int, threads: int, max_bin: int) -> dict[str, Any]:
    """LightGBM params that all boosters of a run share: objective, determinism, threads, bins."""
    return {
        "objective": "multiclass",
        "num_class": 3,
        "metric": "None",
        "verbosity": -1,
        "deterministic": True,
        "force_col_wise": True,
        "feature_pre_filter": False,
        "bagging_freq": 1,
        "boost_from_average": False,
        "max_bin": max_bin,
        "seed": seed,
        "num_threads": threads,
    }


def dataset(
    meta: Meta,
    margin: np.ndarray,
    labels: np.ndarray,
    design: Design,
    params: Mapping[str, Any],
    reference: lgb.Dataset | None = None,
) -> lgb.Dataset:
    """A LightGBM data set of n battles and their votes (n,) on top of the margin's logits (n, 3).

    A symmetric design holds every battle in both orders, each with weight ½. Held-out rows are binned as their training
    set, `reference`, is.
    """
    table, init_score, votes = columns(meta, margin, design), margin, labels
    if design.symmetric:
        init_score = np.vstack([margin, swap_probabilities(margin)])
        votes = np.concatenate([labels, np.array(SWAPPED_CLASSES)[labels]])
    weight = np.full(len(votes), 0.5 if design.symmetric else 1.0)
    # 2-D (n, 3): a flattened init_score would have to be column-major.
    return lgb.Dataset(
        table,
        label=votes,
        weight=weight,
        init_score=init_score,
        reference=reference,
        params=dict(params),
    )


@dataclass(frozen=True)
class Recipe:
    """LightGBM params and the exact number of boosting rounds (three trees each), without early stopping."""

    params: Mapping[str, Any]
    rounds: int


@dataclass(frozen=True)
class Residual:
    """A margin plus `tree_weight` times the mean of the boosters trained on top of it; without boosters, the margin."""

    margin: MetaModel
    boosters: Sequence[lgb.Booster]
    tree_weight: float
    design: Design

    @classmethod
    def fit(
        cls,
        margin: MetaModel,
        meta: Meta,
        init_score: np.ndarray,
        labels: np.ndarray,
        recipes: Sequence[Recipe],
        design: Design,
    ) -> "Residual":
        """Trains one booster per recipe on votes (n,) on top of `init_score` (n, 3), out-of-fold logits of the margin.

        A recipe of zero rounds has no booster but counts in the mean, as a residual of zero.
        """
        boosted = [recipe for recipe in recipes if recipe.rounds > 0]
        boosters = []
        for recipe in boosted:
            data = dataset(meta, init_score, labels, design, recipe.params)
            boosters.append(lgb.train(dict(recipe.params), data, num_boost_round=recipe.rounds))
        return cls(margin, boosters, len(boosted) / max(len(recipes), 1), design)

    def logits(self, meta: Meta) -> np.ndarray:
        """Margin plus residual, (n, 3); probabilities are their softmax."""
        margin = self.margin.logits(meta)
        if not self.boosters:
            return margin
        table = columns(meta, margin, self.design)
        raw = [booster.predict(table, raw_score=True, validate_features=True) for booster in self.boosters]
        residual = np.asarray(self.tree_weight * np.mean(raw, axis=0))
        return margin + (average_orders(residual) if self.design.symmetric else residual)
