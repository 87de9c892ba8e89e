"""Seconds and memory of the stacker on many battles.

    python -m benchmarks.stack_size [--rows N] [--columns C] [--trials T] [--rounds R]

The battles are drawn: four bases that see the true logits through noise, and features of which a tenth say something.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from joblib.externals.loky import get_reusable_executor

from battles.progress import counted
from battles.swap import NEGATE, SAME
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import Meta, make_meta
from models.stacking.settings import STACK, Stack
from models.stacking.stacker import stack, trial_count
from oof.metrics import log_loss
from oof.probabilities import softmax

BASES = 4
# Three probabilities of each base.
OF_BASES = 3 * BASES


def draw(rows: int, columns: int, seed: int = 0) -> tuple[Meta, np.ndarray]:
    """Stacker inputs of `rows` battles with `columns` columns in total, and their votes (rows,)."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, columns - OF_BASES)).astype(np.float32)
    telling = features[:, : max(2, features.shape[1] // 10)]
    logits = generator.normal(scale=0.7, size=(rows, 3))
    logits[:, 0] += 0.3 * np.tanh(telling[:, 0] * telling[:, 1])
    logits[:, 2] += 0.2 * telling.sum(axis=1) / np.sqrt(telling.shape[1])
    votes = (softmax(logits).cumsum(axis=1) < generator.random((rows, 1))).sum(axis=1).clip(max=2)
    noisy = {
        f"base_{number}": softmax(logits + generator.normal(scale=1 + 0.3 * number, size=(rows, 3)))
        for number in range(BASES)
    }
    names = [f"f{number}" for number in range(features.shape[1])]
    swap = {name: NEGATE if number % 2 else SAME for number, name in enumerate(names)}
    return make_meta(noisy, features=pd.DataFrame(features, columns=names), swap=swap), votes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=57477)
    parser.add_argument("--columns", type=int, default=60)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=Stack().rounds, help="most boosting rounds of a trial")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    meta, votes = draw(given.rows, given.columns)
    folds = np.random.default_rng(1).integers(0, 5, given.rows)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        settings = Stack(trials=given.trials, rounds=given.rounds, workers=given.workers)
        data = Level1Data(meta, votes, folds)
        with counted("trials", trial_count(data, settings), Path(folder) / "trials") as counter:
            nested = stack(data, settings, Path(folder) / "study.journal", count=counter.add)
    print(f"{given.rows} x {given.columns}, {given.trials} trials: {time.perf_counter() - began:.0f} s")
    for name in (STACK, *nested.final.models):
        print(f"  {name:<12}{log_loss(nested.probabilities[name], votes):.5f}")
    print(f"ships {nested.shipped}; seconds by candidate, all fits: {nested.seconds()}")
    get_reusable_executor().shutdown(wait=True)  # the memory of workers counts once they have ended
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory: {own:.2f} GB here, {worker:.2f} GB in the largest worker")


if __name__ == "__main__":
    main()
