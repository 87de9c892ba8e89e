"""What the stacker sees of a battle: the base models' probabilities and the handcrafted features.

Everything is kept in two parts with respect to exchanging the responses A and B: *odd* columns, which change
their sign, and *even* columns, which stay. A model of the two parts is symmetric by construction when odd columns
speak for A against B and even columns speak for a tie.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import commonprefix

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.swap import NEGATE, SAME, swap_columns, swap_probabilities

SMALLEST = 1e-6


@dataclass(frozen=True)
class Meta:
    """Level-1 inputs of n battles.

    probabilities: base name → (n, 3), rows sum to 1.
    orders: base name → (plain, swapped), each (n, 3), of bases with swap TTA; `swapped` is mapped back.
    features: n rows of finite numbers; swap: what exchanging A and B does to each of its columns.
    """

    probabilities: Mapping[str, np.ndarray]
    orders: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    features: pd.DataFrame = field(default_factory=pd.DataFrame)
    swap: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.probabilities:
            raise BadInput("stack: no base model; train at least one base (bases in params.yaml)")
        for name, values in self.probabilities.items():
            if values.shape != (len(self), 3) or not np.isfinite(values).all():
                raise BadInput(f"base {name}: shape {values.shape} or non-finite rows; give {len(self)} rows of three")
        missing = [column for column in self.features.columns if column not in self.swap]
        if missing:
            raise BadInput(f"features: column {missing[0]} does not declare its exchange; add it to the swap metadata")
        if self.features.shape[1]:
            if len(self.features) != len(self):
                raise BadInput(
                    f"features: {len(self.features)} rows for {len(self)} battles; run the features step again"
                )
            bad = ~np.isfinite(self.features.to_numpy(dtype=np.float64))
            if bad.any():
                row, column = np.argwhere(bad)[0]
                raise BadInput(
                    f"features: column {self.features.columns[column]}, row {row} is not finite; mend the column"
                )

    def __len__(self) -> int:
        return len(next(iter(self.probabilities.values())))

    @property
    def bases(self) -> list[str]:
        return list(self.probabilities)

    def rows(self, index: np.ndarray) -> "Meta":
        """The battles at `index` (numbers or mask)."""
        features = self.features.loc[np.asarray(index)] if index.dtype == bool else self.features.iloc[index]
        return Meta(
            {name: values[index] for name, values in self.probabilities.items()},
            {name: (plain[index], swapped[index]) for name, (plain, swapped) in self.orders.items()},
            features.reset_index(drop=True) if self.features.shape[1] else self.features,
            self.swap,
        )

    def exchanged(self) -> "Meta":
        """The same battles with A and B exchanged everywhere."""
        return Meta(
            {name: swap_probabilities(values) for name, values in self.probabilities.items()},
            {
                name: (swap_probabilities(back), swap_probabilities(plain))
                for name, (plain, back) in self.orders.items()
            },
            swap_columns(self.features, self.swap),
            self.swap,
        )

    def log_probabilities(self) -> np.ndarray:
        """Centred log-probabilities of the bases, shape (bases, n, 3), float64."""
        logs = np.log(np.maximum(np.stack([np.asarray(p, np.float64) for p in self.probabilities.values()]), SMALLEST))
        return logs - logs.mean(axis=2, keepdims=True)


Parts = tuple[pd.DataFrame, pd.DataFrame]


def base_parts(meta: Meta) -> Parts:
    """Odd and even columns of the bases: A's log-odds against B, and a tie's against the mean of both."""
    logs = dict(zip(meta.bases, meta.log_probabilities(), strict=True))
    odd = pd.DataFrame({f"{name}_lead": values[:, 0] - values[:, 1] for name, values in logs.items()})
    even = pd.DataFrame({f"{name}_tie": 1.5 * values[:, 2] for name, values in logs.items()})
    return odd, even


def disagreement_parts(meta: Meta) -> Parts:
    """How far the bases, and the two orders of a base with swap TTA, disagree."""
    odd, even = {}, {}
    for name, (plain, swapped) in meta.orders.items():
        logs = [np.log(np.maximum(np.asarray(values, np.float64), SMALLEST)) for values in (plain, swapped)]
        tilt = (logs[0] - logs[1])[:, 0] - (logs[0] - logs[1])[:, 1]
        even[f"{name}_position_tilt"] = tilt
        even[f"{name}_order_gap"] = np.abs(tilt)
    if len(meta.bases) > 1:
        stacked = np.stack([np.asarray(p, np.float64) for p in meta.probabilities.values()])
        lead = stacked[:, :, 0] - stacked[:, :, 1]
        even["lead_spread"] = lead.std(axis=0)
        even["tie_spread"] = stacked[:, :, 2].std(axis=0)
        odd["strongest_lead"] = np.take_along_axis(lead, np.abs(lead).argmax(axis=0)[None], axis=0)[0]
    index = pd.RangeIndex(len(meta))
    return pd.DataFrame(odd, index=index), pd.DataFrame(even, index=index)


def feature_parts(meta: Meta) -> Parts:
    """The handcrafted features: partner columns become their difference (odd) and their mean (even).

    The difference is left out where the features already hold one: `x_diff` beside `x_a` and `x_b`.
    """
    odd, even = {}, {}
    for name in meta.features.columns:
        rule = meta.swap[name]
        values = meta.features[name].to_numpy(dtype=np.float64)
        if rule == NEGATE:
            odd[name] = values
        elif rule == SAME:
            even[name] = values
        elif name == rule:
            raise BadInput(f"features: column {name} is its own partner; declare it as same or negate")
        elif name < rule:
            partner = meta.features[rule].to_numpy(dtype=np.float64)
            even[f"{name}+{rule}"] = (values + partner) / 2
            if meta.swap.get(f"{commonprefix([name, rule])}diff") != NEGATE:
                odd[f"{name}-{rule}"] = values - partner
    index = pd.RangeIndex(len(meta))
    return pd.DataFrame(odd, index=index), pd.DataFrame(even, index=index)
