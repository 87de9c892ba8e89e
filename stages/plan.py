"""Prints what every base of the run will take on this device, before anything is loaded or trained."""

from pathlib import Path
from typing import Any

import pandas as pd

from battles.errors import BadInput
from battles.files import read_table
from models.quiet import quiet
from models.settings import Tiny, TinyBackbone, Transformer
from stages.common import guarded, has_test, run_argument, section, stamp
from stages.config import BASE_KINDS, TINY_ROOT

WIDEST = 30  # characters of a column: backbones are cut on the left


def main() -> None:
    run = run_argument(__doc__)
    room = Path("battles", run)
    battles, folds = read_table(room / "train.parquet"), read_table(room / "folds.parquet")
    test = len(read_table(room / "test.parquet", columns=["id"])) if has_test(run) else 0
    tiny, _ = section(run, "tiny", Tiny)
    quiet()
    from models import cards, plan  # torch and transformers: only once the input is known to be there

    where = cards.device()
    card = cards.card(where)
    rows = plan.Rows(len(battles), test, folds["fold"].nunique())
    print(
        f"run {run}: {rows.train} battles, {rows.test} to predict, {rows.folds} folds, "
        f"on {card.text} with {_size(card.memory)}"
    )
    table: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for name in stamp(run, "run")["bases"]:
        value = stamp(run, name)["settings"]
        settings = BASE_KINDS[value["kind"]].model_validate(value)
        if not isinstance(settings, Transformer):
            notes.append(f"{name}: {value['kind']}, no backbone: {rows.train} battles on the CPU, seconds to minutes")
            continue
        try:
            config, tokenizer = plan.sources(settings, tiny, _to_be_made(run, settings, tiny), battles)
            found = plan.make(settings, config, tokenizer, battles, rows, where, card)
        except BadInput as refusal:
            notes.append(f"{name}: cannot be planned: {refusal}")
            continue
        table[name] = _column(found, rows.folds)
        notes += _notes(name, found, card.usable)
    if table:
        print()
        print(pd.DataFrame(table).to_string())
    print("\n" + "\n".join(notes))


def _to_be_made(run: str, settings: Transformer, tiny: Tiny) -> TinyBackbone | None:
    path = Path(settings.backbone)
    if path.parent != Path(TINY_ROOT.replace("{run}", run)) or path.exists():
        return None
    return tiny.backbones[path.name]


def _column(found: Any, folds: int) -> dict[str, str]:
    chosen, memory = found.settings, found.memory
    lora = chosen.lora
    trained = "all weights" if lora is None else f"LoRA, rank {lora.rank}"
    return {
        "backbone": chosen.backbone[-WIDEST:],
        "trained": trained + (f", {chosen.frozen_layers} layers frozen" if chosen.frozen_layers else ""),
        "weights / computing": f"{chosen.quantization} / {chosen.dtype}",
        "attention": chosen.attention,
        "parameters": _count(memory.parameters),
        "trainable": f"{_count(memory.trained_parameters)} ({memory.trained_parameters / memory.parameters:.1%})",
        "longest battle, tokens": f"{found.longest} of {chosen.max_length}",
        "tokens a fold, training": _count(found.train_tokens),
        "tokens a fold, predicting": _count(found.predict_tokens),
        "micro-batch, tokens": f"{memory.rows} x {memory.tokens}",
        "memory, frozen weights": _size(memory.weights),
        "memory, trained + optimizer": _size(memory.trained + memory.gradients + memory.optimizer),
        "memory, a step": _size(memory.step),
        "memory, in all": _size(memory.total) + ("" if found.fits else "  TOO MUCH"),
        "time a fold, training": _time(found.train_seconds),
        "time a fold, predicting": _time(found.predict_seconds),
        "time, in all": _time(folds * (found.train_seconds + found.predict_seconds)),
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
    small = "; so small a model takes several times that, beside its matrix products" if found.small else ""
    notes.append(f"{name}: {counted}; time estimated at 0.45 of a measured {found.rate / 1e12:.3g} TFLOP/s{small}")
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
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


if __name__ == "__main__":
    guarded(main)
