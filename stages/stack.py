"""Stacks the base models of a run: `oof/<run>/stack.parquet`, `metrics.json`, `models/runs/<run>/stack/`."""

import os
import shutil
import time
from typing import Any

import pandas as pd

from battles.files import content_hash, read_json, read_metadata, write_json
from battles.folds import fold_hash
from battles.paths import RunPaths
from battles.progress import counted
from battles.schema import labels
from features.table import FEATURES
from models.stacking import inputs, journal, serialization, subsets
from models.stacking.inputs import TrainingInputs
from models.stacking.settings import STACK, Stack, with_workers
from models.stacking.stacker import Nested, describe, leave_one_out, stack, trial_count
from models.stacking.studies import check_writers
from oof import saved_models, table
from oof.leakage import refuse_suspects
from oof.metrics import log_loss
from report.stack_metrics import StackResults, stack_metrics, summary
from stages.common import code_version, guarded, library_versions, run_argument, section, stamp
from stages.run_tables import check_base_tables, has_ties, nested_rows, read_split
from stages.variables import given


def main() -> None:
    run = run_argument("Tunes, compares and ships the stacker on the run's base models and features.")
    database = given("STORAGE")  # a URL for the studies; without, a journal file
    settings, params_hash = section(run, "stack", Stack)
    settings = with_workers(settings, given("WORKERS"))
    check_writers(database, settings.workers)
    paths = RunPaths(run)
    asked = stamp(run, "run")
    names: list[str] = asked["bases"]
    battles, folds = read_split(run)
    check_base_tables(run, names, fold_hash(folds), test=False)
    votes = labels(battles)
    bases = {name: paths.predictions(name) for name in names}
    pairs = nested_rows(paths, asked["clean"], folds)
    training = inputs.training_inputs(bases, paths.train_features, folds, votes, has_ties(run), pairs)
    for line in training.notes():
        print(f"stack: {line}")
    if stamp(run, "inputs")["table"] and not asked["allow_suspect"]:
        refuse_suspects(training.probabilities, training.data.labels, training.data.folds)

    trials = paths.stack / "study.journal"
    repaired = journal.repair(trials, serialization.about(paths.stack).get("journal"))
    if repaired:
        print(f"stack: {repaired}")
    started = time.perf_counter()
    with counted("stack: trials", trial_count(training.data, settings), paths.stack / ".trials.tmp") as counter:
        # A database may hold several runs' studies.
        prefix = f"{run}: " if database else ""
        nested = stack(training.data, settings, database or trials, prefix, counter.add, training.outside)
    seconds = time.perf_counter() - started

    about: dict[str, Any] = {"bases": names, "settings": settings.model_dump(), "ties": training.data.ties}
    about |= _of_predictions(paths, names)
    if not database:
        about["journal"] = journal.seal(trials)
    nested_loss = log_loss(nested.probabilities[STACK], training.data.labels)
    _save_subsets(paths, names, training, folds, settings, nested_loss)
    _save_nested(paths, nested)
    # Last of the folder, as make takes its manifest for the whole.
    serialization.save(paths.stack, nested.final.models, nested.shipped, about)
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
    table.write(paths.predictions(STACK), folds, {table.MEAN: training.of_all(nested.probabilities[STACK])}, metadata)
    _report(paths, settings, training, nested, seconds)


def _of_predictions(paths: RunPaths, names: list[str]) -> dict[str, Any]:
    """What `submission.predict` needs to know: which models the stack was fitted on, and the threads of a step.

    Nothing where the predictions were made elsewhere: there are no models then.
    """
    if stamp(paths.name, "inputs")["table"]:
        return {}
    records = {name: paths.base(name) / saved_models.RECORD for name in names}
    records["features"] = paths.feature_model / FEATURES
    saved = {name: content_hash(read_json(record, sealed=True)) for name, record in records.items()}
    return {"saved": saved, "threads": int(os.environ.get("OMP_NUM_THREADS") or 0)}


def _save_nested(paths: RunPaths, nested: Nested) -> None:
    """The stackers of the outer folds, each with its own choice: what explains a battle has not learnt from it."""
    shutil.rmtree(paths.stack_without(0).parent, ignore_errors=True)
    for fold, fitted in nested.outer.items():
        serialization.save(paths.stack_without(fold), fitted.models, fitted.chosen, {})


def _save_subsets(
    paths: RunPaths,
    names: list[str],
    training: TrainingInputs,
    folds: pd.DataFrame,
    settings: Stack,
    nested_loss: float,
) -> None:
    """The stackers of a prediction that stops before every language model has read every battle."""
    folder = paths.stack / subsets.FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    if stamp(paths.name, "inputs")["table"]:
        return
    late = [name for name in names if stamp(paths.name, name)["settings"]["kind"] == "transformer"]
    if late:
        bases = {name: paths.predictions(name) for name in names}
        table_of_features = paths.train_features
        variants, columns, swap = inputs.covered_rows(bases, table_of_features, folds, training.covered)
        seconds = {
            name: read_metadata(bases[name])["inference_seconds"] / max(int(training.covered.sum()), 1) for name in late
        }
        fitted = subsets.fit_subsets(variants, (columns, swap), training.data, late, seconds, settings, nested_loss)
        fitted.save(folder)


def _report(paths: RunPaths, settings: Stack, training: TrainingInputs, nested: Nested, seconds: float) -> None:
    data = training.data
    results = StackResults(
        data.labels,
        data.groups,
        training.probabilities,
        nested.probabilities,
        STACK,
        {**training.seconds, **nested.seconds(), STACK: seconds},
    )
    without = leave_one_out(training.probabilities, data.labels, data.folds, data.groups, settings, data.ties)
    metrics = stack_metrics(results, len(training.covered), without, describe(nested))
    write_json(paths.metrics, metrics, sealed=True)
    print(summary(metrics, STACK))


if __name__ == "__main__":
    guarded(main)
