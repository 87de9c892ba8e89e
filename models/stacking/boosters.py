"""The two tuned boosters: one on the residual of the bases, one that knows the handcrafted features only.

The first starts at the regression on the bases and sees everything. The second starts at the prior, so that its errors
are independent of the bases': with few battles its average with them is better than the first, whose margin
was fitted without the features and is too sharp beside them, which trees cannot take back.
"""

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from battles.files import content_hash
from models.stacking import boosting_cv, residual_booster, studies, tuning
from models.stacking.boosting_cv import inner_folds
from models.stacking.inner_cv import Fit, MetaModel, cross_fitted, leading_folds
from models.stacking.level1_data import Level1Data
from models.stacking.residual_booster import Design, Residual, columns, fixed_params
from models.stacking.settings import Stack
from models.stacking.studies import StudyPlace, StudySpec
from models.stacking.tuning import Tuned, first_recipes, search_space, tune


@dataclass(frozen=True)
class InitScore:
    """Where a booster starts: its margin, fitted on all rows, and how to fit it on others."""

    margin: MetaModel
    fit: Fit


def fit_booster(
    init_score: InitScore, design: Design, data: Level1Data, settings: Stack, place: StudyPlace, name: str
) -> tuple[Residual, Tuned | None]:
    """Tunes a booster on the inner folds and fits the best recipes on all rows.

    `name` is the booster's in the name of its study in `place`, which ends in a hash of the data, so that only the same
    tuning is resumed. With a single fold nothing can be tuned: the booster has no trees, and the outcome of tuning is
    None.
    """
    if len(np.unique(data.folds)) < 2:
        return Residual(init_score.margin, [], 1.0, design), None
    fixed = fixed_params(settings.seed, settings.threads, settings.max_bin)
    inner = inner_folds(init_score.fit, data, design, fixed)
    spec = StudySpec(
        place.storage,
        place.name(name, _fingerprint(data, settings, design)),
        first_recipes(settings),
        {
            "rows": len(data),
            "inner_folds": len(inner),
            "bases": list(data.meta.bases) if design.bases else [],
            "symmetric": design.symmetric,
            "settings_hash": content_hash(settings.model_dump())[:16],
        },
    )
    tuned = tune(inner, len(leading_folds(data.folds, settings.tuning_rows)), settings, spec, place.count)
    logits = cross_fitted(init_score.fit, data)
    return Residual.fit(init_score.margin, data.meta, logits, data.labels, tuned.recipes, design), tuned


def _fingerprint(data: Level1Data, settings: Stack, design: Design) -> str:
    """Eight hex digits of everything that a trial's loss depends on: data, settings, ranges, code and libraries."""
    table = columns(data.meta, np.zeros((len(data), 3)), Design(bases=True, symmetric=False))
    arrays = (data.labels, data.folds, data.meta.logs, table.to_numpy())
    hashes = [hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() for array in arrays]
    given: Mapping[str, Any] = settings.model_dump(exclude={"trials", "workers", "threads", "bag", "trees"})
    ranges = {name: str(drawn) for name, drawn in search_space(len(data), settings).items()}
    code = [inspect.getsource(module) for module in (boosting_cv, residual_booster, studies, tuning)]
    versions = [version(library) for library in ("lightgbm", "numpy", "optuna")]
    inputs = [hashes, list(table.columns), given, design.symmetric, design.bases]
    return content_hash([inputs, ranges, code, versions])[:8]
