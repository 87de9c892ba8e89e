"""The candidates that always compete, fitted on the same rows, each with its log loss on the same inner folds."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from models.stacking import blend
from models.stacking.boosters import InitScore, fit_booster
from models.stacking.contrasts import to_logs
from models.stacking.forest import Growth, fit_forest
from models.stacking.inner_cv import Fit, MetaModel, cross_fitted
from models.stacking.kernel import fit_kernel
from models.stacking.level1_data import Level1Data
from models.stacking.logistic import Regression, choose_strength
from models.stacking.meta_features import Meta
from models.stacking.mixture import WEIGHTS, WEIGHTS_WITHOUT_FEATURES, Mixture, mix_weights
from models.stacking.residual_booster import Design
from models.stacking.selection import choose
from models.stacking.settings import AVERAGE, MIX, Stack
from models.stacking.smoothing import few_votes, smoothed, smoothed_fit, smoothed_logits
from models.stacking.studies import StudyPlace
from models.stacking.symmetry import has_position_effect
from models.stacking.tuning import Tuned
from oof.metrics import row_losses
from oof.probabilities import centred, softmax

# The boosters as the names of their studies call them.
STUDIES = {"booster": "residual booster", "handcrafted": "handcrafted booster"}


@dataclass(frozen=True)
class Fitted:
    """Every candidate, fitted on the same rows.

    models: by name. chosen: the name preferred on the inner folds. inner: log losses on the inner folds, optimistic
    where something was tuned on them. seconds: of fitting, by name. tuned: the studies' outcomes. symmetric: whether
    the boosters are.
    """

    models: Mapping[str, MetaModel]
    chosen: str
    inner: Mapping[str, float]
    seconds: Mapping[str, float]
    tuned: Mapping[str, Tuned]
    symmetric: bool

    def predict(self, meta: Meta) -> dict[str, np.ndarray]:
        """Probabilities (n, 3) of every candidate."""
        return {name: softmax(model.logits(meta)) for name, model in self.models.items()}


class CandidateSet:
    """The candidates fitted so far: models, out-of-fold logits on the inner folds, seconds since the one before."""

    def __init__(self, data: Level1Data) -> None:
        self.data = data
        self.fits: dict[str, Fit] = {}
        self.models: dict[str, MetaModel] = {}
        self.inner: dict[str, np.ndarray] = {}
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def fit(self, name: str, fit: Fit) -> None:
        """Adds a candidate that one call fits, cross-fitted on the inner folds."""
        self.fits[name] = fit = smoothed_fit(fit, self.data.ties)
        self._keep(name, fit(self.data.meta, self.data.labels), cross_fitted(fit, self.data))

    def add(self, name: str, model: MetaModel, inner: np.ndarray) -> None:
        """Adds a fitted candidate with its out-of-fold logits (n, 3)."""
        labels, ties = self.data.labels, self.data.ties
        self._keep(name, smoothed(model, labels, ties), smoothed_logits(inner, labels, ties))

    def _keep(self, name: str, model: MetaModel, inner: np.ndarray) -> None:
        self.models[name], self.inner[name] = model, centred(inner)
        now = time.perf_counter()
        self.seconds[name], self._since = now - self._since, now

    def init_score(self, name: str) -> InitScore:
        """A candidate as the margin of a booster."""
        return InitScore(self.models[name], self.fits[name])


def fit(data: Level1Data, settings: Stack, place: StudyPlace) -> Fitted:
    """Fits, tunes and compares every candidate on the given rows and nothing else, their folds as inner folds.

    Optuna's studies are kept in `place`. With a single fold nothing can be validated: defaults
    stand, boosters have no trees, and the optimal blend is chosen, or the prior where votes are too few for it.
    """
    candidates = CandidateSet(data)
    add_linear(candidates, settings)
    symmetric, tuned = add_boosters(candidates, settings, place)
    add_forest(candidates, symmetric, settings)
    if data.meta.has_features:
        add_kernel(candidates)
    _add_mixtures(candidates, settings)
    losses = {name: row_losses(softmax(logits), data.labels) for name, logits in candidates.inner.items()}
    # A booster's inner loss is the lowest of many trials on these folds, and the average has no fitted weights that
    # would discount it: both enter the choice through the mix only.
    honest = {name: values for name, values in losses.items() if name not in (*tuned, AVERAGE)}
    unvalidated = "prior" if few_votes(data.labels, data.ties) else "blend"
    chosen = choose(honest, data.groups) if tuned else unvalidated
    means = {name: float(values.mean()) for name, values in losses.items()}
    return Fitted(candidates.models, chosen, means, candidates.seconds, tuned, symmetric)


def add_linear(candidates: CandidateSet, settings: Stack) -> None:
    """The prior, the blends and the regressions."""
    data, symmetric = candidates.data, settings.symmetric is True
    candidates.fit("prior", partial(blend.prior, symmetric=symmetric))
    candidates.fit("best_base", blend.best_base)
    candidates.fit("equal_blend", lambda meta, _: blend.equal_blend(meta))
    candidates.fit("blend", partial(blend.optimal_blend, symmetric=symmetric))
    for name in ("regression", "features") if data.meta.has_features else ("regression",):
        features = name == "features"
        strength = choose_strength(data, features, settings.symmetries, settings.tuning_rows)
        candidates.fit(name, partial(Regression.fit, strength=strength, features=features))


def boosters(meta: Meta) -> dict[str, tuple[str, bool]]:
    """The boosters that compete: name → the candidate that is its margin, and whether it sees the bases."""
    handcrafted = {"handcrafted": ("prior", False)} if meta.has_features else {}
    return {"booster": ("regression", True), **handcrafted}


def add_boosters(candidates: CandidateSet, settings: Stack, place: StudyPlace) -> tuple[bool, dict[str, Tuned]]:
    """The tuned boosters; returns whether they are symmetric, and the outcome of each study."""
    data = candidates.data
    starts = boosters(data.meta)
    symmetric = settings.symmetric is not False
    if settings.symmetric == "auto":
        # A position effect in the votes shows best on top of the simplest margin.
        margin, bases = [*starts.values()][-1]
        symmetric = not has_position_effect(candidates.fits[margin], bases, data, settings)
    tuned = {}
    for name, (margin, bases) in starts.items():
        init_score, design = candidates.init_score(margin), Design(bases, symmetric)
        booster, outcome = fit_booster(init_score, design, data, settings, place, STUDIES[name])
        if outcome is not None:
            tuned[name] = outcome
        candidates.add(name, booster, candidates.inner[margin] if outcome is None else to_logs(outcome.probabilities))
    return symmetric, tuned


def add_forest(candidates: CandidateSet, symmetric: bool, settings: Stack) -> None:
    """The forest, whose margin is the regression on the bases; symmetric as the boosters are."""
    margin, held_out = candidates.init_score("regression"), candidates.inner["regression"]
    growth = Growth(settings.trees)
    candidates.add("forest", *fit_forest(candidates.data, margin, held_out, symmetric, settings.seed, growth))


def add_kernel(candidates: CandidateSet) -> None:
    """The kernel ridge regression, whose width is chosen for what it adds to the other members of the average."""
    weights = {name: weight for name, weight in WEIGHTS.items() if name != "kernel"}
    others = np.average([candidates.inner[name] for name in weights], axis=0, weights=[*weights.values()])
    candidates.add("kernel", *fit_kernel(candidates.data, others, WEIGHTS["kernel"]))


def _add_mixtures(candidates: CandidateSet, settings: Stack) -> None:
    """The average and the mix of the candidates so far."""
    weights = WEIGHTS if "features" in candidates.models else WEIGHTS_WITHOUT_FEATURES
    members = {name: candidates.models[name] for name in weights}
    logs = np.stack([candidates.inner[name] for name in weights])
    average = Mixture(members, np.array([*weights.values()]), np.zeros(3))
    candidates.add(AVERAGE, average, average.pool(logs))
    fitted, bias, inner = mix_weights(logs, candidates.data, weights, settings.symmetric is True)
    candidates.add(MIX, Mixture(members, fitted, bias), inner)
