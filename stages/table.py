"""Brings predictions made elsewhere into the run, as out-of-fold tables that the stacker reads like its own."""

from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import write_table
from battles.folds import fold_hash, split
from battles.paths import RunPaths
from battles.schema import ID, WINNERS
from battles.settings import Prepare
from battles.ties import can_tie
from oof import external, table
from oof.external import ExternalPredictions
from oof.feature_leakage import implausible
from oof.probabilities import without_ties
from stages.common import code_version, guarded, library_versions, run_argument, section, stamp
from stages.input_files import unchanged
from stages.run_tables import OWN_FOLDS


def main() -> None:
    run = run_argument(__doc__)
    settings, _ = section(run, "prepare", Prepare)
    paths = RunPaths(run)
    source = stamp(run, "inputs")["table"]
    with unchanged("TABLE", source):
        given = external.read(source["path"], source["bases"], source["features"])
    groups = given.ids if given.groups is None else given.groups
    numbers = given.folds if given.folds is not None else split(given.labels, groups, settings.folds, settings.seed)
    if not stamp(run, "run")["allow_suspect"]:
        reason = implausible(given.features, given.probabilities, given.labels, numbers, groups.to_numpy())
        if reason:
            raise BadInput(
                f"FEATURES: {reason}; features that know so much were made from the votes: leave the column out, or, "
                "if it was made without them, give ALLOW_SUSPECT=1"
            )
    folds = pd.DataFrame({ID: given.ids, "fold": numbers, "group": groups})
    _write(paths, given, folds, source, can_tie(given.labels, settings.ties))
    origin = "new" if given.folds is None else "its own"
    print(
        f"table: {len(given.ids)} of {given.rows} rows are covered by all of {', '.join(given.probabilities)}; "
        f"{len(given.swap)} features; {len(np.unique(numbers))} folds ({origin})"
    )


def _write(
    paths: RunPaths, given: ExternalPredictions, folds: pd.DataFrame, source: dict[str, Any], ties: bool
) -> None:
    """Writes what the steps of a run of battles write: battles, folds, features and the table of each base."""
    digest = {"fold_hash": fold_hash(folds), "source_sha256": source["sha256"], "ties": ties}
    votes = pd.DataFrame(np.eye(3, dtype=np.int64)[given.labels], columns=list(WINNERS))
    write_table(
        paths.train_battles,
        pd.concat([given.ids.rename(ID), votes], axis=1),
        {**digest, "rows": given.rows},
    )
    write_table(paths.folds, folds, {**digest, OWN_FOLDS: given.folds is not None})
    features = pd.concat([given.ids.rename(ID), given.features], axis=1)
    write_table(paths.train_features, features, {"swap": dict(given.swap), **digest})
    about = {
        "backbone": source["path"],
        "params_hash": source["sha256"],
        "code_version": code_version(),
        "libraries": library_versions(),
        "device": "elsewhere",
        "train_seconds": None,
        "inference_seconds": None,
    }
    for name, values in given.probabilities.items():
        variants = {table.MEAN: values if ties else without_ties(values)}
        table.write(paths.predictions(name), folds, variants, {"base": name, **about})


if __name__ == "__main__":
    guarded(main)
