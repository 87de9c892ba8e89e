"""Cross-fits one base model: `models/runs/<run>/<name>/`, its record `base.json` there, `oof/<run>/<name>.parquet`.

With `--pairs` it makes rows by models without two folds, `oof/<run>/<name>.pairs.parquet`: the base's clean students
and the stacker learn from them.
"""

from dataclasses import replace

from battles.folds import fold_hash
from battles.schema import labels
from models.base_kinds import in_step
from models.transformer.settings import Transformer
from oof import table
from oof.crossfit import CrossFit, crossfit, mean_job, select_models
from oof.model_store import ModelStore
from oof.nested import cross_pairs, write_pairs
from oof.saved_models import write_record
from oof.table import MEAN
from stages.base_run import BaseRun
from stages.common import base_arguments, code_version, guarded, library_versions
from stages.run_tables import possible


def main() -> None:
    arguments = base_arguments(__doc__)
    arguments.add_argument("--pairs", action="store_true", help="only rows by models without two folds")
    arguments.add_argument("--again", action="store_true", help="finished models may be replaced (AGAIN=1)")
    given = arguments.parse_args()
    run = BaseRun.of(given.run, given.name, with_test=not given.pairs)
    test_from = run.settings.test_from if isinstance(run.settings, Transformer) else "mean"
    whole = run
    if test_from in ("refit", "adapters"):  # the models of the folds have nothing to do with the test battles
        run = replace(run, data=replace(run.data, test=None))
    fit, _ = run.open()
    store, result = run.store(replace=given.again), None
    with in_step(fit, run.settings, given.processes) as fit_jointly:
        if fit_jointly is None:  # the main process does the rest
            pass
        elif given.pairs:
            values = possible(given.run, {MEAN: cross_pairs(run.data.folds, store, fit_jointly)})[MEAN]
            about = {"base": run.name, "params_hash": run.params_hash}
            write_pairs(run.data.paths.pairs(run.name), run.data.folds, values, about)
        else:
            result = crossfit(run.data.folds, run.wanted, store, fit_jointly, test_from == "refit")
    if test_from == "adapters" and not given.pairs:
        with in_step(whole.open_mean(), run.settings, given.processes) as average_jointly:
            if average_jointly is not None:
                store.fit_once(mean_job(run.data.folds, whole.folds), average_jointly)
    if result is not None:
        _record(run, store, result)
        predicted = possible(given.run, result.valid)
        table.write(run.data.paths.predictions(run.name), run.data.folds, predicted, _metadata(run, result))


def _record(run: BaseRun, store: ModelStore, result: CrossFit) -> None:
    """Writes what the saved models need to predict battles by themselves."""
    test_from = run.settings.test_from if isinstance(run.settings, Transformer) else "mean"
    jobs, test_of = select_models(run.data.folds, result.folds_run, store, test_from, labels(run.data.battles))
    # What only training reads is left out: it may be a path of this machine.
    settings = run.settings.model_copy(
        update=dict.fromkeys({"teacher", "extra_train"} & type(run.settings).model_fields.keys())
    )
    write_record(run.data.paths.base(run.name), settings.model_dump(mode="json"), jobs, test_of)


def _metadata(run: BaseRun, result: CrossFit) -> dict[str, object]:
    return {
        "base": run.name,
        "backbone": getattr(run.settings, "backbone", run.kind),
        "params_hash": run.params_hash,
        "code_version": code_version(),
        "libraries": library_versions(),
        "device": result.device,
        "train_seconds": round(result.train_seconds, 3),
        "inference_seconds": round(result.inference_seconds, 3),
        "folds_run": result.folds_run,
        "fold_hash": fold_hash(run.data.folds),
    }


if __name__ == "__main__":
    guarded(main)
