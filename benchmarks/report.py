"""Seconds, memory and size of the report of a competition-sized run, with everything that a report can have.

    python -m benchmarks.report --folder . --run RUN [--csv train.csv] [--rows 57477]

Takes a finished run and repeats its battles, features and predictions under new ids and prompts in a temporary folder
until there are enough, then makes the report there as `make report` does. With `--csv` the texts are those of the
file's battles instead, where the run's own are short. Stacker, studies, training curves and test battles stay.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from battles.files import read_metadata, read_table, write_table
from battles.folds import fold_hash
from battles.paths import RunPaths
from battles.reading import read_battles
from battles.schema import ID, TEXTS
from benchmarks.prepare import COMPETITION_ROWS

ROOT = Path(__file__).parents[1]


def repeat(table: pd.DataFrame, times: int) -> pd.DataFrame:
    """The rows over and over, each time under other ids and, in a fold table, of other prompts."""
    parts = []
    for number in range(times):
        part = table.assign(**{ID: table[ID] + f"-{number}"})
        parts.append(part.assign(group=table["group"] + f"-{number}") if "group" in table.columns else part)
    return pd.concat(parts, ignore_index=True)


def enlarge(source: RunPaths, target: RunPaths, rows: int, csv: Path | None) -> int:
    """Writes the run `target`, `source` as often as it takes for so many battles; returns their number."""
    for folder in ("battles", "features", "oof", "models"):
        ignored = shutil.ignore_patterns("*.safetensors", "*.npz", "*.npy", "source", "checkpoint*")
        shutil.copytree(getattr(source, folder), getattr(target, folder), ignore=ignored)
    folds = read_table(source.folds)
    times = -(-rows // len(folds))
    big = fold_hash(repeat(folds, times))
    trained = [path for path in target.oof.glob("*.parquet") if not path.name.endswith(".test.parquet")]
    trained += [target.train_battles, target.folds]
    trained += [*target.features.glob("train*.parquet")]
    for path in trained:
        table, metadata = repeat(read_table(path), times), read_metadata(path)
        if path == target.train_battles and csv is not None:
            table[list(TEXTS)] = _texts(csv, len(table))
        write_table(path, table, metadata | ({"fold_hash": big} if "fold_hash" in metadata else {}))
    return times * len(folds)


def _texts(csv: Path, rows: int) -> np.ndarray:
    texts = read_battles(csv, voted=True)[list(TEXTS)]
    return texts.iloc[np.arange(rows) % len(texts)].to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=Path(), help="the checkout that the run is in")
    parser.add_argument("--run", required=True, help="a finished run")
    parser.add_argument("--csv", type=Path, help="a training file whose texts are taken")
    parser.add_argument("--rows", type=int, default=COMPETITION_ROWS)
    parser.add_argument("--profile", type=Path, help="where cProfile's figures go")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source, target = RunPaths(given.run, given.folder), RunPaths(given.run, Path(name))
        count = enlarge(source, target, given.rows, given.csv)
        profiled = ["-m", "cProfile", "-o", str(given.profile.resolve())] if given.profile else []
        words = [sys.executable, *profiled, "-m", "stages.report", "--run", given.run]
        load = os.getloadavg()[0]
        process = subprocess.Popen(words, cwd=name, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
        began = os.times().elapsed
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = os.times().elapsed - began
        if process.returncode:
            sys.exit(f"stages.report ended with {process.returncode}")
        page = target.page
        figures = json.loads((target.report / "metrics.json").read_text())
        models, curves = len(figures["models"]), len(figures["learning"])
        print(
            f"{count:,} battles, {models} models, {curves} learning curves, {len(figures['studies'])} studies: "
            f"{usage.ru_utime + usage.ru_stime:.1f} s of CPU, {wall:.1f} s by the clock at a load of {load:.1f}, "
            f"{usage.ru_maxrss / 2**20:.2f} GB, a page of {page.stat().st_size / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main()
