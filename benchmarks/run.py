"""What `make bench` runs: every benchmark of speed and memory, each in a process of its own, one after the other.

    make bench TRAIN=train.csv

Without TRAIN the embedded sample's battles are taken: they are short, so the figures are not those of real text.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from battles.sample import generate
from battles.settings import Sample
from benchmarks.prepare import COMPETITION_ROWS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, help="a training file in the competition's format")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.csv
        if path is None:
            path = Path(folder) / "sample.csv"
            generate(Sample()).train.to_csv(path, index=False)
            print("the embedded sample's battles, which are short; real ones: make bench TRAIN=train.csv")
        rows = str(COMPETITION_ROWS)
        _run("handcrafted features beside TfidfVectorizer, one core", "features", "--csv", str(path))
        _run(f"{rows} battles: reading and folds", "prepare", "--csv", str(path), "--rows", rows)
        _run(f"{rows} battles: folds and all features", "features", "--csv", str(path), "--rows", rows)
        _run(f"{rows} battles: tokens, and reading them again", "tokens", "--csv", str(path), "--rows", rows)
        _run("prediction on the CPU beside fixed batches", "predicting", "--csv", str(path))
        _run("training and prediction on a GPU", "gpu", *(["--csv", str(path)] if given.csv else []))
    _run("what a teacher's rows leak, on random votes", "distillation")


def _run(title: str, module: str, *words: str) -> None:
    print(f"\n{title}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *words], check=True)


if __name__ == "__main__":
    main()
