"""Makes the feature tables of a run: `python -m stages.features --run RUN`."""

from typing import Any

from battles.files import read_table, write_table
from battles.folds import fold_hash
from battles.paths import RunPaths
from features.settings import Features
from features.table import build
from stages.common import guarded, has_test, run_argument, section


def main() -> None:
    run = run_argument("Makes the handcrafted features of a run's battles.")
    settings, digest = section(run, "features", Features)
    battles, folder = RunPaths(run).battles, RunPaths(run).features
    train, folds = read_table(battles / "train.parquet"), read_table(battles / "folds.parquet")
    test = read_table(battles / "test.parquet") if has_test(run) else None

    features, features_test, swap = build(train, folds, test, settings)

    metadata: dict[str, Any] = {"swap": swap, "fold_hash": fold_hash(folds), "params_hash": digest}
    if features_test is None:
        (folder / "test.parquet").unlink(missing_ok=True)  # an earlier test file's
    else:
        write_table(folder / "test.parquet", features_test, metadata)
    write_table(folder / "train.parquet", features, metadata)
    print(f"features: {len(swap)} columns of {len(features)} battles")


if __name__ == "__main__":
    guarded(main)
