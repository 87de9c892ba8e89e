"""Level-1 candidates of multinomial logistic regression, on the bases alone or with the handcrafted features.

Both start from the optimal blend as an offset: the ridge penalty shrinks towards that blend and not towards
ignorance, so a strong penalty is safe. The penalties are chosen by cross-validation over folds of the fold table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.stacking.blend import Pool, optimal_blend
from models.stacking.inner_cv import enough
from models.stacking.logistic_solver import Linear, Scaler
from models.stacking.meta_features import Block, Meta, Parts, join
from oof.metrics import row_losses
from oof.probabilities import softmax

BASE_PENALTY = 100.0
PENALTIES = (1000.0, 500.0, 250.0, 120.0, 60.0, 30.0, 10.0)
CROSSINGS = (float("inf"), 10.0)


@dataclass(frozen=True)
class Strength:
    """Ridge penalty of a summed log loss: of standardised columns, and how many times that on crossed ones."""

    penalty: float = 100.0
    crossing: float = 10.0


@dataclass(frozen=True)
class Regression:
    """The optimal blend plus a penalised linear correction; `features` says whether it sees more than the bases."""

    pool: Pool
    linear: Linear
    features: bool

    @classmethod
    def fit(cls, meta: Meta, labels: np.ndarray, strength: Strength, features: bool, position: bool) -> "Regression":
        """Fits on all rows; without `position` nothing may tell the two places apart."""
        return next(cls.path(meta, labels, [strength], features, position))

    @classmethod
    def path(
        cls, meta: Meta, labels: np.ndarray, strengths: Sequence[Strength], features: bool, position: bool
    ) -> Iterator["Regression"]:
        """One fit per strength on the same rows, each warmed up by the one before."""
        pool = optimal_blend(meta, labels, position)
        columns, offset = _parts(meta, features), pool.logits(meta)
        bases, linear = len(meta.bases), None
        for strength in strengths:
            penalty = [
                np.where(
                    np.arange(len(part.names)) < bases, BASE_PENALTY if features else strength.penalty, strength.penalty
                )
                for part in columns
            ]
            crossing = strength.crossing if position else float("inf")
            linear = Linear.fit(columns, labels, offset, np.concatenate(penalty), crossing, linear)
            yield cls(pool, linear, features)

    def logits(self, meta: Meta) -> np.ndarray:
        """Centred logits (n, 3)."""
        return self.linear.logits(_parts(meta, self.features), self.pool.logits(meta))

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


def _parts(meta: Meta, features: bool) -> Parts:
    """Columns of the regression: of the features also the size of every difference, since close battles end in ties.

    The means of partner columns are left to the booster: with a thousand battles they cost more than they tell.
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
    meta: Meta, labels: np.ndarray, folds: np.ndarray, features: bool, crossings: Sequence[float], rows: int
) -> Strength:
    """The penalties of the lowest cross-validated log loss: first the penalty, then the crossing at that penalty.

    `crossings`: the multipliers that compete; the only entry inf means a symmetric model. The first folds that hold
    out `rows` rows are compared. With one fold only, nothing can be validated and the defaults stand.
    """
    first = crossings[0]
    compared = enough(folds, rows)
    if not len(compared):
        return Strength(crossing=first)
    strengths = [Strength(penalty, first) for penalty in PENALTIES]
    losses = _validate(meta, labels, folds, compared, strengths, features)
    best, lowest = strengths[int(np.argmin(losses))], losses.min()
    for crossing in crossings[1:]:
        rival = Strength(best.penalty, crossing)
        loss = _validate(meta, labels, folds, compared, [rival], features)[0]
        if loss < lowest:
            best, lowest = rival, loss
    return best


def _validate(
    meta: Meta,
    labels: np.ndarray,
    folds: np.ndarray,
    compared: np.ndarray,
    path: Sequence[Strength],
    features: bool,
) -> np.ndarray:
    """Summed log loss (strengths,) over the compared folds."""
    total = np.zeros(len(path))
    position = bool(np.isfinite(path[0].crossing))
    for fold in compared:
        held = folds == fold
        out = meta.rows(held)
        for i, model in enumerate(Regression.path(meta.rows(~held), labels[~held], path, features, position)):
            total[i] += row_losses(softmax(model.logits(out)), labels[held]).sum()
    return total
