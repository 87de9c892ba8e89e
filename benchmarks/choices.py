"""What the stack's choices of trees, forest and kernel are worth, each beside what it could have been instead.

    python -m benchmarks.choices --csv FILE [--splits N]

For each split and outer fold the candidates are fitted outside of the fold, as `make stack` fits them. Then the
handcrafted trees, the forest or the kernel are replaced by others, and the mix is fitted again: trees of other params,
whose rounds are read off the inner folds as those of a trial, forests grown otherwise, and the kernel whose width is
best by itself. Each line has the nested log loss of the replaced candidate and of the mix, means of the splits, and the
mix's change from what it is, with the paired standard error, battles of one prompt counted as one.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.constants import Recorded, mixed
from benchmarks.real_battles import Split, read_split
from models.stacking.boosting_cv import boost_cv, inner_folds
from models.stacking.candidates import STUDIES, CandidateSet, add_boosters, add_forest, add_kernel, add_linear, boosters
from models.stacking.contrasts import to_logs
from models.stacking.forest import Growth, fit_forest
from models.stacking.inner_cv import cross_fitted
from models.stacking.kernel import fit_kernel
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import Meta
from models.stacking.mixture import MIX_PENALTY, WEIGHTS
from models.stacking.residual_booster import Design, Recipe, Residual, fixed_params
from models.stacking.settings import Stack
from models.stacking.studies import Storage, StudyPlace, finished, open_storage
from models.stacking.tuning import first_recipes
from oof.metrics import paired_standard_error, row_losses
from oof.probabilities import centred, softmax

AS_IT_IS = "as it is"
BEST = "trees: the best trial, whatever its lead"
# Changes of the first trial's params.
PARAMS: Mapping[str, Mapping[str, Any]] = {
    "trees: the first trial, whatever leads it": {},
    "trees: without randomised thresholds": {"extra_trees": False},
    "trees: 6 leaves": {"num_leaves": 6},
    "trees: at least 20 battles a leaf": {"min_child_samples": 20},
    "trees: L2 penalty 20": {"lambda_l2": 20.0},
    "trees: all of that but the leaves, rate 0.03, 30 % of the columns": {
        "extra_trees": False,
        "min_child_samples": 20,
        "lambda_l2": 20.0,
        "learning_rate": 0.03,
        "feature_fraction": 0.3,
        "bagging_fraction": 0.7,
    },
}
FORESTS: Mapping[str, Growth] = {
    "forest: at least 2 battles a leaf": Growth(leaf=2),
    "forest: 10 % of the columns": Growth(columns=0.1),
}
KERNEL = "kernel: the width that is best by itself"

# Out-of-fold logits on the inner folds, and logits of the held-out fold.
Logits = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Fold:
    """An outer fold's candidates, and by title what replaces one of them."""

    recorded: Recorded
    others: Mapping[str, Mapping[str, Logits]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--csv", type=Path, required=True, help="voted battles in the competition's format")
    parser.add_argument("--splits", type=int, default=3)
    given = parser.parse_args()
    splits = []
    for number in range(given.splits):
        split = read_split(given.csv, 20 + number)
        splits.append([replaced(split, fold, Stack()) for fold in split.outside])
        print(f"split {number + 1} of {given.splits} recorded", flush=True)
    for line in report(splits, split.data):
        print(line)


def replaced(split: Split, fold: int, settings: Stack) -> Fold:
    """The candidates outside of `fold`, and the others; nothing sees the fold."""
    rest, held = split.outside[fold], split.data.folds == fold
    meta, fitted = split.data.meta.rows(held), CandidateSet(rest)
    with tempfile.TemporaryDirectory() as folder:
        place = StudyPlace(Path(folder) / "study.journal", f"without fold {fold}")
        add_linear(fitted, settings)
        symmetric, _ = add_boosters(fitted, settings, place)
        add_forest(fitted, symmetric, settings)
        add_kernel(fitted)
        tried = {BEST: best_params(place.storage)}
    first = first_recipes(settings)[0]
    tried |= {title: {**first, **changes} for title, changes in PARAMS.items()}
    trees = trees_of(fitted, tried, symmetric, settings, meta)
    others = {title: {"handcrafted": logits} for title, logits in trees.items()}
    margin, held_out = fitted.init_score("regression"), fitted.inner["regression"]
    for title, growth in FORESTS.items():
        forest, inner = fit_forest(rest, margin, held_out, symmetric, settings.seed, growth)
        others[title] = {"forest": (centred(inner), centred(forest.logits(meta)))}
    kernel, inner = fit_kernel(rest, np.zeros((len(rest), 3)), 1.0)
    others[KERNEL] = {"kernel": (centred(inner), centred(kernel.logits(meta)))}
    outer = {name: centred(model.logits(meta)) for name, model in fitted.models.items()}
    return Fold(Recorded(rest, held, dict(fitted.inner), outer), others)


def best_params(storage: Storage) -> dict[str, Any]:
    """The params of the best trial of the handcrafted trees."""
    opened = open_storage(storage)
    name = next(one for one in optuna.get_all_study_names(opened) if one.startswith(STUDIES["handcrafted"]))
    return finished(optuna.load_study(study_name=name, storage=opened))[0].params


def trees_of(
    fitted: CandidateSet, tried: Mapping[str, Mapping[str, Any]], symmetric: bool, settings: Stack, meta: Meta
) -> dict[str, Logits]:
    """Handcrafted trees of given params, with the rounds that are best on the inner folds, in a bag of seeds."""
    data: Level1Data = fitted.data
    margin, bases = boosters(data.meta)["handcrafted"]
    start, design = fitted.init_score(margin), Design(bases, symmetric)
    fixed = fixed_params(settings.seed, settings.threads, settings.max_bin)
    inner, logits = inner_folds(start.fit, data, design, fixed), cross_fitted(start.fit, data)
    found = {}
    for title, params in tried.items():
        curve = boost_cv(inner, {**fixed, **params}, settings.rounds, settings.patience)
        recipes = [Recipe({**fixed, **params, "seed": settings.seed + k}, curve.rounds) for k in range(settings.bag)]
        model = Residual.fit(start.margin, data.meta, logits, data.labels, recipes, design)
        found[title] = centred(to_logs(curve.probabilities)), centred(model.logits(meta))
    return found


def report(splits: Sequence[Sequence[Fold]], data: Level1Data) -> Iterator[str]:
    """The lines of the table; `data` are all battles, whose votes and groups no split changes."""
    before = _losses(splits, data, AS_IT_IS)
    yield f"{AS_IT_IS:<68}{'':>7}  mix {before.mean():.4f}"
    for title in splits[0][0].others:
        after, alone = _losses(splits, data, title), _losses(splits, data, title, alone=True)
        error = paired_standard_error(after, before, data.groups)
        change = f"{(after - before).mean():+.4f} ± {error:.4f}"
        yield f"{title:<68}{alone.mean():7.4f}  mix {after.mean():.4f}  {change}"


def _losses(splits: Sequence[Sequence[Fold]], data: Level1Data, title: str, alone: bool = False) -> np.ndarray:
    """The mean over the splits of each battle's loss: of the mix, or of what is replaced alone."""
    total = np.zeros(len(data))
    for fold in (fold for split in splits for fold in split):
        recorded, changes = fold.recorded, fold.others.get(title, {})
        inner = {**recorded.inner, **{name: logits[0] for name, logits in changes.items()}}
        outer = {**recorded.outer, **{name: logits[1] for name, logits in changes.items()}}
        if alone:
            logits = outer[next(iter(changes))]
        else:
            logits = mixed(Recorded(recorded.rest, recorded.held, inner, outer), WEIGHTS, MIX_PENALTY)[1]
        total[recorded.held] += row_losses(softmax(logits), data.labels[recorded.held])
    return total / len(splits)


if __name__ == "__main__":
    main()
