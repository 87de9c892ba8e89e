"""What `make plan HOURS=…` says of a finished run: the log loss by minute of its prediction under the clock."""

from collections.abc import Mapping

from battles.errors import BadInput
from battles.paths import RunPaths
from models.stacking import serialization
from models.stacking.subsets import FOLDER, Subsets
from models.transformer.backbone.precision import recorded_precision
from models.transformer.planning.plan import Machine, Plan
from oof.saved_models import RECORD, made_again, read_record
from submission.forecast import Gains, Stage, describe, forecast, load_seconds
from submission.kaggle import HIDDEN_ROWS


def describe_clock(run: str, plans: Mapping[str, Plan], machine: Machine, hours: float, test: int) -> str:
    """The table of `submission.forecast` with computed seconds, or one line that says why there is none.

    plans: base → its figures on the machine. test: battles that the run predicts; the competition's hidden file has
    more, mostly.
    """
    title = "expected log loss by minute"
    paths = RunPaths(run)
    if not plans:
        return f"{title}: no base is a language model that can be planned; the prediction needs seconds to minutes"
    if not (paths.stack / FOLDER / serialization.MANIFEST).exists():
        return f"{title}: not known before the run has a stack (make stack RUN={run}): it is of out-of-fold rows"
    try:
        subsets = Subsets.load(paths.stack / FOLDER)
        models = {name: read_record(paths.base(name), made_again(paths.base(name) / RECORD)) for name in subsets.late}
    except BadInput as damage:
        return f"{title}: {damage}"
    if set(subsets.late) != set(plans):
        had, has = ", ".join(subsets.late), ", ".join(plans)
        return f"{title}: the stack is of {had}, and {has} are planned here; run `make stack RUN={run}` for those"
    notes, fitting = [], {}
    for name, plan in plans.items():
        first = models[name].folder / next(iter(models[name].models)) / "model"
        weights = _weights(plan, recorded_precision(first).get("quantization", "none"), machine)
        if weights <= machine.spec.usable:
            fitting[name] = len(models[name].models)
        else:
            notes.append(
                f"{name}: left out of the table: it was trained beside weights in 16 bits, {weights / 1e9:.1f} GB, and "
                f"{machine.spec.usable / 1e9:.1f} GB can be used of a card"
            )
    battles = max(test, HIDDEN_ROWS)
    second = frozenset(name for name in plans if models[name].settings["tta"] != "none")

    def reading(stage: Stage) -> float:
        return battles * plans[stage.base].pace.read

    def load(stage: Stage) -> float:
        return load_seconds(plans[stage.base].stored)

    stops = forecast(Gains(subsets, fitting, second), load, reading, 3600 * hours)
    return "\n".join([describe(stops, battles, "seconds as computed above, loading at 50 MB/s"), *notes])


def _weights(plan: Plan, quantization: str, machine: Machine) -> float:
    """Bytes of the weights as a saved model needs them, which keeps the precision that it was trained in."""
    if machine.spec.kind != "cuda" or quantization == plan.settings.quantization:
        return plan.memory.weights
    return 2.0 * plan.memory.parameters if quantization == "none" else 0.0
