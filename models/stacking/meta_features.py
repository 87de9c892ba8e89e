"""The stacker's inputs (meta-features): the base models' probabilities and the handcrafted features.

All columns are kept in two parts: exchanging the responses A and B changes the sign of *odd* columns and leaves *even*
ones as they are. A model whose lead of A over B is made of odd columns, and whose tie is made of even ones, is
symmetric by construction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.swap import NEGATE, SAME, swap_probabilities
from oof.probabilities import centred, log_probabilities


class Block(NamedTuple):
    """Named columns: values (n, len(names)), float64 for the bases, float32 for all others."""

    names: tuple[str, ...]
    values: np.ndarray


class Parts(NamedTuple):
    """Columns that change their sign when A and B are exchanged, and columns that do not."""

    odd: Block
    even: Block


@dataclass(frozen=True)
class Meta:
    """The stacker's inputs of n battles; made and checked by `make_meta`.

    logs: centred log-probabilities of the bases, (bases, n, 3). base: the lead and the tie of each base (see
    `contrasts`). disagreement: of the bases, and of the two orders of a base with swap TTA. features: the handcrafted
    ones, of pairs of partners (`words_a`, `words_b`) the differences. means: the means of such pairs.
    """

    bases: tuple[str, ...]
    logs: np.ndarray
    base: Parts
    disagreement: Parts
    features: Parts
    means: Parts

    def __len__(self) -> int:
        return self.logs.shape[1]

    @property
    def has_features(self) -> bool:
        return bool(self.features.odd.names or self.features.even.names)

    def rows(self, index: np.ndarray) -> "Meta":
        """The battles at `index` (numbers or mask)."""

        def cut(parts: Parts) -> Parts:
            return Parts(*(Block(block.names, block.values[index]) for block in parts))

        parts = (cut(group) for group in self._groups())
        return Meta(self.bases, self.logs[:, index], *parts)

    def exchanged(self) -> "Meta":
        """The same battles with A and B exchanged everywhere."""
        parts = (Parts(Block(odd.names, -odd.values), even) for odd, even in self._groups())
        return Meta(self.bases, swap_probabilities(self.logs), *parts)

    def _groups(self) -> tuple[Parts, ...]:
        return self.base, self.disagreement, self.features, self.means


def join(parts: Sequence[Parts]) -> Parts:
    """Several groups of columns as one."""
    blocks = []
    for side in zip(*parts, strict=True):
        names = tuple(name for block in side for name in block.names)
        blocks.append(Block(names, np.hstack([block.values for block in side])))
    return Parts(*blocks)


def make_meta(
    probabilities: Mapping[str, np.ndarray],
    orders: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    features: pd.DataFrame | None = None,
    swap: Mapping[str, str] | None = None,
) -> Meta:
    """The stacker's inputs of n battles.

    probabilities: base → (n, 3); orders: base with swap TTA → (plain, swapped), each (n, 3), `swapped` mapped back;
    features: n rows of finite numbers; swap: what exchanging A and B does to each (`battles.swap.swap_columns`).
    Raises BadInput for no base, shapes that differ, values that are not finite, an exchange that is not declared.
    """
    rows = _check(probabilities, orders or {})
    logs = np.stack([centred(log_probabilities(values)) for values in probabilities.values()])
    base = _parts(
        {f"{name}_lead": log[:, 0] - log[:, 1] for name, log in zip(probabilities, logs, strict=True)},
        # Of centred logits: the tie's minus the mean of the others'.
        {f"{name}_tie": 1.5 * log[:, 2] for name, log in zip(probabilities, logs, strict=True)},
        rows,
        np.float64,
    )
    table = pd.DataFrame(index=range(rows)) if features is None else features
    own, means = _feature_parts(table, swap or {}, rows)
    return Meta(tuple(probabilities), logs, base, _disagreement(probabilities, orders or {}, rows), own, means)


def _check(probabilities: Mapping[str, np.ndarray], orders: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> int:
    """The number of rows, which all probabilities must share."""
    if not probabilities:
        raise BadInput("stack: no base model; name at least one in run.bases")
    rows = len(next(iter(probabilities.values())))
    pairs = {f"{name}, one order": pair[i] for name, pair in orders.items() for i in (0, 1)}
    for name, values in {**probabilities, **pairs}.items():
        if values.shape != (rows, 3) or not np.isfinite(values).all():
            raise BadInput(f"base {name}: shape {values.shape} or rows that are not finite; give {rows} rows of three")
    return rows


def _parts(
    odd: Mapping[str, np.ndarray], even: Mapping[str, np.ndarray], rows: int, dtype: type[np.floating] = np.float32
) -> Parts:
    blocks = []
    for columns in (odd, even):
        values = np.empty((rows, len(columns)), dtype=dtype)
        for number, column in enumerate(columns.values()):
            values[:, number] = column
        blocks.append(Block(tuple(columns), values))
    return Parts(*blocks)


def _disagreement(
    probabilities: Mapping[str, np.ndarray], orders: Mapping[str, tuple[np.ndarray, np.ndarray]], rows: int
) -> Parts:
    odd, even = {}, {}
    for name, (plain, swapped) in orders.items():
        difference = centred(log_probabilities(plain)) - centred(log_probabilities(swapped))
        even[f"{name}_position_tilt"] = difference[:, 0] - difference[:, 1]
        even[f"{name}_order_gap"] = np.abs(difference[:, 0] - difference[:, 1])
    if len(probabilities) > 1:
        stacked = np.stack(list(probabilities.values())).astype(np.float64)
        lead = stacked[:, :, 0] - stacked[:, :, 1]
        odd["strongest_lead"] = np.take_along_axis(lead, np.abs(lead).argmax(axis=0)[None], axis=0)[0]
        even["lead_spread"] = lead.std(axis=0)
        even["tie_spread"] = stacked[:, :, 2].std(axis=0)
    return _parts(odd, even, rows)


def _feature_parts(features: pd.DataFrame, swap: Mapping[str, str], rows: int) -> tuple[Parts, Parts]:
    """The features' columns, of partners their differences; and the means of partners.

    A difference is left out where the features already hold it: `x_diff` beside `x_a` and `x_b`.
    """
    if len(features) != rows:
        raise BadInput(f"features: {len(features)} rows for {rows} battles; run the features step again")
    for name in features.columns:
        broken = ~np.isfinite(features[name].to_numpy(dtype=np.float32))
        if broken.any():
            raise BadInput(f"features: column {name}, row {broken.argmax()} is not finite; mend what computes it")
    odd, even, means = {}, {}, {}
    for name in features.columns:
        if name not in swap:
            raise BadInput(f"features: column {name} does not declare its exchange; add it to the swap metadata")
        rule, column = swap[name], features[name].to_numpy()
        if rule == NEGATE:
            odd[name] = column
        elif rule == SAME:
            even[name] = column
        elif rule not in features.columns or rule == name:
            raise BadInput(f"features: column {name} has the partner {rule!r}; name another column, same or negate")
        elif name < rule:
            column, partner = column.astype(np.float64), features[rule].to_numpy(dtype=np.float64)
            means[f"{name}+{rule}"] = (column + partner) / 2
            if not (name.endswith("_a") and swap.get(f"{name[:-2]}_diff") == NEGATE):
                odd[f"{name}-{rule}"] = column - partner
    return _parts(odd, even, rows), _parts({}, means, rows)
