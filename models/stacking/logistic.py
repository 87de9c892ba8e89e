"""Candidates of multinomial logistic regression, on the bases alone or with the handcrafted features.

Both are corrections of the optimal blend, which is their offset: a ridge penalty shrinks them towards that blend and
not towards the prior, so that a strong penalty does no harm. It is chosen by cross-validation on the inner folds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.stacking.blend import Pool, optimal_blend
from models.stacking.inner_cv import leading_folds
from models.stacking.level1_data import Level1Data
from models.stacking.logistic_solver import Linear, Scaler
from models.stacking.meta_features import Block, Meta, Parts, join
from oof.metrics import row_losses
from oof.probabilities import softmax

# Penalty of the bases' columns in the regression with features, where only that of the features is chosen.
BASE_PENALTY = 100.0
# The penalties that are compared, the strongest first: each fit begins at the coefficients of the one before.
PENALTIES = (1000.0, 500.0, 250.0, 120.0, 60.0, 30.0, 10.0)


@dataclass(frozen=True)
class Strength:
    """How a regression is held back: the ridge penalty of a summed log loss on standardised columns, and its symmetry.

    A symmetric one has no position terms (see `logistic_solver`).
    """

    penalty: float = 100.0
    symmetric: bool = False


@dataclass(frozen=True)
class Regression:
    """The optimal blend plus a penalised linear correction; `features` says whether it sees more than the bases."""

    pool: Pool
    linear: Linear
    features: bool

    @classmethod
    def fit(cls, meta: Meta, labels: np.ndarray, strength: Strength, features: bool) -> "Regression":
        """Fits blend and correction on the votes (n,)."""
        return next(cls.path(meta, labels, [strength.penalty], strength.symmetric, features))

    @classmethod
    def path(
        cls, meta: Meta, labels: np.ndarray, penalties: Sequence[float], symmetric: bool, features: bool
    ) -> Iterator["Regression"]:
        """One fit per penalty on the same rows, each of which begins at the one before."""
        pool = optimal_blend(meta, labels, symmetric)
        columns, offset = regression_parts(meta, features), pool.logits(meta)
        bases, linear = len(meta.bases), None
        for penalty in penalties:
            by_column = [
                np.where(np.arange(len(part.names)) < bases, BASE_PENALTY if features else penalty, penalty)
                for part in columns
            ]
            linear = Linear.fit(columns, labels, offset, np.concatenate(by_column), symmetric, linear)
            yield cls(pool, linear, features)

    def logits(self, meta: Meta) -> np.ndarray:
        """Centred logits (n, 3)."""
        return self.linear.logits(regression_parts(meta, self.features), self.pool.logits(meta))

    def to_json(self) -> dict[str, Any]:
        return {"pool": self.pool.to_json(), "linear": _lists(asdict(self.linear)), "features": self.features}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Regression":
        linear = dict(value["linear"])
        for name in ("odd_scaler", "even_scaler"):
            linear[name] = Scaler(**{key: np.array(numbers, dtype=np.float64) for key, numbers in linear[name].items()})
        linear["coefficients"] = np.array(linear["coefficients"])
        linear["odd"], linear["even"] = tuple(linear["odd"]), tuple(linear["even"])
        return cls(Pool.from_json(value["pool"]), Linear(**linear), value["features"])


def regression_parts(meta: Meta, features: bool) -> Parts:
    """The regression's columns: with `features` also the absolute value of each odd one, as close battles end in ties.

    The means of partner columns are left to the boosters: with a thousand battles they cost more than they explain.
    """
    if not features:
        return meta.base
    odd = meta.features.odd
    sizes = Block(tuple(f"size_{name}" for name in odd.names), np.abs(odd.values))
    return join([meta.base, meta.disagreement, meta.features, Parts(Block((), odd.values[:, :0]), sizes)])


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def choose_strength(
    data: Level1Data,
    features: bool,
    symmetries: Sequence[bool],
    rows: int,
    penalties: Sequence[float] = PENALTIES,
) -> Strength:
    """The strength of the lowest cross-validated log loss.

    The penalty is chosen first, for the first of `symmetries` (the values of `Strength.symmetric` that compete); at
    that penalty the others then compete. Losses are of the leading folds that hold `rows` rows. With a single fold
    nothing can be validated, and the default penalty stands.
    """
    first, *others = symmetries
    compared = leading_folds(data.folds, rows)
    if not len(compared):
        return Strength(symmetric=first)
    losses = _validate(data, compared, penalties, first, features)
    best, lowest = Strength(penalties[int(np.argmin(losses))], first), losses.min()
    for symmetric in others:
        loss = _validate(data, compared, [best.penalty], symmetric, features)[0]
        if loss < lowest:
            best, lowest = Strength(best.penalty, symmetric), loss
    return best


def _validate(
    data: Level1Data, compared: np.ndarray, penalties: Sequence[float], symmetric: bool, features: bool
) -> np.ndarray:
    """Summed log loss (penalties,) over the compared folds."""
    total = np.zeros(len(penalties))
    for _, rest, out in data.splits(compared):
        for i, model in enumerate(Regression.path(rest.meta, rest.labels, penalties, symmetric, features)):
            total[i] += row_losses(softmax(model.logits(out.meta)), out.labels).sum()
    return total
