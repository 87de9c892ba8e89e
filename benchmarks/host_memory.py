"""What a training on the CPU takes of the memory, beside what the plan computes.

    python -m benchmarks.host_memory [--backbone backbones/smollm2]

Every case trains one optimizer step of 16 battles of random tokens, all of full length, in a process of its own: with
freed blocks given back at once, and as it is otherwise, with the holes of the allocator. Printed are the peak of the
resident set and the computed figure, in GB, and seconds of the step.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from battles.progress import Progress
from models.transformer.backbone.device import device_spec
from models.transformer.backbone.loading import load
from models.transformer.backbone.pretrained import load_config
from models.transformer.data.tokenization import Encoded
from models.transformer.engine.training import count_steps, train
from models.transformer.planning import memory
from models.transformer.planning.host_memory import give_back_at_once
from models.transformer.planning.preflight import resolve
from models.transformer.settings import Lora, Transformer

BATTLES, FRAME = 16, 4
CPU = torch.device("cpu")


class Case(NamedTuple):
    """A micro-batch of `rows` x `tokens`, and how it is trained."""

    rows: int
    tokens: int
    attention: str
    dtype: str
    lora: bool
    checkpointing: bool

    def title(self) -> str:
        trained = "LoRA" if self.lora else "all weights"
        again = ", checkpointing" if self.checkpointing else ""
        return f"{self.rows} x {self.tokens}, {self.attention}, {self.dtype}, {trained}{again}"


CASES = (
    Case(4, 256, "eager", "bfloat16", True, False),
    Case(4, 256, "sdpa", "bfloat16", True, False),
    Case(8, 256, "eager", "bfloat16", True, False),
    Case(8, 512, "sdpa", "bfloat16", True, False),
    Case(4, 256, "sdpa", "float32", True, False),
    Case(8, 256, "eager", "float32", True, False),
    Case(4, 512, "eager", "bfloat16", True, True),
    Case(4, 256, "sdpa", "bfloat16", False, False),
    Case(4, 256, "sdpa", "float32", False, True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backbone", default="backbones/smollm2", help="a local checkpoint, or one of the hub")
    parser.add_argument("--case", type=int, help="one case in this process, as JSON")
    parser.add_argument("--at-once", action="store_true", help="with --case: freed blocks go back at once")
    given = parser.parse_args()
    if given.case is not None:
        print(json.dumps(measure(CASES[given.case], given.backbone, given.at_once)))
        return
    for line in table(given.backbone):
        print(line, flush=True)


def table(backbone: str) -> Iterator[str]:
    """A line for each case, measured in processes of their own."""
    yield f"{'':<58}{'no holes':>10}{'computed':>10}{'s':>6}{'as it is':>10}{'computed':>10}{'s':>6}"
    for number, case in enumerate(CASES):
        found = [_in_a_process(backbone, number, at_once) for at_once in (True, False)]
        figures = "".join(
            f"{one['peak'] / 1e9:10.2f}{one[computed] / 1e9:10.2f}{one['seconds']:6.0f}"
            for one, computed in zip(found, ("total", "most"), strict=True)
        )
        yield f"{case.title():<58}{figures}"


def _in_a_process(backbone: str, case: int, at_once: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.host_memory", "--backbone", backbone, "--case", str(case)]
    done = subprocess.run([*command, *["--at-once"] * at_once], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(case: Case, backbone: str, at_once: bool) -> dict[str, float]:
    """Peak of this process's resident set and the computed figures, in bytes, and seconds of the optimizer step."""
    if at_once:
        give_back_at_once()
    settings = resolve(_settings(case, backbone), device_spec(CPU))
    needed = memory.estimate(settings, load_config(settings), device_spec(CPU))
    base = load(settings, 1, 0, CPU)
    targets = np.full((BATTLES, 3), 1 / 3)
    began = time.perf_counter()
    with Progress("training", count_steps(BATTLES, settings), silent=True) as progress:
        train(base, _battles(case, base.model), targets, 1, lambda trained: None, progress)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = time.perf_counter() - began
    return {"peak": peak, "total": needed.total, "most": needed.most, "seconds": seconds}


def _settings(case: Case, backbone: str) -> Transformer:
    of_case: dict[str, Any] = case._asdict()
    return Transformer(
        backbone=backbone,
        max_length=case.tokens,
        attention=of_case["attention"],
        dtype=of_case["dtype"],
        lora=Lora(rank=16, alpha=32, dropout=0.0, target_modules="all-linear") if case.lora else None,
        gradient_checkpointing=case.checkpointing,
        tokens_per_batch=case.rows * case.tokens,
        batch_size=BATTLES,
        epochs=1,
        eval_battles=0,
    )


def _battles(case: Case, model: Any) -> Encoded:
    """Battles whose only text is a prompt of random tokens."""
    rng = np.random.default_rng(0)
    one, none = np.array([1], dtype=np.int32), [np.array([], dtype=np.int32)] * BATTLES
    drawn = rng.integers(1, model.config.vocab_size, (BATTLES, case.tokens - FRAME), dtype=np.int32)
    return Encoded(([*drawn], none, none), (one,) * FRAME, np.full(BATTLES, case.tokens))


if __name__ == "__main__":
    main()
