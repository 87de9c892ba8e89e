"""The plans of a run's bases as a table and notes, for the terminal."""

from collections.abc import Mapping

import pandas as pd

from models.transformer.planning.plan import Machine, Plan
from models.transformer.planning.throughput import LEARNING, READING

WIDEST = 30  # characters of a column: backbones are cut on the left
MEASURED = "time: some of a base's own layers are timed here, with random weights"
FROM_DATA_SHEET = f"""\
time: training at {LEARNING} and predicting at {READING} of {{of_peak}} of the rate on the card's data sheet, as seen on
  an H100 (of a T4, on T4s); int8 and nf4 take longer, and an L4, held to 72 W, may not keep its rate up. A measured
  figure: python -m benchmarks.gpu on the card itself"""
HOLES = "holes: freed blocks that the CPU's allocator keeps; where they might not fit it gives all back, which is slow"
COUNTED = """\
  without loading and compiling, without the curve's held-out battles
memory: at max_length tokens a row; each of several processes takes it
disk: models of all folds, tokens, out-of-fold rows, and a checkpoint twice, as one is written beside the last"""


def describe_machine(machine: Machine) -> str:
    """The device, its memory, and what several processes do to the times."""
    spec, processes = machine.spec, machine.processes
    text = f"{spec.text} with {_size(spec.memory)}"
    if machine.card is not None:
        text += ", by its data sheet"
    if processes == 1:
        return text
    times = "times are divided by it" if spec.kind == "cuda" else "times are of one process"
    return f"{text}; NPROC={processes}: {times}"


def describe_plans(plans: Mapping[str, Plan], machine: Machine) -> str:
    """A table with a column per base, and notes: what does not fit and what would."""
    if not plans:
        return ""
    table = pd.DataFrame({name: _column(plan) for name, plan in plans.items()}).to_string()
    notes = [line for name, plan in plans.items() for line in _notes(name, plan, machine.spec.usable)]
    times = MEASURED if machine.card is None else FROM_DATA_SHEET.format(of_peak=machine.card.of_peak)
    holes = [HOLES] if machine.spec.kind == "cpu" else []
    return "\n".join([table, "", *notes, times, COUNTED, *holes])


def _column(plan: Plan) -> dict[str, str]:
    chosen, memory = plan.settings, plan.memory
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
        "longest battle, tokens": f"{plan.counts.max()} of {chosen.max_length}",
        "models": ", ".join(f"{one.count} x {kind}" for kind, one in plan.models.items()),
        "tokens a fold, training": _count(plan.train_tokens),
        "tokens a fold, predicting": _count(plan.predict_tokens),
        "micro-batch, tokens": f"pack of {memory.tokens}" if memory.packed else f"{memory.rows} x {memory.tokens}",
        "memory, frozen weights": _size(memory.weights),
        "memory, trained + optimizer": _size(memory.trained + memory.gradients + memory.optimizer),
        "memory, a step": _size(memory.step),
        **({"memory, Python and libraries": _size(memory.process)} if memory.process else {}),
        "memory, in all": _size(memory.total) + ("" if plan.fits else "  TOO MUCH"),
        **({"memory, with holes": f"about {_size(memory.most)}"} if memory.holes else {}),
        "time a fold, training": duration_text(plan.train_seconds),
        "time a fold, predicting": duration_text(plan.predict_seconds),
        "time, in all": duration_text(plan.seconds),
        "disk": _size(plan.disk),
        "download, if not cached": _size(plan.download) if plan.download else "none",
    }


def _notes(name: str, plan: Plan, usable: int) -> list[str]:
    notes = []
    if not plan.fits:
        fix = " ".join(f"{name}.{change}" for change in plan.fix.split()) if plan.fix else ""
        notes.append(
            f"{name}: does not fit: {_size(plan.memory.total)} of {_size(usable)}; "
            + (f'fits with SET="{fix}"' if fix else "no setting makes it fit; take a smaller backbone or a larger card")
        )
    if plan.fits and plan.memory.most > usable:
        notes.append(
            f"{name}: without holes from the start, as {_size(plan.memory.most)} of {_size(usable)} would be too much: "
            "training takes up to twice the time"
        )
    if plan.spare:
        spare = " ".join(f"{name}.{change}" for change in plan.spare.split())
        notes.append(f'{name}: less is recomputed, and it still fits, with SET="{spare}"')
    counted = f"tokens counted on {plan.sampled} battles" if plan.sampled else "tokens guessed: 4 characters each"
    paged = f"; {_size(plan.memory.paged)} more of the optimizer in the host's memory" if plan.memory.paged else ""
    small = "; so small a model takes several times as long, beside its matrix products" if plan.small else ""
    notes.append(f"{name}: {counted}{paged}; training at {plan.pace.flops / 1e12:.3g} TFLOP/s{small}")
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


def duration_text(seconds: float) -> str:
    if seconds >= 100 * 3600:
        return f"{seconds / 86400:.0f} days"
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
