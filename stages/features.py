"""Makes the feature tables of a run: `python -m stages.features --run RUN`."""

from typing import Any

from battles.files import write_table
from battles.folds import fold_hash
from battles.paths import RunPaths
from features.settings import Features
from features.table import build
from stages.common import guarded, read_split, read_unvoted, run_argument, section


def main() -> None:
    run = run_argument("Makes the handcrafted features of a run's battles.")
    settings, digest = section(run, "features", Features)
    folder = RunPaths(run).features
    train, folds = read_split(run)
    test = read_unvoted(run)

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
