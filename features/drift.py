"""Drift: whether the battles to predict differ from those that were learnt from, and in which columns.

An adversarial classifier is trained to tell the two apart (adversarial validation). Its AUC is 0.5 where they are
alike, and 1 where one can always tell; out-of-fold figures then say less about the battles to predict.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold

from battles.schema import ID

# Battles of each side that are compared, drawn at random where there are more.
MOST_BATTLES = 5_000
LEAST_BATTLES = 50
_FOLDS, _ROUNDS, _SEED = 3, 40, 0
# An AUC above this is worth a warning, if it is not chance either.
WARN_AUC = 0.6
_SIGMAS = 3.0


@dataclass(frozen=True)
class Drift:
    """auc: of the classifier, cross-validated over prompts; chance: standard error of an AUC of 0.5 on so many battles.

    columns: `column, auc, train, test`, those that tell the two apart best alone, with their medians.
    """

    auc: float
    chance: float
    columns: pd.DataFrame

    @property
    def noticeable(self) -> bool:
        """Whether the difference is beyond chance and large enough to matter."""
        return self.auc > max(WARN_AUC, 0.5 + _SIGMAS * self.chance)

    def words(self) -> str:
        """One line for a person."""
        named = ", ".join(
            f"{row.column} (median {row.train:.3g}, test {row.test:.3g})" for row in self.columns.head(3).itertuples()
        )
        return (
            f"the test battles differ from the training battles: a classifier tells them apart with AUC {self.auc:.3f} "
            f"(0.5: alike); most by {named}. Out-of-fold figures may not hold for them"
        )


def drift(train: pd.DataFrame, test: pd.DataFrame) -> Drift | None:
    """Compares the feature tables of training and test battles; None where either has fewer than 50.

    Ratings learnt from votes are left out: they are fitted on other rows for the test battles, and differ by that.
    """
    names = [name for name in train.columns if name != ID and not name.startswith("strength_")]
    if min(len(train), len(test)) < LEAST_BATTLES or not names:
        return None
    generator = np.random.default_rng(_SEED)
    parts = [_drawn(table[names].to_numpy(dtype=np.float32), generator) for table in (train, test)]
    values, is_test = np.concatenate(parts), np.repeat([0, 1], [len(part) for part in parts])
    # Battles of one prompt share their prompt's columns: they must not stand on both sides of a split.
    of_prompt = [at for at, name in enumerate(names) if name.startswith("prompt_") and name[-2:] not in ("_a", "_b")]
    keys = values[:, of_prompt] if of_prompt else np.arange(len(values))[:, None]
    prompts = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    scores = np.zeros(len(values))
    for learn, held in StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=_SEED).split(values, is_test, prompts):
        model = HistGradientBoostingClassifier(max_iter=_ROUNDS, max_leaf_nodes=15, random_state=_SEED)
        scores[held] = model.fit(values[learn], is_test[learn]).predict_proba(values[held])[:, 1]
    alone = np.array([auc(column, is_test) for column in values.T])
    order = np.argsort(-np.abs(alone - 0.5), kind="stable")
    medians = [np.median(part, axis=0) for part in parts]
    columns = pd.DataFrame(
        {
            "column": np.array(names)[order],
            "auc": alone[order],
            "train": medians[0][order].astype(float),
            "test": medians[1][order].astype(float),
        }
    )
    sizes = len(parts[0]), len(parts[1])
    chance = float(np.sqrt((sum(sizes) + 1) / (12 * sizes[0] * sizes[1])))
    return Drift(auc(scores, is_test), chance, columns)


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of scores (n,) for 0/1 labels (n,): Mann and Whitney's statistic, ties half."""
    ranks = rankdata(scores)
    ones = int(positive.sum())
    return float((ranks[positive == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(positive) - ones)))


def _drawn(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if len(values) <= MOST_BATTLES:
        return values
    return values[np.sort(generator.choice(len(values), MOST_BATTLES, replace=False))]
