"""How much of the vote is style: what length alone and style alone predict, cross-fitted on the folds."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from battles.swap import swap_probabilities

# Inverse ridge penalty; with a handful of standardised columns it hardly matters.
_STRENGTH = 1.0


def style_probabilities(differences: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Out-of-fold probabilities (n, 3) of a logistic regression that knows nothing but style differences (n, columns).

    Odd in the differences for the lead and even for ties: it sees each difference and its size, and is averaged over
    both response orders. A vote that no other fold has is given 0.
    """
    inputs, exchanged = (np.hstack([sign * differences, np.abs(differences)]) for sign in (1, -1))
    probabilities = np.zeros((len(labels), 3))
    for fold in np.unique(folds):
        held, rest = folds == fold, folds != fold
        model = LogisticRegression(C=_STRENGTH, max_iter=500).fit(inputs[rest], labels[rest])
        for table, back in ((inputs, False), (exchanged, True)):
            predicted = np.zeros((int(held.sum()), 3))
            predicted[:, model.classes_] = model.predict_proba(table[held])
            probabilities[held] += (swap_probabilities(predicted) if back else predicted) / 2
    return probabilities
