"""Prints what every base of the run will take on this device, before anything is loaded or trained."""

from pathlib import Path
from typing import Any

import pandas as pd

from battles.errors import BadInput
from battles.files import read_table
from battles.paths import RunPaths
from battles.reading import read_battles
from models.transformer.library_warnings import quiet
from models.transformer.settings import Tiny, TinyBackbone, Transformer
from stages.common import guarded, has_test, parser, section, stamp
from stages.config import BASE_KINDS, TINY_ROOT

WIDEST = 30  # characters of a column: backbones are cut on the left
COUNTED = """\
time: training and predicting at 0.45 of the measured rate; without loading, without the curve's held-out battles
memory: at max_length tokens a row; each of several processes takes it
disk: models of all folds, tokens, out-of-fold rows, and a checkpoint twice, as one is written beside the last"""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--nproc", type=int, default=1, help="processes of a base, which share its work")
    given = arguments.parse_args()
    run, processes = given.run, given.nproc
    room = RunPaths(run).battles
    battles, folds = read_table(room / "train.parquet"), read_table(room / "folds.parquet")
    test = len(read_table(room / "test.parquet", columns=["id"])) if has_test(run) else 0
    tiny, _ = section(run, "tiny", Tiny)
    quiet()
    from models.transformer.backbone import device  # torch and transformers: only once the input is known to be there
    from models.transformer.planning import plan  # torch and transformers: only once the input is known to be there

    where = device.device()
    card = device.card(where)
    numbers = folds["fold"].nunique()
    print(
        f"run {run}: {len(battles)} battles, {test} to predict, {numbers} folds, on {card.text} with "
        f"{_size(card.memory)}{_several(processes, card.kind)}"
    )
    stamps = {name: stamp(run, name) for name in stamp(run, "run")["bases"]}
    bases = {
        name: BASE_KINDS[value["settings"]["kind"]].model_validate(value["settings"]) for name, value in stamps.items()
    }
    teachers = [base.teacher for base in bases.values() if isinstance(base, Transformer) and base.teacher is not None]
    paired = {teacher.base for teacher in teachers if teacher.clean}
    table: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for name, settings in bases.items():
        if not isinstance(settings, Transformer):
            notes.append(f"{name}: no backbone; {len(battles)} battles on the CPU, seconds to minutes")
            continue
        learnt = battles
        if settings.extra_train is not None:
            learnt = pd.concat([battles, read_battles(settings.extra_train, voted=True, soft=True)], ignore_index=True)
        wanted = numbers if stamps[name]["folds"] is None else len(stamps[name]["folds"])
        rows = plan.Rows(len(battles), test, numbers, wanted, len(learnt) - len(battles))
        try:
            config, tokenizer = plan.sources(settings, tiny, _to_be_made(run, settings, tiny), battles)
            found = plan.make(
                settings, config, tokenizer, learnt, rows, where, card, processes=processes, pairs=name in paired
            )
        except BadInput as refusal:
            notes.append(f"{name}: cannot be planned: {refusal}")
            continue
        table[name] = _column(found)
        notes += _notes(name, found, card.usable)
    if table:
        print("\n" + pd.DataFrame(table).to_string())
        notes.append(COUNTED)
    print("\n" + "\n".join(notes))


def _several(processes: int, kind: str) -> str:
    if processes == 1:
        return ""
    return f"; NPROC={processes}: " + ("times are divided by it" if kind == "cuda" else "times are of one process")


def _to_be_made(run: str, settings: Transformer, tiny: Tiny) -> TinyBackbone | None:
    path = Path(settings.backbone)
    if path.parent != Path(TINY_ROOT.replace("{run}", run)) or path.exists():
        return None
    return tiny.backbones[path.name]


def _column(found: Any) -> dict[str, str]:
    chosen, memory = found.settings, found.memory
    lora = chosen.lora
    trained = "all weights" if lora is None else f"LoRA, rank {lora.rank}"
    return {
        "backbone": chosen.backbone[-WIDEST:],
        "trained": trained
        + (f", {chosen.frozen_layers} frozen layer{'s' * (chosen.frozen_layers > 1)}" if chosen.frozen_layers else ""),
        "weights / computing": f"{chosen.quantization} / {chosen.dtype}",
        "attention": chosen.attention,
        "parameters": _count(memory.parameters),
        "trainable": f"{_count(memory.trained_parameters)} ({memory.trained_parameters / memory.parameters:.1%})",
        "longest battle, tokens": f"{found.longest} of {chosen.max_length}",
        "models": ", ".join(f"{one.count} x {kind}" for kind, one in found.models.items()),
        "tokens a fold, training": _count(found.train_tokens),
        "tokens a fold, predicting": _count(found.predict_tokens),
        "micro-batch, tokens": f"pack of {memory.tokens}" if memory.packed else f"{memory.rows} x {memory.tokens}",
        "memory, frozen weights": _size(memory.weights),
        "memory, trained + optimizer": _size(memory.trained + memory.gradients + memory.optimizer),
        "memory, a step": _size(memory.step),
        "memory, in all": _size(memory.total) + ("" if found.fits else "  TOO MUCH"),
        "time a fold, training": _time(found.train_seconds),
        "time a fold, predicting": _time(found.predict_seconds),
        "time, in all": _time(found.seconds),
        "disk": _size(found.disk),
        "download, if not cached": _size(found.download) if found.download else "none",
    }


def _notes(name: str, found: Any, usable: int) -> list[str]:
    notes = []
    if not found.fits:
        fix = " ".join(f"{name}.{change}" for change in found.fix.split()) if found.fix else ""
        notes.append(
            f"{name}: does not fit: {_size(found.memory.total)} of {_size(usable)}; "
            + (f'fits with SET="{fix}"' if fix else "no setting makes it fit; take a smaller backbone or a larger card")
        )
    counted = f"tokens counted on {found.sampled} battles" if found.sampled else "tokens guessed: 4 characters each"
    paged = f"; {_size(found.memory.paged)} more of the optimizer in the host's memory" if found.memory.paged else ""
    small = "; so small a model takes several times as long, beside its matrix products" if found.small else ""
    notes.append(f"{name}: {counted}{paged}; measured {found.rate / 1e12:.3g} TFLOP/s{small}")
    return notes


def _count(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"


def _size(number: float) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 1e3:.3g} kB"


def _time(seconds: float) -> str:
    if seconds >= 100 * 3600:
        return f"{seconds / 86400:.0f} days"
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


if __name__ == "__main__":
    guarded(main)
