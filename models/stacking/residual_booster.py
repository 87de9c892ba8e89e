"""The residual booster: LightGBM learns only what its base margin leaves over.

The margin's logits are LightGBM's `init_score`, which LightGBM neither keeps in its model file nor adds when it
predicts. `Residual` is the one place that knows: it owns margin and trees, and its logits are always their sum.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd

from battles.swap import SWAPPED_CLASSES, swap_probabilities
from models.stacking.inner_cv import Level1
from models.stacking.logistic_solver import from_logits
from models.stacking.meta_features import Meta


def columns(meta: Meta, margin: np.ndarray, bases: bool, mirrored: bool = False) -> pd.DataFrame:
    """The booster's columns: the features, the means of paired ones; with `bases` also margin, bases, disagreement.

    float32, one row per battle; `mirrored` adds the same battles with A and B exchanged below.
    """
    groups = [*((meta.base, meta.disagreement) if bases else ()), meta.features, meta.means]
    names = [name for side in zip(*groups, strict=True) for block in side for name in block.names]
    if bases:
        names = ["margin_lead", "margin_tie", *names]
    rows = len(meta)
    # Filled in place: of a million battles there is no room for copies.
    values = np.empty(((1 + mirrored) * rows, len(names)), dtype=np.float32)
    for sign, part in ((1, values[:rows]), (-1, values[rows:])):
        if not len(part):
            continue
        at = 0
        if bases:
            lead, tie = from_logits(margin)
            part[:, 0], part[:, 1], at = sign * lead, tie, 2
        for of_side, side in zip((sign, 1), zip(*groups, strict=True), strict=True):
            for block in side:
                width = len(block.names)
                np.multiply(block.values, of_side, out=part[:, at : at + width], casting="same_kind")
                at += width
    # LightGBM refuses JSON's special characters in names.
    return pd.DataFrame(values, columns=[re.sub(r"[^\w+.-]", "_", name) for name in names], copy=False)


def fixed_params(seed: int, threads: int, max_bin: int) -> dict[str, Any]:
    """What every booster of a run shares: objective, determinism, threads, bins."""
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
    mirrored: bool,
    params: Mapping[str, Any],
    bases: bool,
    reference: lgb.Dataset | None = None,
) -> lgb.Dataset:
    """A LightGBM data set on top of `margin` (n, 3), the logits that the model has without trees.

    `mirrored` adds every battle once more with A, B, margin and vote exchanged, each order at weight ½.
    Held-out rows take the bins of their training set, `reference`.
    """
    table, start, votes = columns(meta, margin, bases, mirrored), margin, labels
    if mirrored:
        start = np.vstack([margin, swap_probabilities(margin)])
        votes = np.concatenate([labels, np.array(SWAPPED_CLASSES)[labels]])
    weight = np.full(len(votes), 0.5 if mirrored else 1.0)
    # 2-D (n, 3): a flattened init_score would have to be column-major.
    return lgb.Dataset(
        table,
        label=votes,
        weight=weight,
        init_score=start,
        reference=reference,
        params=dict(params),
    )


@dataclass(frozen=True)
class Recipe:
    """LightGBM params and the exact number of boosting rounds (three trees each); no early stopping."""

    params: Mapping[str, Any]
    rounds: int


@dataclass(frozen=True)
class Residual:
    """A base margin plus `share` times the mean of the boosters trained on top of it; without boosters, the margin.

    mirrored: trained on both orders and averaged over them; bases: the boosters see more than the features.
    """

    margin: Level1
    boosters: Sequence[lgb.Booster]
    share: float
    mirrored: bool
    bases: bool

    @classmethod
    def fit(
        cls,
        margin: Level1,
        meta: Meta,
        start: np.ndarray,
        labels: np.ndarray,
        recipes: Sequence[Recipe],
        mirrored: bool,
        bases: bool = True,
    ) -> "Residual":
        """One booster per recipe on the residual of `start`, out-of-fold logits (n, 3) of the margin's kind.

        A recipe of zero rounds has no booster, but a share in the mean: its residual is zero.
        """
        growing = [recipe for recipe in recipes if recipe.rounds > 0]
        boosters = []
        for recipe in growing:
            data = dataset(meta, start, labels, mirrored, recipe.params, bases)
            boosters.append(lgb.train(dict(recipe.params), data, num_boost_round=recipe.rounds))
        return cls(margin, boosters, len(growing) / max(len(recipes), 1), mirrored, bases)

    def logits(self, meta: Meta) -> np.ndarray:
        """Margin plus residual, (n, 3); probabilities are their softmax.

        A mirrored residual is the mean over both orders, so it is symmetric.
        """
        margin = self.margin.logits(meta)
        if not self.boosters:
            return margin
        table = columns(meta, margin, self.bases, self.mirrored)
        raw = [booster.predict(table, raw_score=True, validate_features=True) for booster in self.boosters]
        residual = np.asarray(self.share * np.mean(raw, axis=0))
        if self.mirrored:
            plain, exchanged = np.split(residual, 2)
            residual = (plain + swap_probabilities(exchanged)) / 2
        return margin + residual
