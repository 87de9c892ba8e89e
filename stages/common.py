"""What every stage needs: the run's paths, its params stamps, and refusals with exit code 2."""

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import file_hash, read_json, read_metadata, read_table
from battles.folds import fold_hash
from battles.paths import RunPaths
from battles.settings import Section
from models.stacking.settings import STACK
from oof.metrics import log_loss
from oof.table import Predictions

# Sums of some hundred thousand losses in another order.
TOLERANCE = 1e-9

S = TypeVar("S", bound=Section)

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "lightgbm", "optuna", "scikit-learn", "pandas", "numpy")


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with the option that every stage has."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--run", required=True, help="name of the run: the sub-folder its files lie in")
    return result


def run_argument(description: str) -> str:
    """The run's name, for a stage that takes nothing else."""
    run: str = parser(description).parse_args().run
    return run


def stamp(run: str, name: str) -> dict[str, Any]:
    """A params stamp, `battles/<run>/params/<name>.json`, as `stages.params` wrote it."""
    return read_json(RunPaths(run).params / f"{name}.json", fix="start the step through `make`, which writes it")


def section(run: str, name: str, cls: type[S]) -> tuple[S, str]:
    """The settings of one params section of a run and their hash."""
    value = stamp(run, name)
    return cls.model_validate(value["settings"]), value["hash"]


def guarded(main: Callable[[], None]) -> None:
    """Runs a stage; what the user can mend ends as one line and exit code 2, without a traceback."""
    try:
        main()
    except BadInput as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        sys.exit(2)


def has_test(run: str) -> bool:
    """Whether the run has test battles."""
    return stamp(run, "inputs")["test"] is not None


def source_hash(source: Mapping[str, Any]) -> str:
    """The SHA-256 of an input file; the embedded sample's is not in the stamp, which is written before the sample."""
    return source["sha256"] or file_hash(source["path"])


def read_split(run: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The voted battles of a run and their fold table; raises BadInput for tables of another run or of other files."""
    paths = RunPaths(run)
    inputs = stamp(run, "inputs")
    source = source_hash(inputs["table"] or inputs["train"])
    train, folds = read_table(paths.battles / "train.parquet"), read_table(paths.battles / "folds.parquet")
    for name in ("train", "folds"):
        check_origin(paths.battles / f"{name}.parquet", {"source_sha256": source, "fold_hash": fold_hash(folds)})
    return train, folds


def read_unvoted(run: str, columns: list[str] | None = None) -> pd.DataFrame | None:
    """The test battles of a run, None where it has none; raises BadInput for those of another run or file."""
    source, path = stamp(run, "inputs")["test"], RunPaths(run).battles / "test.parquet"
    if source is None:
        return None
    check_origin(path, {"source_sha256": source_hash(source)})
    return read_table(path, columns=columns)


def check_origin(path: Path, expected: Mapping[str, str]) -> None:
    """Raises BadInput unless a table's metadata says that it was made from just this."""
    found = read_metadata(path)
    for key, value in expected.items():
        if found.get(key) != value:
            raise BadInput(
                f"{path}: it was made from something else ({key} is {str(found.get(key))[:16]}, this run's is "
                f"{value[:16]}); delete it and give the same call of make again"
            )


def read_figures(run: str, table: Predictions, votes: np.ndarray) -> dict[str, Any]:
    """`metrics.json` of the stack, whose out-of-fold rows `table` and `votes` must give the nested log loss in it.

    Raises BadInput for figures that do not follow from the rows, as those of another run.
    """
    path = RunPaths(run).oof / "metrics.json"
    figures = read_json(path, sealed=True, fix="delete it and run `make stack` again")
    stated = figures["candidates"][STACK]["log_loss"]
    found = log_loss(table.probabilities[table.covered], votes[table.covered])
    if abs(stated - found) > TOLERANCE:
        raise BadInput(
            f"{path}: it says that the stack's nested log loss is {stated!r}, its out-of-fold rows give {found!r}; "
            "delete it and run `make stack` again"
        )
    return figures


def code_version() -> str:
    """The commit that runs, marked `-dirty` when tracked files differ from it; `unknown` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown"


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a prediction can depend on."""
    return {name: version(name) for name in LIBRARIES}
