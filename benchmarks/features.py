"""Speed and memory of the features: `python -m benchmarks.features --csv PATH [--rows N] [--jobs J]`.

Without --rows: the handcrafted columns (without strength) on one core beside scikit-learn's `TfidfVectorizer` on the
two response columns; the minimum of several tries of each. With --rows: the file's battles repeated up to that number,
every text made distinct so that no cache helps; folds and all columns, with the peak memory.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from joblib.externals.loky import get_reusable_executor

from battles.folds import make_folds
from battles.reading import read_battles
from battles.schema import ID, TEXTS, to_json
from features.settings import Features
from features.table import fit, forget, handcrafted

_TRIES = 5


def _seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process: with one core to itself the wall clock's, and other work does not disturb it."""
    began = time.process_time()
    work()
    return time.process_time() - began


def compare(path: Path) -> None:
    """Prints the seconds of both and their ratio; they alternate, so that a busy machine slows both equally."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    battles = read_battles(path, voted=True)
    texts = pd.concat([battles["response_a"], battles["response_b"]]).tolist()
    yardstick, ours = [], []
    for _ in range(_TRIES):
        yardstick.append(_seconds(lambda: TfidfVectorizer().fit_transform(texts)))
        forget()
        ours.append(_seconds(lambda: handcrafted(battles)))
    for name, times in (("TfidfVectorizer", yardstick), ("handcrafted", ours)):
        print(f"{name}: {min(times):.3f} s (minimum of {_TRIES}: {', '.join(f'{value:.3f}' for value in times)})")
    print(f"ratio: {min(ours) / min(yardstick):.2f}")


def repeat(battles: pd.DataFrame, rows: int) -> pd.DataFrame:
    """The battles over and over, `rows` of them, every text made distinct from one repeat to the next."""
    parts = []
    for number in range(-(-rows // len(battles))):
        part = battles.assign(**{ID: battles[ID] + f"-{number}"})
        for column in TEXTS:
            part[column] = [to_json([*json.loads(cell), f"repeat {number}"]) for cell in part[column]]
        parts.append(part)
    return pd.concat(parts, ignore_index=True).head(rows)


def full(path: Path, rows: int, jobs: int | None) -> None:
    """Prints the seconds of each step and the peak memory of this process and its largest worker."""
    began = time.perf_counter()
    battles = repeat(read_battles(path, voted=True), rows)
    print(f"reading, repeating to {rows} battles: {time.perf_counter() - began:.1f} s", flush=True)
    began = time.perf_counter()
    folds = make_folds(battles, 5, 20)
    print(f"folds: {time.perf_counter() - began:.1f} s", flush=True)
    began = time.perf_counter()
    features = fit(battles, folds, Features(), jobs).table
    print(f"features, strength included: {time.perf_counter() - began:.1f} s, {features.shape[1] - 1} columns")
    get_reusable_executor().shutdown(wait=True)  # the memory of workers counts once they have ended
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory: {own:.2f} GB here, {worker:.2f} GB in the largest worker")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--csv", type=Path, required=True, help="voted battles in the competition's format")
    parser.add_argument("--rows", type=int, help="repeat the battles to so many, and make all columns")
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    given = parser.parse_args()
    if given.rows:
        full(given.csv, given.rows, given.jobs)
    else:
        compare(given.csv)


if __name__ == "__main__":
    main()
