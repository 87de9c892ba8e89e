"""The tables of a run as its stages read them: refused where they are of another run, other files or other settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import read_json, read_metadata, read_table
from battles.folds import fold_hash
from battles.paths import RunPaths
from models.stacking.inputs import NestedRows
from models.stacking.settings import STACK
from oof.metrics import log_loss
from oof.probabilities import without_ties
from oof.table import Predictions
from stages.common import stamp
from stages.input_files import source_hash

# Metadata of the fold table: whether the folds are the given table's own.
OWN_FOLDS = "own_folds"
# Sums of some hundred thousand losses in another order.
TOLERANCE = 1e-9


def read_split(run: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The voted battles of a run and their fold table; raises BadInput for tables of another run or of other files."""
    paths = RunPaths(run)
    inputs = stamp(run, "inputs")
    source = source_hash(inputs["table"] or inputs["train"])
    train, folds = read_table(paths.train_battles), read_table(paths.folds)
    for path in (paths.train_battles, paths.folds):
        check_origin(path, {"source_sha256": source, "fold_hash": fold_hash(folds)})
    return train, folds


def has_ties(run: str) -> bool:
    """Whether a battle of the run can be a tie, as the prepare step found it; else there are two classes."""
    return bool(read_metadata(RunPaths(run).folds).get("ties", True))


def has_truth(run: str) -> bool:
    """Whether the true vote probabilities of the run's test battles are known, as those of the embedded sample are."""
    train, test = stamp(run, "inputs")["train"], stamp(run, "test")["test"]
    own = [source is not None and source["sha256"] is None for source in (train, test)]
    return all(own)


def possible(run: str, variants: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A base's probabilities (…, 3), by variant, with nothing for a tie where there is none."""
    return dict(variants) if has_ties(run) else {name: without_ties(values) for name, values in variants.items()}


def read_unvoted(run: str, columns: list[str] | None = None) -> pd.DataFrame | None:
    """The test battles of a run, None where it has none; raises BadInput for those of another run or file."""
    source, path = stamp(run, "test")["test"], RunPaths(run).test_battles
    if source is None:
        return None
    check_origin(path, {"source_sha256": source_hash(source)})
    return read_table(path, columns=columns)


def check_origin(path: Path, expected: Mapping[str, str]) -> None:
    """Raises BadInput unless a table's metadata says that it was made from just this."""
    metadata = read_metadata(path)
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise BadInput(
                f"{path}: it was made from something else ({key} is {str(metadata.get(key))[:16]}, this run's is "
                f"{value[:16]}); delete it and give the same call of make again"
            )


def check_base_tables(run: str, names: list[str], folds: str, test: bool) -> None:
    """Refuses tables of bases or features of other settings or another split; those made elsewhere have no settings.

    With `test` it looks at those of the test battles, else at the out-of-fold ones.
    """
    if stamp(run, "inputs")["table"]:
        return
    paths = RunPaths(run)
    of_base, kind = (paths.test_predictions, "test") if test else (paths.predictions, "train")
    tables = {name: of_base(name) for name in names} | {"features": paths.features / f"{kind}.parquet"}
    for name, path in tables.items():
        check_origin(path, {"params_hash": stamp(run, name)["hash"], "fold_hash": folds})


def nested_rows(paths: RunPaths, clean: list[str] | None, folds: pd.DataFrame) -> NestedRows | None:
    """What the stacker learns from outside of each fold, where some base has it."""
    if clean is None:
        return None
    tables = {name: paths.pairs(name) for name in clean}
    for name, path in {**tables, "features": paths.nested_features}.items():
        check_origin(path, {"params_hash": stamp(paths.name, name)["hash"], "fold_hash": fold_hash(folds)})
    return NestedRows.read(tables, paths.nested_features, folds)


def read_figures(run: str, table: Predictions, votes: np.ndarray) -> dict[str, Any]:
    """`metrics.json` of the stack, whose out-of-fold rows `table` and `votes` must give the nested log loss in it.

    Raises BadInput for figures that do not follow from the rows, as those of another run.
    """
    path = RunPaths(run).metrics
    figures = read_json(path, sealed=True, fix="delete it and run `make stack` again")
    stated = figures["candidates"][STACK]["log_loss"]
    loss = log_loss(table.probabilities[table.covered], votes[table.covered])
    if abs(stated - loss) > TOLERANCE:
        raise BadInput(
            f"{path}: it says that the stack's nested log loss is {stated!r}, its out-of-fold rows give {loss!r}; "
            "delete it and run `make stack` again"
        )
    return figures
