"""Seconds and peak memory of reading and splitting a competition-sized file of real-length battles.

    python -m benchmarks.prepare --csv train.csv [--rows 57477]

Repeats the battles of a CSV under new ids until there are enough, in a temporary folder that is removed. Each
repetition of a prompt gets its own number as a further turn, because the split's time grows with the distinct prompts.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from battles.folds import make_folds
from battles.reading import read_battles
from battles.schema import to_json, turns

COMPETITION_ROWS = 57477


def repeat_battles(source: Path, target: Path, rows: int) -> None:
    """Writes `rows` battles to the CSV `target`: those of `source` over and over, with the ids 0, 1, 2, …"""
    table = read_battles(source, voted=True)
    for start in range(0, rows, len(table)):
        part = table.iloc[: rows - start].assign(id=np.arange(start, min(start + len(table), rows)))
        part["prompt"] = [to_json([*prompt, str(start)]) for prompt in turns(part["prompt"])]
        part.to_csv(target, mode="a", header=start == 0, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, required=True, help="a training file in the competition's format")
    parser.add_argument("--rows", type=int, default=COMPETITION_ROWS)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.csv"
        repeat_battles(arguments.csv, path, arguments.rows)
        start = time.perf_counter()
        table = read_battles(path, voted=True)
        read = time.perf_counter()
        folds = make_folds(table, arguments.folds, seed=20)
        split = time.perf_counter()
        megabytes = path.stat().st_size / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(table)} battles, {megabytes:.0f} MB, {folds['group'].nunique()} distinct prompts")
    print(f"read {read - start:.1f} s, split {split - read:.1f} s, peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
