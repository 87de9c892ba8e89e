"""Makes the feature tables of a run, and saves what makes those of other battles: `python -m stages.features`."""

from typing import Any

from battles.files import read_metadata, table_hash, write_table
from battles.folds import fold_hash
from battles.paths import RunPaths
from battles.progress import Progress
from features.drift import drift
from features.settings import Features
from features.table import MEASURED, RATED, WORDS, fit
from stages.common import guarded, has_test, parser, section
from stages.run_tables import read_split, read_unvoted


def main() -> None:
    arguments = parser("Makes the handcrafted features of a run's battles.")
    arguments.add_argument("--test", action="store_true", help="only those of the battles to predict, if not there yet")
    given = arguments.parse_args()
    settings, digest = section(given.run, "features", Features)
    paths = RunPaths(given.run)
    train, folds = read_split(given.run)
    test_path, test = paths.test_battles, None
    depends_on: dict[str, Any] = {"fold_hash": fold_hash(folds), "params_hash": digest}
    of_test = depends_on
    if has_test(given.run):
        test = read_unvoted(given.run)
        of_test = {**depends_on, "train": table_hash(paths.train_battles), "test": table_hash(test_path)}
    path, path_of_test = paths.train_features, paths.test_features
    if given.test and path_of_test.exists() and of_test.items() <= read_metadata(path_of_test).items():
        path_of_test.touch()  # made together with those of the training battles
        return

    work = (MEASURED + WORDS + RATED) * len(train) + (MEASURED + WORDS) * (0 if test is None else len(test))
    found = None
    with Progress("features", work, weights=True) as progress:
        made = fit(train, folds, settings, count=progress.advance)
        if test is not None:
            features_test = made.model.columns(test, count=progress.advance)[0]
            write_table(path_of_test, features_test, {"swap": made.swap, **of_test})
            found = drift(made.table, features_test)
    if found is not None and found.noticeable:
        print(f"features: warning: {found.words()}")
    if not given.test:
        made.model.save(paths.feature_model)
        write_table(paths.nested_features, made.nested, depends_on)
        write_table(path, made.table, {"swap": made.swap, **depends_on})
    print(f"features: {len(made.swap)} columns of {len(test if given.test and test is not None else train)} battles")


if __name__ == "__main__":
    guarded(main)
