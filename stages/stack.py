"""Stacks the base models of a run: `oof/<run>/stack.parquet`, `metrics.json`, `models/runs/<run>/stack/`."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from battles.errors import BadInput
from battles.files import read_metadata, write_json
from battles.folds import fold_hash
from battles.paths import RunPaths
from battles.schema import ID, labels
from models.progress import Progress
from models.stacking import inputs, journal, serialization
from models.stacking.settings import STACK, Stack
from models.stacking.stacker import Nested, describe, leave_one_out, stack
from oof import table
from oof.leakage import suspects
from oof.metrics import calibrated_error
from oof.probabilities import softmax
from report.scores import score, text_table
from stages.common import (
    check_origin,
    code_version,
    guarded,
    has_test,
    library_versions,
    parser,
    read_split,
    read_unvoted,
    section,
    stamp,
)


def main() -> None:
    arguments = parser("Tunes, compares and ships the stacker on the run's base models and features.")
    arguments.add_argument("--storage", default="", help="database URL of the studies; a journal file without")
    arguments.add_argument("--workers", default="", help="processes side by side, instead of stack.workers")
    given = arguments.parse_args()
    run: str = given.run
    settings, params_hash = section(run, "stack", Stack)
    settings = _with_workers(settings, given.workers, given.storage)
    paths = RunPaths(run)
    about = stamp(run, "run")
    names: list[str] = about["bases"]
    battles, folds = read_split(run)
    _check_origins(run, names, fold_hash(folds))
    bases = {name: paths.predictions(name) for name in names}
    meta, probabilities, covered = inputs.training_inputs(bases, paths.features / "train.parquet", folds)
    # Read before anything is fitted, so that a damaged file costs no tuning and replaces nothing.
    unvoted, test_meta = read_unvoted(run, [ID]), None
    if unvoted is not None:
        tests = {name: paths.test_predictions(name) for name in names}
        test_meta = inputs.test_inputs(tests, paths.features / "test.parquet", unvoted[ID])
    if not covered.all():
        left = int((~covered).sum())
        print(f"stack: {left} of {len(covered)} battles are left out, as their folds were not run by every base")
    votes = labels(battles)[covered]
    kept = folds[covered]
    groups = kept["group"].to_numpy()

    if stamp(run, "inputs")["table"] and not about["allow_suspect"]:
        # The run's own bases are out-of-fold by construction; of others there is only their word.
        for name, reason in suspects(probabilities, votes).items():
            raise BadInput(
                f"base {name}: {reason}: as predictions of rows that it was trained on; leave it out of BASES, or, if "
                "its predictions are out-of-fold, give ALLOW_SUSPECT=1"
            )

    trials = paths.stack / "study.journal"
    said = journal.repair(trials, serialization.about(paths.stack).get("journal"))
    if said:
        print(f"stack: {said}")
    started = time.perf_counter()
    numbers = kept["fold"].to_numpy()
    with Progress("stack: fits outside each fold and on all", len(np.unique(numbers)) + 1) as progress:
        where = given.storage or trials
        # A database may hold several runs' studies.
        prefix = f"{run}-" if given.storage else ""
        nested = stack(meta, votes, numbers, settings, where, groups, progress.advance, prefix)
    seconds = time.perf_counter() - started

    about_stack: dict[str, Any] = {"bases": names, "settings": settings.model_dump()}
    if not given.storage:
        about_stack["journal"] = journal.seal(trials)
    serialization.save(paths.stack, nested.final.models, nested.shipped, about_stack)
    metadata: dict[str, Any] = {
        "base": STACK,
        "backbone": "stacker",
        "bases": names,
        "shipped": nested.shipped,
        "params_hash": params_hash,
        "code_version": code_version(),
        "libraries": library_versions(),
        "device": "cpu",
        "train_seconds": round(seconds, 3),
        "inference_seconds": 0.0,
    }
    everything = np.full((len(covered), 3), np.nan)
    everything[covered] = nested.probabilities[STACK]
    table.write(paths.predictions(STACK), folds, {table.MEAN: everything}, metadata)
    if test_meta is not None and unvoted is not None:
        probabilities_test = softmax(nested.final.models[nested.shipped].logits(test_meta))
        table.write_test(
            paths.test_predictions(STACK), unvoted[ID].tolist(), {table.MEAN: probabilities_test}, metadata
        )
    without = leave_one_out(probabilities, votes, numbers, settings)
    _report(paths, names, nested, probabilities, votes, groups, seconds, len(covered), without)


def _with_workers(settings: Stack, workers: str, storage: str) -> Stack:
    if workers:
        if not workers.isdecimal() or int(workers) < 1:
            raise BadInput(f"WORKERS: {workers!r}; give a number of processes, 1 or more")
        settings = settings.model_copy(update={"workers": int(workers)})
    if storage.startswith("sqlite") and settings.workers > 1:
        raise BadInput(
            f"STORAGE: SQLite does not bear {settings.workers} writers (Optuna's FAQ); "
            "give WORKERS=1, leave STORAGE out for a journal file, or give postgresql://…"
        )
    return settings


def _check_origins(run: str, names: list[str], folds: str) -> None:
    """Refuses tables of other settings or another split, as of another run; those made elsewhere have no settings."""
    if stamp(run, "inputs")["table"]:
        return
    paths = RunPaths(run)
    tables = {name: (paths.predictions(name), paths.test_predictions(name)) for name in names}
    tables["features"] = (paths.features / "train.parquet", paths.features / "test.parquet")
    for name, (voted, unvoted) in tables.items():
        for path in (voted, unvoted) if has_test(run) else (voted,):
            check_origin(path, {"params_hash": stamp(run, name)["hash"], "fold_hash": folds})


def _report(
    paths: RunPaths,
    names: list[str],
    nested: Nested,
    bases: Any,
    votes: np.ndarray,
    groups: np.ndarray,
    seconds: float,
    battles: int,
    without: Mapping[str, float],
) -> None:
    taken = {name: read_metadata(paths.predictions(name)) for name in names}
    spent = {
        name: found["train_seconds"] + found["inference_seconds"]
        for name, found in taken.items()
        if found["train_seconds"] is not None  # predictions made elsewhere do not say
    }
    base_scores = score(bases | {STACK: nested.probabilities[STACK]}, votes, STACK, spent, groups)
    candidate_scores = score(nested.probabilities, votes, STACK, nested.seconds() | {STACK: seconds}, groups)
    base_scores.pop(STACK)
    expected, deviation = calibrated_error(nested.probabilities[STACK])
    write_json(
        paths.oof / "metrics.json",
        {"battles": battles, "covered": len(votes), "bases": base_scores, "candidates": candidate_scores}
        | {"leave_one_out": dict(without), "calibrated_ece": {"mean": expected, "standard_deviation": deviation}}
        | describe(nested),
        sealed=True,
    )
    print(text_table(base_scores | candidate_scores))
    if without:
        said = ", ".join(f"{name} {change:+.4f}" for name, change in without.items())
        print(f"log loss of the optimal blend without a base: {said}")
    print(f"ece that perfectly calibrated probabilities would have on so many rows: {expected:.4f} ± {deviation:.4f}")
    best = min((tuned.loss for tuned in nested.final.tuned.values()), default=None)
    if best is not None:
        print(f"best trial's log loss on the folds it was chosen on, optimistic: {best:.4f}")
    print(f"ships: {nested.shipped}; nested log loss {candidate_scores[STACK]['log_loss']:.4f} on {len(votes)} battles")


if __name__ == "__main__":
    guarded(main)
