"""Predicts the test battles with the saved models of a base: `oof/<run>/<name>.test.parquet`.

Nothing is trained. What the models have predicted already, as they do while they are trained, is only put together.
"""

from battles.files import read_metadata
from battles.folds import fold_hash
from battles.schema import ID, labels
from models.base_kinds import in_step
from models.transformer.settings import Transformer
from oof import table
from oof.crossfit import predict_test, select_models
from oof.model_store import Variants
from stages.base_run import BaseRun
from stages.common import base_arguments, guarded
from stages.run_tables import check_origin, possible


def main() -> None:
    given = base_arguments(__doc__).parse_args()
    run = BaseRun.of(given.run, given.name, with_test=True)
    assert run.data.test is not None
    rows = run.data.paths.predictions(run.name)
    check_origin(rows, {"params_hash": run.params_hash, "fold_hash": fold_hash(run.data.folds)})
    metadata = read_metadata(rows)
    test_from = run.settings.test_from if isinstance(run.settings, Transformer) else "mean"
    store, votes = run.store(), labels(run.data.battles)
    jobs, test_of = select_models(run.data.folds, metadata["folds_run"], store, test_from, votes)
    if all(store.has_test(job) for job in jobs):
        variants = predict_test(jobs, store, _never)
    else:
        _, predict = run.open()
        with in_step(predict, run.settings, given.processes) as predict_jointly:
            if predict_jointly is None:  # the main process does the rest
                return
            variants = predict_test(jobs, store, predict_jointly)
    ids = run.data.test[ID].tolist()
    path = run.data.paths.test_predictions(run.name)
    table.write_test(path, ids, possible(given.run, variants), {**metadata, "test_of": test_of})
    print(f"{run.name}: {len(ids)} test battles predicted by {test_of}")


def _never(*_: object) -> Variants:
    raise AssertionError("every model has predicted the test battles")


if __name__ == "__main__":
    guarded(main)
