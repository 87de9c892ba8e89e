"""What sizes cost that no ordinary file has: CPU time and memory of the steps, at half of each size and at the whole.

    python -m benchmarks.scale [models prompt response turns bases rows] [--share 0.1]

The inputs are made in code, in a temporary folder; the steps are those that `make` starts. Time that is linear at most
doubles from one column to the next, but for what a step takes anyway. `rows` alone takes some ten minutes of CPU time.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from battles.sample import generate
from battles.schema import WINNERS, to_json
from battles.settings import Sample
from benchmarks.prepare import repeat_battles

ROOT = Path(__file__).parents[1]
BATTLES = (("prepare",), ("features",))
TABLE = (("table",), ("stack",))


@dataclass(frozen=True)
class Case:
    """What grows, up to which size, how its file is made, and which steps read it."""

    title: str
    size: int
    make: Callable[[Path, int], None]
    steps: tuple[tuple[str, ...], ...] = BATTLES


@dataclass(frozen=True)
class Cost:
    """CPU seconds of a step and all its processes, and the most memory that they had together, in GB."""

    seconds: float
    gigabytes: float


def _sample(rows: int) -> pd.DataFrame:
    return generate(Sample(train=rows, test=10, seed=5)).train


def _models(path: Path, names: int) -> None:
    battles, rng = _sample(20_000), np.random.default_rng(0)
    for column in ("model_a", "model_b"):
        battles[column] = [f"model-{number}" for number in rng.integers(0, names, len(battles))]
    battles.to_csv(path, index=False)


def _prompt(path: Path, shared: int) -> None:
    battles = _sample(6_000)
    battles.loc[: shared - 1, "prompt"] = to_json(["Tell me a joke."])
    battles.to_csv(path, index=False)


def _response(path: Path, megabytes: int) -> None:
    battles = _sample(60)
    words = " ".join(f"word{number % 9973}" for number in range(megabytes * 115_000))[: megabytes * 10**6]
    battles.loc[7, "response_a"] = to_json([words])
    battles.to_csv(path, index=False)


def _turns(path: Path, turns: int) -> None:
    battles = _sample(60)
    for column in ("prompt", "response_a", "response_b"):
        battles.loc[7, column] = to_json([f"{column} {number}: some words of it." for number in range(turns)])
    battles.to_csv(path, index=False)


def _bases(path: Path, bases: int) -> None:
    rng = np.random.default_rng(1)
    truth = rng.dirichlet([2.0, 2.0, 2.0], 1_000)
    columns = {"id": np.arange(len(truth)), "label": [rng.choice(3, p=row) for row in truth]}
    for number in range(bases):
        noisy = truth * rng.lognormal(sigma=0.7, size=truth.shape)
        for place, name in enumerate(WINNERS):
            columns[f"base{number}_{name}"] = noisy[:, place] / noisy.sum(axis=1)
    pd.DataFrame(columns).to_parquet(path)


def _rows(path: Path, rows: int) -> None:
    source = path.with_name("source.csv")
    _sample(3_000).to_csv(source, index=False)
    repeat_battles(source, path, rows)
    source.unlink()


CASES = {
    "models": Case("model names, in 20,000 battles", 5_000, _models),
    "prompt": Case("of 6,000 battles share one prompt", 3_000, _prompt),
    "response": Case("MB in one response", 20, _response),
    "turns": Case("turns in one battle", 5_000, _turns),
    "bases": Case("bases in a table of 1,000 rows", 200, _bases, TABLE),
    "rows": Case("battles", 1_000_000, _rows),
}


def measure(case: Case, size: int) -> tuple[float, list[Cost]]:
    """Size of the file in MB, and what each step costs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(ROOT / "params.yaml", folder)
        table = case.steps == TABLE
        path = folder / ("given.parquet" if table else "given.csv")
        case.make(path, size)
        bases = ",".join(f"base{number}" for number in range(size))
        words = ["--profile", "cpu", "--train", path.name]
        if table:
            words = ["--profile", "table", "--table", path.name, "--bases", bases]
            words += ["--overrides", "stack.trials=2 stack.rounds=50"]
        _run(folder, "params", *words)
        return path.stat().st_size / 1e6, [_run(folder, *step) for step in case.steps]


def _run(folder: Path, step: str, *more: str) -> Cost:
    """A step as `make` starts it, with one thread, its memory looked at four times a second."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", f"stages.{step}", "--run", "r", *more]
    process = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    watched, most = psutil.Process(process.pid), 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        with suppress(psutil.Error):
            most = max(most, sum(_memory(one) for one in [watched, *watched.children(recursive=True)]))
        time.sleep(0.25)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"stages.{step} ended with {process.returncode}")
    # A step that is over before it was looked at: its own largest memory.
    return Cost(usage.ru_utime + usage.ru_stime, max(most, usage.ru_maxrss * 2**10) / 1e9)


def _memory(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--share", type=float, default=1.0, help="of each size, to see it work")
    given = parser.parse_args()
    if unknown := set(given.cases) - set(CASES):
        parser.error(f"{', '.join(unknown)}: give some of {', '.join(CASES)}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    print("| size | file | steps | CPU time at half of it | CPU time | memory |\n|---|---|---|---|---|---|", flush=True)
    for name in given.cases or CASES:
        case = CASES[name]
        size = max(int(case.size * given.share), 2)
        _, half = measure(case, size // 2)
        megabytes, whole = measure(case, size)
        steps = ", ".join(step[0] for step in case.steps)
        seconds = [", ".join(f"{cost.seconds:.1f} s" for cost in costs) for costs in (half, whole)]
        most = ", ".join(f"{cost.gigabytes:.2f} GB" for cost in whole)
        print(f"| {size:,} {case.title} | {megabytes:.0f} MB | {steps} | {' | '.join(seconds)} | {most} |", flush=True)


if __name__ == "__main__":
    main()
