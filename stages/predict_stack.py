"""Predicts the test battles with the saved stacker: `oof/<run>/stack.test.parquet`."""

from battles.files import read_metadata, read_table
from battles.paths import RunPaths
from battles.schema import ID
from models.stacking import inputs, serialization
from models.stacking.settings import STACK
from oof import table
from oof.probabilities import softmax
from stages.common import guarded, run_argument, stamp
from stages.run_tables import check_base_tables


def main() -> None:
    run = run_argument(__doc__)
    paths = RunPaths(run)
    names: list[str] = stamp(run, "run")["bases"]
    metadata = read_metadata(paths.predictions(STACK))
    check_base_tables(run, names, metadata["fold_hash"], test=True)
    ids = read_table(paths.test_battles, columns=[ID])[ID]
    bases = {name: paths.test_predictions(name) for name in names}
    meta = inputs.test_inputs(bases, paths.test_features, ids)
    probabilities = softmax(serialization.load(paths.stack).logits(meta))
    table.write_test(paths.test_predictions(STACK), ids.tolist(), {table.MEAN: probabilities}, metadata)


if __name__ == "__main__":
    guarded(main)
