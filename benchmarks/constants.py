"""How the stack's figure depends on constants that were set by hand: the mix's weights and penalty, the least lead.

    python -m benchmarks.constants --csv FILE [--splits N]
    python -m benchmarks.constants --table lmsys_base_predictions.parquet

Everything that the constants do not touch is fitted once for each split and outer fold, outside of that fold: the
candidates, and their out-of-fold logits on the inner folds. What other constants would have given is then a matter of
seconds. Each line has the nested log loss, mean of the splits, and its change from the constants as they are with the
paired standard error, battles of one prompt counted as one.
"""

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

from benchmarks import stackers
from benchmarks.real_battles import FOLDS, Split, read_split
from models.stacking.candidates import CandidateSet, add_boosters, add_forest, add_kernel, add_linear
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import make_meta
from models.stacking.mixture import MIX_PENALTY, WEIGHTS, WEIGHTS_WITHOUT_FEATURES, mix_weights
from models.stacking.selection import MINIMUM_LEAD, choose
from models.stacking.settings import MIX, Stack
from models.stacking.studies import StudyPlace
from oof.metrics import log_loss, paired_standard_error, row_losses
from oof.probabilities import centred, softmax

PENALTIES = (1.0, 20.0, 60.0, 600.0, 2000.0, 1e6)
CHOSEN = (20.0, MIX_PENALTY)
LEADS = (0.0, 0.001, 0.004, 1.0)
OTHERS: Mapping[str, Sequence[Mapping[str, float]]] = {
    "with features": tuple(
        dict(zip(WEIGHTS, shares, strict=True))
        for shares in (
            (0.25, 0.25, 0, 0.25, 0.25, 0),
            (0.25, 0.25, 0, 0.25, 0, 0.25),
            (0.25, 0.25, 0, 0, 0.25, 0.25),
            (0.1, 0.3, 0, 0.2, 0.2, 0.2),
            (0.3, 0.1, 0, 0.2, 0.2, 0.2),
            (0.15, 0.15, 0, 0.3, 0.2, 0.2),
            (0.15, 0.15, 0, 0.2, 0.3, 0.2),
            (0.15, 0.15, 0, 0.2, 0.2, 0.3),
            (0.2, 0.2, 0, 0.25, 0.25, 0.1),
            (0.2, 0.2, 0, 0.1, 0.3, 0.2),
            (0.25, 0.25, 0, 0.15, 0.15, 0.2),
            (1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6),
        )
    ),
    "bases alone": tuple(
        dict(zip(WEIGHTS_WITHOUT_FEATURES, shares, strict=True))
        for shares in (
            (1, 0, 0),
            (0.2, 0.8, 0),
            (0.2, 0.6, 0.2),
            (0, 0.9, 0.1),
            (0, 0.7, 0.3),
            (0, 0.6, 0.4),
            (0.3, 0.4, 0.3),
        )
    ),
}


@dataclass(frozen=True)
class Recorded:
    """The candidates of one outer fold: logits on the inner folds of `rest` and on the battles `held` (mask)."""

    rest: Level1Data
    held: np.ndarray
    inner: Mapping[str, np.ndarray]
    outer: Mapping[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--csv", type=Path, help="voted battles in the competition's format")
    source.add_argument("--table", type=Path, help="predictions made elsewhere (see benchmarks.stackers)")
    parser.add_argument("--splits", type=int, default=3)
    given = parser.parse_args()
    splits = []
    for number in range(given.splits):
        split = read_split(given.csv, 20 + number) if given.csv else split_table(given.table, number)
        splits.append(record(split, Stack()))
        print(f"split {number + 1} of {given.splits} recorded", flush=True)
    for line in report(splits, split.data):
        print(line)


def split_table(path: Path, seed: int) -> Split:
    """Stratified folds of the battles of a table, as in `benchmarks.stackers`."""
    probabilities, labels = stackers.read(path)
    folds = np.zeros(len(labels), dtype=np.int64)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(splitter.split(labels, labels)):
        folds[held] = number
    data = Level1Data(make_meta(probabilities), labels, folds)
    return Split(data, {fold: data.rows(folds != fold) for fold in range(FOLDS)})


def record(split: Split, settings: Stack) -> list[Recorded]:
    """Every outer fold's candidates; tuning and choosing see nothing of the fold."""
    result = []
    for fold, rest in split.outside.items():
        held, fitted = split.data.folds == fold, CandidateSet(rest)
        with tempfile.TemporaryDirectory() as folder:
            add_linear(fitted, settings)
            place = StudyPlace(Path(folder) / "study.journal", f"without fold {fold}")
            symmetric, _ = add_boosters(fitted, settings, place)
        add_forest(fitted, symmetric, settings)
        if rest.meta.has_features:
            add_kernel(fitted)
        meta = split.data.meta.rows(held)
        outer = {name: centred(model.logits(meta)) for name, model in fitted.models.items()}
        result.append(Recorded(rest, held, dict(fitted.inner), outer))
    return result


def mixed(fold: Recorded, weights: Mapping[str, float], penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """The mix's logits on the inner folds and on the held-out fold."""
    inner, outer = (np.stack([logits[name] for name in weights]) for logits in (fold.inner, fold.outer))
    fitted, bias, logits = mix_weights(inner, fold.rest, weights, False, penalty)
    return logits, np.tensordot(fitted, outer, axes=1) + bias


def stacked(fold: Recorded, weights: Mapping[str, float], least_lead: float) -> np.ndarray:
    """The held-out logits of what is chosen on the inner folds."""
    inner, outer = mixed(fold, weights, MIX_PENALTY)
    tuned = ("booster", "handcrafted")
    candidates = {name: logits for name, logits in fold.inner.items() if name not in tuned} | {MIX: inner}
    losses = {name: row_losses(softmax(logits), fold.rest.labels) for name, logits in candidates.items()}
    chosen = choose(losses, fold.rest.groups, least_lead)
    return outer if chosen == MIX else fold.outer[chosen]


def report(splits: Sequence[Sequence[Recorded]], data: Level1Data) -> Iterator[str]:
    """The lines of the table; `data` are all battles, whose votes and groups no split changes."""

    def losses(predict: Callable[[Recorded], np.ndarray]) -> np.ndarray:
        """The mean over the splits of each battle's loss."""
        total = np.zeros(len(data))
        for fold in itertools.chain.from_iterable(splits):
            total[fold.held] += row_losses(softmax(predict(fold)), data.labels[fold.held])
        return total / len(splits)

    features = "features" in splits[0][0].inner
    weights = WEIGHTS if features else WEIGHTS_WITHOUT_FEATURES
    mix, chosen = losses(_mix(weights, MIX_PENALTY)), losses(_stack(weights, MINIMUM_LEAD))

    def line(title: str, predict: Callable[[Recorded], np.ndarray], beside: np.ndarray) -> str:
        found = losses(predict)
        error = paired_standard_error(found, beside, data.groups)
        return f"{title:<104}{found.mean():.5f}  {(found - beside).mean():+.5f} ± {error:.5f}"

    yield f"{'mix as it is':<104}{mix.mean():.5f}"
    for other in OTHERS["with features" if features else "bases alone"]:
        title = ", ".join(f"{name} {weight:.3g}" for name, weight in other.items() if weight)
        yield line(f"weights: {title}", _mix(other, MIX_PENALTY), mix)
    for penalty in PENALTIES:
        yield line(f"penalty {penalty:g} instead of {MIX_PENALTY:g}", _mix(weights, penalty), mix)
    yield line(f"penalty {CHOSEN[0]:g} or {CHOSEN[1]:g}, as inner folds choose", _chosen_penalty(weights), mix)
    yield f"{'what is chosen on the inner folds, as it is':<104}{chosen.mean():.5f}"
    for lead in LEADS:
        yield line(f"least lead {lead:g} instead of {MINIMUM_LEAD:g}", _stack(weights, lead), chosen)


def _mix(weights: Mapping[str, float], penalty: float) -> Callable[[Recorded], np.ndarray]:
    return lambda fold: mixed(fold, weights, penalty)[1]


def _chosen_penalty(weights: Mapping[str, float]) -> Callable[[Recorded], np.ndarray]:
    """The mix whose penalty has the lowest cross-fitted loss on the inner folds."""

    def predict(fold: Recorded) -> np.ndarray:
        tried = [mixed(fold, weights, penalty) for penalty in CHOSEN]
        return min(tried, key=lambda one: log_loss(softmax(one[0]), fold.rest.labels))[1]

    return predict


def _stack(weights: Mapping[str, float], least_lead: float) -> Callable[[Recorded], np.ndarray]:
    return lambda fold: stacked(fold, weights, least_lead)


if __name__ == "__main__":
    main()
