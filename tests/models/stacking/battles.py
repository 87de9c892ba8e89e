"""Synthetic battles for the stacker's tests: bases of known noise, features of which one matters."""

from typing import Any

import numpy as np
import pandas as pd

from models.stacking.contrasts import to_logits
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import make_meta
from models.stacking.settings import Stack
from oof.probabilities import softmax

QUICK = Stack(trials=1, rounds=12, patience=4, learning_rate=(0.2, 0.4), bag=1, trees=20, workers=1)


def battles(rows: int, seed: int = 0, orders: bool = False, bias: float = 0.0) -> Level1Data:
    """Inputs, votes and five folds; the lead depends on two bases, on feature `gap` and, by a threshold, on `step`."""
    given, labels = raw_battles(rows, seed, orders, bias)
    return Level1Data(make_meta(**given), labels, np.arange(rows) % 5)


def raw_battles(rows: int, seed: int = 0, orders: bool = False, bias: float = 0.0) -> tuple[dict[str, Any], np.ndarray]:
    """The arguments of `make_meta`, and the votes."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(2, rows))
    gap, step, length_a, length_b = rng.normal(size=(4, rows))
    truth = to_logits(latent[0] + 0.5 * gap + np.sign(step) * (np.abs(step) > 1) + bias, 0.6 * latent[1] - 0.3)
    labels = np.array([rng.choice(3, p=row) for row in softmax(truth)])
    probabilities, pairs = {}, {}
    for name, noise in (("good", 0.5), ("weak", 1.5)):
        lead = latent[0] + rng.normal(size=rows) * noise
        tie = 0.6 * latent[1] - 0.3 + rng.normal(size=rows) * noise / 2
        tilt = rng.normal(size=rows) * 0.2 + 0.1
        plain, swapped = softmax(to_logits(lead + tilt, tie)), softmax(to_logits(lead - tilt, tie))
        probabilities[name] = (plain + swapped) / 2
        if orders:
            pairs[name] = (plain, swapped)
    features = pd.DataFrame({"gap": gap, "step": step, "length_a": length_a, "length_b": length_b, "even": latent[1]})
    swap = {"gap": "negate", "step": "negate", "length_a": "length_b", "length_b": "length_a", "even": "same"}
    given = {"probabilities": probabilities, "orders": pairs, "features": features.astype("float32"), "swap": swap}
    return given, labels
