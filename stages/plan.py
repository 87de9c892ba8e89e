"""Prints what every base of the run will take, before anything is loaded or trained: on this device, or on CARD."""

from pathlib import Path
from typing import TYPE_CHECKING

from battles.errors import BadInput
from battles.files import read_table
from battles.paths import RunPaths
from models.base_kinds import base_settings, read_extra
from models.transformer.data.training_set import TrainingSet
from models.transformer.library_warnings import quiet
from models.transformer.planning.cards import read_card, read_hours
from models.transformer.settings import Tiny, TinyBackbone, Transformer
from stages import variables
from stages.common import guarded, has_test, parser, section, stamp
from stages.config import tiny_root

if TYPE_CHECKING:
    from models.transformer.planning import plan


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--nproc", type=int, default=1, help="processes of a base, which share its work")
    given = arguments.parse_args()
    run, paths = given.run, RunPaths(given.run)
    battles, folds = read_table(paths.train_battles), read_table(paths.folds)
    test = len(read_table(paths.test_battles, columns=["id"])) if has_test(run) else 0
    tiny, _ = section(run, "tiny", Tiny)
    quiet()
    # torch and transformers: only once the input is known to be there
    from models.transformer.planning import plan
    from models.transformer.planning.description import describe_machine, describe_plans
    from models.transformer.planning.schedule import describe_hours
    from stages.clock import describe_clock

    machine = _machine(given.nproc)
    folds_count = folds["fold"].nunique()
    print(
        f"run {run}: {len(battles)} battles, {test} to predict, {folds_count} folds, on {describe_machine(machine)}\n"
    )
    stamps = {name: stamp(run, name) for name in stamp(run, "run")["bases"]}
    bases = {name: base_settings(value["settings"]) for name, value in stamps.items()}
    teachers = [base.teacher for base in bases.values() if isinstance(base, Transformer) and base.teacher is not None]
    taught_clean = {other for teacher in teachers if teacher.clean for other in teacher.bases}
    plans: dict[str, plan.Plan] = {}
    notes: list[str] = []
    for name, settings in bases.items():
        if not isinstance(settings, Transformer):
            notes.append(f"{name}: no backbone; {len(battles)} battles on the CPU, seconds to minutes")
            continue
        learns = battles
        if settings.extra_files:
            learns = TrainingSet.of(battles, read_extra(settings)[0]).battles
        wanted = folds_count if stamps[name]["folds"] is None else len(stamps[name]["folds"])
        rows = plan.Rows(len(battles), test, folds_count, wanted, len(learns) - len(battles))
        try:
            source = plan.read_source(settings, tiny, _to_be_made(run, settings, tiny), battles)
            plans[name] = plan.make(settings, source, learns, rows, machine, pairs=name in taught_clean)
        except BadInput as refusal:
            notes.append(f"{name}: cannot be planned: {refusal}")
    if variables.given("HOURS"):
        hours = read_hours(variables.given("HOURS"))
        notes += [describe_hours(plans, hours, machine.processes)] if plans else []
        notes.append(describe_clock(run, plans, machine, hours, test))
    print("\n".join([describe_plans(plans, machine), *notes]))


def _machine(processes: int) -> "plan.Machine":
    """What is planned for: the cards that CARD names, or this machine's device."""
    from models.transformer.backbone.device import check_gpu_is_used, current_device, device_spec
    from models.transformer.planning import plan

    if variables.given("CARD"):
        card, count = read_card(variables.given("CARD"))
        return plan.Machine.of_card(card, max(count, processes))
    device = current_device()
    try:
        check_gpu_is_used()
    except BadInput as refusal:  # a plan for the CPU is of use to tiny backbones, which are trained there
        print(f"note: {refusal}")
    return plan.Machine(device, device_spec(device), processes)


def _to_be_made(run: str, settings: Transformer, tiny: Tiny) -> TinyBackbone | None:
    """The sizes of a tiny backbone that the run has not made yet."""
    path = Path(settings.backbone)
    if path.parent != Path(tiny_root(run)) or path.exists():
        return None
    return tiny.backbones[path.name]


if __name__ == "__main__":
    guarded(main)
