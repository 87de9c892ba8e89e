"""The candidates that always compete, fitted on the same rows, each with its figure on the same inner folds."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from battles.files import content_hash
from models import blend
from models.growth import Fit, cross_fitted, grow, inner_folds
from models.linear import softmax
from models.meta import Meta
from models.regression import CROSSINGS, Regression, Strength, choose_strength
from models.residual import Level1, Residual, columns, fixed_params
from models.stack_settings import Stack
from models.tuning import Tuned, first_recipe, tune
from report.metrics import paired_standard_error, row_losses

# From simple to elaborate.
CANDIDATES = ("prior", "best_base", "equal_blend", "blend", "regression", "features", "booster", "average")
# An elaborate candidate must beat a simpler one by this share of their paired standard error.
CAUTION = 0.1


@dataclass(frozen=True)
class Average:
    """Two fitted candidates, half each: the mean of their log-probabilities."""

    members: Mapping[str, Level1]

    def logits(self, meta: Meta) -> np.ndarray:
        """Logits (n, 3)."""
        return mean_logits([model.logits(meta) for model in self.members.values()])


def mean_logits(members: Sequence[np.ndarray]) -> np.ndarray:
    """The equal logarithmic pool of several models' logits (n, 3)."""
    return np.asarray(np.mean([np.log(softmax(logits)) for logits in members], axis=0))


@dataclass(frozen=True)
class Fitted:
    """Every candidate, fitted on the same rows.

    models: by name; chosen: the name preferred on the inner folds; inner: log losses on the inner folds
    (optimistic where something was tuned on them); seconds: of fitting, by name; tuned: the study's outcome.
    """

    models: Mapping[str, Level1]
    chosen: str
    inner: Mapping[str, float]
    seconds: Mapping[str, float]
    tuned: Tuned | None
    mirrored: bool

    def predict(self, meta: Meta) -> dict[str, np.ndarray]:
        """Probabilities (n, 3) of every candidate."""
        return {name: softmax(model.logits(meta)) for name, model in self.models.items()}


def fit(meta: Meta, labels: np.ndarray, folds: np.ndarray, settings: Stack, journal: Path, name: str) -> Fitted:
    """Fits, tunes and compares every candidate on the given rows and nothing else.

    `folds` (n,) are these rows' fold ids, the inner folds. With a single one nothing can be validated: defaults
    stand, the booster has no trees and the optimal blend is chosen. `name` is the Optuna study's in `journal`.
    """
    position = settings.symmetric is not True
    crossings = CROSSINGS if settings.symmetric == "auto" else CROSSINGS[:1] if settings.symmetric else CROSSINGS[-1:]
    fits: dict[str, Fit] = {
        "prior": lambda m, y: blend.prior(m, y, position),
        "best_base": blend.best_base,
        "equal_blend": lambda m, _: blend.equal_blend(m),
        "blend": lambda m, y: blend.optimal_blend(m, y, position),
    }
    models: dict[str, Level1] = {}
    inner: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def done(candidate: str, model: Level1, logits: np.ndarray) -> None:
        nonlocal started
        models[candidate], inner[candidate] = model, logits
        seconds[candidate] = time.perf_counter() - started
        started = time.perf_counter()

    for candidate, simple in fits.items():
        done(candidate, simple(meta, labels), cross_fitted(simple, meta, labels, folds))
    for candidate in ("regression", "features") if meta.has_features else ("regression",):
        strength = choose_strength(meta, labels, folds, candidate == "features", crossings)
        fits[candidate] = _regression(strength, candidate == "features")
        done(candidate, fits[candidate](meta, labels), cross_fitted(fits[candidate], meta, labels, folds))
    residual, tuned = _booster(fits["regression"], models["regression"], meta, labels, folds, settings, journal, name)
    done("booster", residual, inner["regression"] if tuned is None else np.log(tuned.probabilities))
    linear = "features" if "features" in models else "regression"
    done(
        "average", Average({n: models[n] for n in (linear, "booster")}), mean_logits([inner[linear], inner["booster"]])
    )
    losses = {candidate: row_losses(softmax(logits), labels) for candidate, logits in inner.items()}
    chosen = "blend" if tuned is None else choose(losses)
    means = {candidate: float(values.mean()) for candidate, values in losses.items()}
    return Fitted(models, chosen, means, seconds, tuned, residual.mirrored)


def choose(losses: Mapping[str, np.ndarray], groups: np.ndarray | None = None) -> str:
    """The candidate of the lowest mean loss; a simpler one stays where the elaborate one's lead is mere noise.

    losses: candidate → (n,), all on the same rows.
    """
    ordered = [name for name in CANDIDATES if name in losses]
    best = ordered[0]
    for name in ordered[1:]:
        lead = float(losses[best].mean() - losses[name].mean())
        if lead > CAUTION * paired_standard_error(losses[best], losses[name], groups):
            best = name
    return best


def _regression(strength: Strength, features: bool) -> Fit:
    return lambda m, y: Regression.fit(m, y, strength, features, bool(np.isfinite(strength.crossing)))


def _booster(
    fit_margin: Fit,
    margin: Level1,
    meta: Meta,
    labels: np.ndarray,
    folds: np.ndarray,
    settings: Stack,
    journal: Path,
    name: str,
) -> tuple[Residual, Tuned | None]:
    if len(np.unique(folds)) < 2:
        return Residual(margin, [], 1.0, True), None
    params = fixed_params(settings.seed, settings.threads, settings.max_bin)
    mirrored = settings.symmetric is not False
    inner = inner_folds(fit_margin, meta, labels, folds, mirrored, params)
    if settings.symmetric == "auto":
        # Position effects: does a residual that may tell the places apart do better, beyond noise?
        rival = inner_folds(fit_margin, meta, labels, folds, False, params)
        growths = [grow(i, params | first_recipe(settings), settings.rounds, settings.patience) for i in (inner, rival)]
        rows = [row_losses(growth.probabilities, labels) for growth in growths]
        if (rows[0] - rows[1]).mean() > paired_standard_error(*rows):
            inner, mirrored = rival, False
    tuned = tune(inner, settings, journal, f"{name}-{_fingerprint(meta, labels, folds, settings, mirrored)}")
    start = cross_fitted(fit_margin, meta, labels, folds)
    return Residual.fit(margin, meta, start, labels, tuned.recipes, mirrored), tuned


def _fingerprint(meta: Meta, labels: np.ndarray, folds: np.ndarray, settings: Stack, mirrored: bool) -> str:
    """Eight hex digits of everything a trial's loss depends on: a study is only resumed on the same data."""
    table = columns(meta, np.zeros((len(labels), 3)))
    arrays: list[Any] = [labels, folds, table.to_numpy()]
    parts = [hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for array in arrays]
    fixed = settings.model_dump(exclude={"trials", "workers", "threads", "bag"})
    return content_hash([parts, list(table.columns), fixed, mirrored])[:8]
