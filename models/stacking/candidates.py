"""The candidates that always compete, fitted on the same rows, each with its figure on the same inner folds."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from models.stacking import blend
from models.stacking.boosters import Start, fit_booster, tells_places_apart
from models.stacking.inner_cv import Fit, Level1, cross_fitted
from models.stacking.logistic import CROSSINGS, Regression, Strength, choose_strength
from models.stacking.logistic_solver import convex_weights
from models.stacking.meta_features import Meta
from models.stacking.settings import AVERAGE, MIX, Stack
from models.stacking.studies import Where
from models.stacking.tuning import Tuned
from oof.metrics import log_loss, paired_standard_error, row_losses
from oof.probabilities import centred, softmax

# Half linear, half trees: with a thousand battles fixed weights beat fitted ones.
HALVES = {"regression": 0.25, "features": 0.25, "booster": 0.0, "handcrafted": 0.5}
HALVES_WITHOUT_FEATURES = {"regression": 0.2, "booster": 0.8}
# The mix: fitted weights, shrunk by a ridge penalty of the summed log loss to those of the average or, where bases are
# far better than features, to the regression on the bases alone.
MIX_PENALTY = 200.0
# Nats by which another candidate must lead the mix on the inner folds to be preferred: there the mix is made of models
# of fewer rows, and looked up to 0.0013 worse than the regression where it was better on the outer folds.
LEAD = 0.002


@dataclass(frozen=True)
class Mixture:
    """A logarithmic pool of fitted candidates: Σ weight · log-probabilities + bias (3,)."""

    members: Mapping[str, Level1]
    weights: np.ndarray
    bias: np.ndarray

    def logits(self, meta: Meta) -> np.ndarray:
        """Logits (n, 3)."""
        return self.pool(np.stack([centred(model.logits(meta)) for model in self.members.values()]))

    def pool(self, logs: np.ndarray) -> np.ndarray:
        """Logits (n, 3) from the members' centred log-probabilities (members, n, 3)."""
        return np.asarray(np.tensordot(self.weights, logs, axes=1) + self.bias)


@dataclass(frozen=True)
class Fitted:
    """Every candidate, fitted on the same rows.

    models: by name; chosen: the name preferred on the inner folds; inner: log losses on the inner folds
    (optimistic where something was tuned on them); seconds: of fitting, by name; tuned: the studies' outcomes.
    """

    models: Mapping[str, Level1]
    chosen: str
    inner: Mapping[str, float]
    seconds: Mapping[str, float]
    tuned: Mapping[str, Tuned]
    mirrored: bool

    def predict(self, meta: Meta) -> dict[str, np.ndarray]:
        """Probabilities (n, 3) of every candidate."""
        return {name: softmax(model.logits(meta)) for name, model in self.models.items()}


class _Bench:
    """The candidates fitted so far: models, inner logits, seconds since the one before."""

    def __init__(self, meta: Meta, labels: np.ndarray, folds: np.ndarray) -> None:
        self.rows = meta, labels, folds
        self.fits: dict[str, Fit] = {}
        self.models: dict[str, Level1] = {}
        self.inner: dict[str, np.ndarray] = {}
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def fit(self, name: str, fit: Fit) -> None:
        """A candidate that is fitted by one call, cross-fitted on the inner folds."""
        meta, labels, folds = self.rows
        self.fits[name] = fit
        self.add(name, fit(meta, labels), cross_fitted(fit, meta, labels, folds))

    def add(self, name: str, model: Level1, inner: np.ndarray) -> None:
        self.models[name], self.inner[name] = model, centred(inner)
        now = time.perf_counter()
        self.seconds[name], self._since = now - self._since, now

    def start(self, name: str, bases: bool) -> Start:
        return Start(self.models[name], self.fits[name], bases)


def fit(
    meta: Meta,
    labels: np.ndarray,
    folds: np.ndarray,
    settings: Stack,
    where: Where,
    study: str,
    groups: np.ndarray | None = None,
) -> Fitted:
    """Fits, tunes and compares every candidate on the given rows and nothing else.

    `folds` (n,) are these rows' fold ids, the inner folds. With a single one nothing can be validated: defaults
    stand, boosters have no trees and the optimal blend is chosen. `study` begins the names of Optuna studies in
    `where`. `groups` (n,): see `choose`.
    """
    position = settings.symmetric is not True
    bench = _Bench(meta, labels, folds)
    bench.fit("prior", partial(blend.prior, position=position))
    bench.fit("best_base", blend.best_base)
    bench.fit("equal_blend", lambda m, _: blend.equal_blend(m))
    bench.fit("blend", partial(blend.optimal_blend, position=position))
    crossings = CROSSINGS if settings.symmetric == "auto" else CROSSINGS[:1] if settings.symmetric else CROSSINGS[-1:]
    for name in ("regression", "features") if meta.has_features else ("regression",):
        strength = choose_strength(meta, labels, folds, name == "features", crossings, settings.tuning_rows)
        bench.fit(name, _regression(strength, name == "features"))
    starts = {"booster": bench.start("regression", bases=True)}
    if meta.has_features:
        starts["handcrafted"] = bench.start("prior", bases=False)
    mirrored = settings.symmetric is not False
    if settings.symmetric == "auto":
        mirrored = not tells_places_apart([*starts.values()][-1], meta, labels, folds, settings, groups)
    tuned = {}
    for name, start in starts.items():
        booster, found = fit_booster(start, meta, labels, folds, mirrored, settings, where, f"{study}-{name}")
        if found is not None:
            tuned[name] = found
        inner = bench.inner["regression" if start.bases else "prior"] if found is None else np.log(found.probabilities)
        bench.add(name, booster, inner)
    _add_mixtures(bench, position)
    losses = {name: row_losses(softmax(logits), labels) for name, logits in bench.inner.items()}
    # A booster's inner figure is the best of many on these very folds, and so is that of the average, which has no
    # fitted weights to discount it: both enter the choice through the mix only.
    honest = {name: values for name, values in losses.items() if name not in (*tuned, AVERAGE)}
    chosen = choose(honest, groups) if tuned else "blend"
    means = {name: float(values.mean()) for name, values in losses.items()}
    return Fitted(bench.models, chosen, means, bench.seconds, tuned, mirrored)


def _regression(strength: Strength, features: bool) -> Fit:
    return lambda m, y: Regression.fit(m, y, strength, features, bool(np.isfinite(strength.crossing)))


def _add_mixtures(bench: _Bench, position: bool) -> None:
    """The average at fixed weights, and the mix, whose weights are fitted on the members' inner predictions."""
    halves = HALVES if "features" in bench.models else HALVES_WITHOUT_FEATURES
    fixed = np.array([*halves.values()])
    members = {name: bench.models[name] for name in halves}
    logs = np.stack([bench.inner[name] for name in halves])
    average = Mixture(members, fixed, np.zeros(3))
    bench.add(AVERAGE, average, average.pool(logs))
    _, labels, folds = bench.rows
    tried = []
    alone = np.array([float(name == "regression") for name in halves])
    for centre in (fixed, alone):
        inner = np.zeros((len(labels), 3))
        for fold in np.unique(folds):
            held = folds == fold
            # With one fold only there are no other rows; the mix is not chosen then.
            rest = ~held if (~held).any() else held
            weights, bias = convex_weights(logs[:, rest], labels[rest], position, centre, MIX_PENALTY)
            inner[held] = np.tensordot(weights, logs[:, held], axes=1) + bias
        tried.append((log_loss(softmax(inner), labels), inner, centre))
    _, inner, centre = min(tried, key=lambda one: one[0])
    bench.add(MIX, Mixture(members, *convex_weights(logs, labels, position, centre, MIX_PENALTY)), inner)


def choose(losses: Mapping[str, np.ndarray], groups: np.ndarray | None = None) -> str:
    """The mix, unless others lead it by more than two paired standard errors and by `LEAD`: then the best of those.

    A shrunken pool of several models is a safer bet than the luckiest of them, whose inner figure is optimistic. Close
    relatives of the mix differ from it by little and steadily, so that the standard error alone would not do.
    losses: candidate → (n,), all on the same rows; groups (n,), if given, mark rows that are not independent.
    """
    safe = losses[MIX]
    means = {name: float(values.mean()) for name, values in losses.items()}
    ahead = [
        name
        for name, values in losses.items()
        if means[MIX] - means[name] > max(LEAD, 2 * paired_standard_error(safe, values, groups))
    ]
    return min(ahead, key=means.__getitem__, default=MIX)
