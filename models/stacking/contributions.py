"""Why a stacker predicts what it does: every prediction as a sum over its inputs, exact to the rounding of floats.

In the two degrees of freedom of the logits, the lead and the tie (see `contrasts`), pools and regressions are sums over
their columns as they stand. Of boosted trees LightGBM gives SHAP values (`pred_contrib`; Lundberg et al. 2020), which
add up to the raw score. `forest_terms` and `kernel_terms` do for forests and kernels what a sum over columns takes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from battles.swap import SWAPPED_CLASSES
from models.stacking.blend import Pool
from models.stacking.contrasts import from_logits
from models.stacking.forest import Forest
from models.stacking.forest_terms import log_terms
from models.stacking.inner_cv import MetaModel
from models.stacking.kernel import KernelRidge
from models.stacking.kernel_terms import score_terms
from models.stacking.logistic import Regression, regression_parts
from models.stacking.logistic_solver import Linear
from models.stacking.meta_features import Meta, Parts
from models.stacking.mixture import Mixture
from models.stacking.residual_booster import Residual, column_names, columns
from models.stacking.smoothing import Smoothed
from models.stacking.two_classes import WithoutTie

# What belongs to no input: constants, and what trees give without looking at any column.
CONSTANT = "constant"
# The simpler model on top of which trees were grown, where they look at it; additive smoothing of tiny data.
MARGIN, SMOOTHING = "margin", "smoothing"
_CHUNK = 512

# Input → what it adds to lead and tie, (n, 2).
Sums = dict[str, np.ndarray]


@dataclass(frozen=True)
class Contributions:
    """values (n, inputs, 2): what each of the named inputs adds to the lead and the tie of n battles."""

    names: tuple[str, ...]
    values: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[tuple[np.ndarray, Sums]], rows: int) -> "Contributions":
        """Those of all battles from (places, sums of the battles there); an input that a part lacks adds 0 there."""
        names = tuple(sorted({name for _, sums in parts for name in sums}))
        values = np.zeros((rows, len(names), 2))
        for places, sums in parts:
            for name, of_input in sums.items():
                values[places, names.index(name)] = of_input
        return cls(names, values)


def contributions(model: MetaModel, meta: Meta) -> Contributions:
    """The contributions of n battles. An input is a base or a measure: its difference and its mean are one.

    Raises TypeError for a model of another kind.
    """
    return Contributions.joined([(np.arange(len(meta)), _in_chunks(model, meta))], len(meta))


def nested_contributions(models: Mapping[int, MetaModel], folds: np.ndarray, meta: Meta) -> Contributions:
    """The contributions of n battles, each by the model of its fold, (n,), which was fitted on other folds alone.

    What a model has no input for adds nothing. Raises TypeError as `contributions`.
    """
    places = {int(fold): np.flatnonzero(folds == fold) for fold in np.unique(folds)}
    found = [(at, _in_chunks(models[fold], meta.rows(at))) for fold, at in places.items()]
    return Contributions.joined(found, len(meta))


def base_weights(model: MetaModel, bases: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Base → what its log-odds are multiplied with in the linear part of a model: `lead` of A over B, and `tie`.

    What trees, forests and kernels make of a base on top of that is not linear, and only in `contributions`.
    """
    match model:
        case Pool():
            return {name: {"lead": model.weights[name], "tie": model.weights[name]} for name in bases}
        case Regression():
            linear = model.linear
            lead = _weights(linear, linear.odd, linear.odd_scaler.weight, 0)
            start = len(linear.odd) + 1 + (0 if linear.symmetric else len(linear.even))
            tie = _weights(linear, linear.even, linear.even_scaler.weight, start - linear.symmetric)
            pool = model.pool.weights
            return {
                name: {"lead": pool[name] + lead[f"{name}_lead"], "tie": pool[name] + tie[f"{name}_tie"]}
                for name in bases
            }
        case Residual():
            return base_weights(model.margin, bases)
        case Forest() | KernelRidge():
            return {name: {"lead": 0.0, "tie": 0.0} for name in bases}
        case Mixture():
            members = [base_weights(member, bases) for member in model.members.values()]
            return {
                name: {
                    of: float(sum(w * part[name][of] for w, part in zip(model.weights, members, strict=True)))
                    for of in ("lead", "tie")
                }
                for name in bases
            }
        case Smoothed():
            return base_weights(model.model, bases)
        case WithoutTie():
            inside = base_weights(model.model, bases)
            return {name: {"lead": weights["lead"], "tie": 0.0} for name, weights in inside.items()}
    raise TypeError(f"cannot explain a {type(model).__name__}")


def tree_gains(model: MetaModel, bases: tuple[str, ...]) -> dict[str, float]:
    """Input → its share of the gain of all trees of a model: of what splits on it took from the loss in training.

    LightGBM's `gain`. It is added up over boosters, so one that begins far from the votes counts for more than one that
    has little left to learn. Empty for a model without trees.
    """
    gains: dict[str, float] = {}
    for booster in _boosters(model):
        for column, gain in zip(booster.feature_name(), booster.feature_importance("gain").tolist(), strict=True):
            name = measure(column, bases)
            gains[name] = gains.get(name, 0.0) + gain
    total = sum(gains.values())
    return {name: gain / total for name, gain in gains.items()} if total > 0 else {}


def _boosters(model: MetaModel) -> list[lgb.Booster]:
    match model:
        case Residual():
            return [*model.boosters, *_boosters(model.margin)]
        case Mixture():
            return [booster for member in model.members.values() for booster in _boosters(member)]
        case Smoothed() | WithoutTie():
            return _boosters(model.model)
    return []


def _weights(linear: Linear, names: tuple[str, ...], scale: np.ndarray, start: int) -> dict[str, float]:
    """Coefficients of columns as they come, before they are scaled; `start` is the place of the first of them."""
    values = linear.coefficients[start : start + len(names)] * scale
    return dict(zip(names, values.tolist(), strict=True))


def _in_chunks(model: MetaModel, meta: Meta) -> Sums:
    """The sums of all battles, of some at a time: trees' contributions are large."""
    starts = range(0, len(meta), _CHUNK)
    parts = [_sums(model, meta.rows(np.arange(at, min(at + _CHUNK, len(meta))))) for at in starts]
    # Every chunk has the same inputs, whatever their values.
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})}


def _sums(model: MetaModel, meta: Meta) -> Sums:
    match model:
        case Pool():
            return _of_pool(model, meta)
        case Regression():
            sums = _of_pool(model.pool, meta)
            _add_linear(sums, model.linear, regression_parts(meta, model.features), meta.bases)
            return sums
        case Residual():
            sums = _sums(model.margin, meta)
            if model.boosters:
                _add_trees(sums, model, meta)
            return sums
        case Forest():
            return _of_forest(model, meta)
        case KernelRidge():
            return _of_kernel(model, meta)
        case Mixture():
            sums = {}
            for weight, member in zip(model.weights, model.members.values(), strict=True):
                for name, values in _sums(member, meta).items():
                    _add(sums, name, weight * values)
            _add(sums, CONSTANT, np.tile(_contrasts(model.bias[None]), (len(meta), 1)))
            return sums
        case Smoothed():
            sums = _sums(model.model, meta)
            _add(sums, SMOOTHING, _contrasts(model.logits(meta)) - _contrasts(model.model.logits(meta)))
            return sums
        case WithoutTie():
            sums = {name: values * (1, 0) for name, values in _sums(model.model, meta).items()}
            _add(sums, CONSTANT, _contrasts(model.logits(meta)) * (0, 1))
            return sums
    raise TypeError(f"cannot explain a {type(model).__name__}")


def _contrasts(logits: np.ndarray) -> np.ndarray:
    """Lead and tie (n, 2) of logits (n, 3)."""
    return np.stack(from_logits(logits), axis=1)


def _add(sums: Sums, name: str, values: np.ndarray) -> None:
    sums[name] = sums[name] + values if name in sums else values


def _of_pool(pool: Pool, meta: Meta) -> Sums:
    sums: Sums = {}
    for name, logs in zip(meta.bases, meta.logs, strict=True):
        _add(sums, name, pool.weights[name] * _contrasts(logs))
    _add(sums, CONSTANT, np.tile(_contrasts(pool.bias[None]), (len(meta), 1)))
    return sums


def _add_linear(sums: Sums, linear: Linear, parts: Parts, bases: tuple[str, ...]) -> None:
    odd, even = linear.odd_scaler.transform(parts.odd.values), linear.even_scaler.transform(parts.even.values)
    ones = np.ones((len(odd), 1))
    free = (linear.odd, linear.even) if linear.symmetric else ((*linear.odd, *linear.even), (*linear.even, *linear.odd))
    tables = (odd, even) if linear.symmetric else (np.hstack([odd, even]), np.hstack([even, odd]))
    at = 0
    for side, (names, table) in enumerate(zip(free, tables, strict=True)):
        # The tie of every model and the lead of one that may prefer a place end in a constant.
        if side or not linear.symmetric:
            names, table = (*names, CONSTANT), np.hstack([table, ones])
        products = table * linear.coefficients[at : at + len(names)]
        at += len(names)
        for name, product in zip(names, products.T, strict=True):
            values = np.zeros((len(table), 2))
            values[:, side] = product
            _add(sums, measure(name, bases), values)


def _add_trees(sums: Sums, model: Residual, meta: Meta) -> None:
    design = model.design
    table = columns(meta, model.margin.logits(meta), design)
    names = (*column_names(meta, design), CONSTANT)
    found = [booster.predict(table, pred_contrib=True, validate_features=True) for booster in model.boosters]
    by_class = model.tree_weight * np.mean(found, axis=0).reshape(len(table), 3, len(names))
    if design.symmetric:
        plain, exchanged = np.split(by_class, 2)
        by_class = (plain + exchanged[:, SWAPPED_CLASSES]) / 2
    a, b, tie = by_class.transpose(1, 0, 2)
    both = np.stack([a - b, tie - (a + b) / 2], axis=2)
    for at, name in enumerate(names):
        _add(sums, measure(name, meta.bases), both[:, at])


def _of_forest(model: Forest, meta: Meta) -> Sums:
    sums: Sums = {}
    found = log_terms(model, meta)
    for name, values in zip(found.names, found.terms.transpose(1, 0, 2), strict=True):
        _add(sums, measure(name, meta.bases), model.scale * _contrasts(values))
    constant = _contrasts((model.scale * found.start + model.bias)[None])
    _add(sums, CONSTANT, np.tile(constant, (len(meta), 1)))
    return sums


def _of_kernel(model: KernelRidge, meta: Meta) -> Sums:
    sums: Sums = {}
    found, calibration = score_terms(model, meta), model.calibration
    lead = found.terms[:, :, 0]
    # The calibrated tie is linear in the size of the lead and in the tie's score.
    of_size, of_tie = calibration.tie[1:] / calibration.deviation
    size = np.sign(lead.sum(axis=1))[:, None] * lead
    both = np.stack([2 * calibration.scale * lead, of_size * size + of_tie * found.terms[:, :, 1]], axis=2)
    for name, values in zip(found.names, both.transpose(1, 0, 2), strict=True):
        _add(sums, measure(name, meta.bases), values)
    # What is left is the average battle's tie, errors of quadrature, and what a floor of probabilities takes.
    _add(sums, CONSTANT, _contrasts(model.logits(meta)) - both.sum(axis=1))
    return sums


def measure(column: str, bases: tuple[str, ...]) -> str:
    """What a column of the stacker measures: `words` for `words_diff`, its size, `words_a-words_b` and their mean.

    The lead and the tie of a base are the base.
    """
    for base in bases:
        if column in (f"{base}_lead", f"{base}_tie"):
            return base
    if column in ("margin_lead", "margin_tie"):
        return MARGIN
    name = column.removeprefix("size_")
    if pair := re.fullmatch(r"(.+)_a[-+](.+)_b", name):
        return pair[1] if pair[1] == pair[2] else name
    return name.removesuffix("_diff")


def shares(found: Contributions) -> Mapping[str, float]:
    """Input → mean absolute contribution to the lead plus that to the tie, the largest first."""
    sizes = np.abs(found.values).mean(axis=0).sum(axis=1)
    return dict(sorted(zip(found.names, sizes.tolist(), strict=True), key=lambda item: -item[1]))
