"""Features of a user's table that tell the votes too well to be honest.

A column made from the votes (the label under another name, a model's predictions of rows it was trained on) makes
every figure of the stack worthless, and the name of a column proves nothing. So a multinomial logistic regression on
the features alone is scored out-of-fold beside the best base. Features of texts know less than a model that reads them:
those that are far ahead of it were made from the votes.

Columns enter as ranks. A rank keeps any encoding of the three classes by three numbers, which stay linearly separable,
and one huge value cannot hide a column by making all others look alike. Limits: an encoding of the votes in several
columns that no single one shows (a vote exclusive-or a coin, beside the coin) passes; so does a little leakage; and
honest features beside nothing but bases near the prior may be refused, and may be let in.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from battles.schema import CLASSES
from oof.metrics import log_loss, paired_standard_error, row_losses
from oof.probabilities import log_probabilities

# Nats below the best base. Of real models, predictions of rows that a language model was trained on are 0.155 ahead of
# two honest language models; an honest one is 0.112 ahead of TF-IDF, handcrafted features are behind it.
AHEAD = 0.13
# Few battles are far apart by chance: so many standard errors of that difference, and battles, make a proof.
STANDARD_ERRORS, LEAST_BATTLES = 3.0, 30
# scikit-learn's C. Weak penalties let one column tell all it knows, strong ones keep hundreds of them from overfitting.
_INVERSE_PENALTIES = (0.1, 10.0)
# Held-out parts, each a union of whole folds: a table of fifty folds needs no fifty fits.
_PARTS = 5


def implausible(
    features: pd.DataFrame,
    probabilities: Mapping[str, np.ndarray],
    labels: np.ndarray,
    folds: np.ndarray,
    groups: np.ndarray,
) -> str | None:
    """Why features cannot be honest, naming the column that tells most, or None.

    All are of the same n battles: features (n, columns), finite; probabilities base → (n, 3); labels, folds and
    groups (n,). A badly calibrated base counts as it would be after calibration.
    """
    if not len(features.columns) or len(features) < LEAST_BATTLES:
        return None
    parts = np.unique(folds, return_inverse=True)[1] % _PARTS
    best = min(probabilities, key=lambda name: log_loss(probabilities[name], labels))
    calibrated = _out_of_fold_losses(log_probabilities(probabilities[best]), labels, parts)
    base_losses = min(row_losses(probabilities[best], labels), calibrated, key=lambda losses: float(losses.mean()))
    ranks = np.column_stack([_ranks(features[name].to_numpy()) for name in features.columns])
    losses = _out_of_fold_losses(ranks, labels, parts)
    ahead = float(base_losses.mean() - losses.mean())
    if ahead < max(AHEAD, STANDARD_ERRORS * paired_standard_error(losses, base_losses, groups)):
        return None
    alone = [float(_out_of_fold_losses(ranks[:, [column]], labels, parts).mean()) for column in range(ranks.shape[1])]
    worst = int(np.argmin(alone))
    return (
        f"column {features.columns[worst]}: the features alone reach a log loss of {losses.mean():.4f}, this one "
        f"{alone[worst]:.4f}, the best base {best} only {base_losses.mean():.4f}"
    )


def _ranks(column: np.ndarray) -> np.ndarray:
    """Average ranks scaled to -1 … 1."""
    return np.asarray(2 * rankdata(column) / (len(column) + 1) - 1)


def _out_of_fold_losses(columns: np.ndarray, labels: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Log loss (n,) of each battle under a logistic regression of the other parts, with the better of the penalties."""
    losses = np.empty((len(_INVERSE_PENALTIES), len(labels)))
    for part in np.unique(parts):
        held_out = parts == part
        for number, penalty in enumerate(_INVERSE_PENALTIES):
            predicted = _fit_predict(columns[~held_out], labels[~held_out], columns[held_out], penalty)
            losses[number, held_out] = row_losses(predicted, labels[held_out])
    return np.asarray(losses[losses.mean(axis=1).argmin()])


def _fit_predict(train: np.ndarray, votes: np.ndarray, columns: np.ndarray, penalty: float) -> np.ndarray:
    """Probabilities (n, 3) of the battles of `columns`; a class without training votes is rare, not impossible."""
    predicted = np.full((len(columns), CLASSES), 1 / (len(votes) + CLASSES))
    seen = np.unique(votes)
    if len(seen) > 1:
        model = LogisticRegression(C=penalty, max_iter=200, tol=1e-3).fit(train, votes)
        predicted[:, seen] = model.predict_proba(columns)
    else:
        predicted[:, seen] = 1.0
    return np.asarray(predicted / predicted.sum(axis=1, keepdims=True))
