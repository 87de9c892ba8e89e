"""Brings predictions made elsewhere into the run, as out-of-fold tables that the stacker reads like its own."""

import numpy as np
import pandas as pd

from battles.files import write_table
from battles.folds import fold_hash, split
from battles.paths import RunPaths
from battles.schema import ID, WINNERS
from battles.settings import Prepare
from oof import external, table
from stages.common import code_version, guarded, library_versions, run_argument, section, stamp


def main() -> None:
    run = run_argument(__doc__)
    settings, _ = section(run, "prepare", Prepare)
    paths = RunPaths(run)
    source = stamp(run, "inputs")["table"]
    found = external.read(source["path"], source["bases"], source["features"])
    groups = found.ids if found.groups is None else found.groups
    numbers = found.folds if found.folds is not None else split(found.labels, groups, settings.folds, settings.seed)
    folds = pd.DataFrame({ID: found.ids, "fold": numbers, "group": groups})

    digest = {"fold_hash": fold_hash(folds), "source_sha256": source["sha256"]}
    votes = pd.DataFrame(np.eye(3, dtype=np.int64)[found.labels], columns=list(WINNERS))
    write_table(paths.battles / "train.parquet", pd.concat([found.ids.rename(ID), votes], axis=1), digest)
    write_table(paths.battles / "folds.parquet", folds, digest)
    features = pd.concat([found.ids.rename(ID), found.features], axis=1)
    write_table(paths.features / "train.parquet", features, {"swap": dict(found.swap), **digest})
    about = {
        "backbone": source["path"],
        "params_hash": source["sha256"],
        "code_version": code_version(),
        "libraries": library_versions(),
        "device": "elsewhere",
        "train_seconds": None,
        "inference_seconds": None,
    }
    for name, values in found.probabilities.items():
        table.write(paths.predictions(name), folds, {table.MEAN: values}, {"base": name, **about})
    origin = "new" if found.folds is None else "its own"
    print(
        f"table: {len(found.ids)} of {found.rows} rows are covered by all of {', '.join(found.probabilities)}; "
        f"{len(found.swap)} features; {len(np.unique(numbers))} folds ({origin})"
    )


if __name__ == "__main__":
    guarded(main)
