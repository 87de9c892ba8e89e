"""The training loop of a transformer base model: one fold, vote distributions as targets, both response orders."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from accelerate import Accelerator

from battles.errors import BadInput
from battles.progress import Progress
from models.transformer.backbone.loading import LoadedBase
from models.transformer.backbone.packing import pack_multiple
from models.transformer.data.batching import training_steps
from models.transformer.data.targets import Targets
from models.transformer.data.tokenization import Encoded
from models.transformer.engine import checkpoint, distributed, fsdp, out_of_memory
from models.transformer.engine.forward import Scorer
from models.transformer.engine.fsdp import Sharded
from models.transformer.engine.interrupts import Deferred
from models.transformer.engine.optimizer import make_optimizer, warmup_then_cosine
from models.transformer.engine.prediction import OVERFLOWING
from models.transformer.engine.step import GradientStep
from models.transformer.settings import Transformer

# Keeps the processes' random generators apart.
PRIME = 1_000_003
# In half precision, the share of a training's steps that may overflow and be skipped, and how many of few.
MOST_SKIPPED, LEAST_SKIPPED = 0.01, 3
PRECISION = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}

# Rows of an optimizer step, and which of them are shown with the responses exchanged.
Step: TypeAlias = tuple[np.ndarray, np.ndarray]


def train(
    base: LoadedBase,
    encoded: Encoded,
    targets: Targets | np.ndarray,
    seed: int,
    evaluate: Callable[[LoadedBase], float | None],
    progress: Progress,
    checkpoint_path: Path | None = None,
) -> tuple[LoadedBase, list[dict[str, Any]]]:
    """Trains in place; returns the trained base and its curve, one dict per optimizer step.

    `targets` are in the original order; an array (battles, 3) is vote probabilities alone. The loss (`engine.loss`) is
    averaged over the rows of an optimizer step, however it is cut into micro-batches. `evaluate` is
    called at the end of every epoch; its value (log loss on rows that are not trained on, in nats) goes into the curve,
    and nothing is chosen by it. With a `checkpoint_path` a killed training goes on from that file, one that is
    interrupted (Ctrl-C, SIGTERM) is saved before it ends, and one that has ended is not repeated. Raises BadInput when
    the loss is not finite.

    Of several processes each takes its part of every step's rows; DistributedDataParallel averages the gradients, so
    that the step is that of one process but for rounding and for dropout, which each process draws itself. With sharded
    weights (`engine.fsdp`) the base that `evaluate` gets, and the one returned, must be called by all processes at
    once.
    """
    torch.manual_seed(seed)  # dropout
    schedule = make_schedule(encoded, base.settings, seed, packed=bool(pack_multiple(base.model, base.settings)))
    ends = np.cumsum([len(steps) for steps in schedule])
    optimization = _Optimization(base, int(ends[-1]))
    accelerator, trained = optimization.accelerator, optimization.trained
    saver = _Saver(checkpoint_path, optimization.state(), base.settings.checkpoint_minutes)
    curve = saver.restore()
    progress.skip(len(curve))
    gradients = GradientStep.of(accelerator, optimization.prepared, base, encoded, targets)
    if accelerator.num_processes > 1:
        if not fsdp.active():
            every_step = [step for steps in schedule for step in steps]
            gradients.try_longest(optimization.scorer, optimization.optimizer, every_step)
            optimization.optimizer.zero_grad()
        torch.manual_seed(seed + len(curve) + PRIME * accelerator.process_index)
    saver.mark()
    try:
        _go_on(optimization, gradients, schedule, saver, curve, evaluate, progress)
    except KeyboardInterrupt:
        with Deferred():  # the same interrupt may reach this process by several ways
            saver.save_interrupted(curve)
        raise
    return trained, curve


def _go_on(
    optimization: "_Optimization",
    gradients: GradientStep,
    schedule: list[list[Step]],
    saver: "_Saver",
    curve: checkpoint.Curve,
    evaluate: Callable[[LoadedBase], float | None],
    progress: Progress,
) -> None:
    """Makes the steps of the schedule that `curve` does not have yet, and adds them to it."""
    begin = time.perf_counter() - (curve[-1]["seconds"] if curve else 0.0)
    several = optimization.accelerator.num_processes > 1
    end = 0
    for epoch, steps in enumerate(schedule):
        end += len(steps)
        left = end - len(curve)
        if left < 0 or (left == 0 and curve[-1]["valid_log_loss"] is not None):
            continue  # done before the training was resumed
        optimization.base.model.train()
        # One process leaves a step unfinished when a signal comes; several end together, between two steps.
        with Deferred(several) as waiting:
            for rows, swapped in steps[len(steps) - left :]:
                began = time.perf_counter()
                loss, computed = gradients.run(rows, swapped, len(curve) + 1, optimization.optimizer.zero_grad)
                with Deferred():  # an update, its row of the curve and the state to save belong together
                    common = {"step": len(curve) + 1, "epoch": epoch + 1, "loss": loss}
                    figures = optimization.update(loss, curve)
                    figures |= optimization.pace(gradients, rows, computed, time.perf_counter() - began)
                    seconds = {"seconds": time.perf_counter() - begin, "valid_log_loss": None}
                    curve.append(common | figures | seconds)
                    saver.mark()
                progress.advance(1, f"loss {loss:.3f}")
                if several and distributed.any_of(waiting.came):
                    saver.together = True
                    break
                # The end of an epoch is saved only together with its evaluation.
                saver.save_if_due(curve, len(curve) < end)
        if saver.together:
            raise KeyboardInterrupt
        curve[-1]["valid_log_loss"] = evaluate(optimization.trained)
        saver.save(curve)


class _Optimization:
    """Optimizer, learning rates and accelerate's wrapper around one model.

    `scorer` is the module that accelerate wraps, `prepared` what it makes of it, `trained` the base to predict with.
    """

    def __init__(self, base: LoadedBase, steps: int) -> None:
        sharded = fsdp.active()
        self.base, self.steps = base, steps
        self.scorer = Sharded(base.model, base.dtype) if sharded else Scorer(base.model)
        precision = "no" if sharded else PRECISION[base.dtype]
        self.accelerator = Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available())
        optimizer = make_optimizer(base.model, base.settings)
        factor = warmup_then_cosine(steps, base.settings.warmup)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        self.prepared, self.optimizer = self.accelerator.prepare(self.scorer, optimizer)
        self.trained = replace(base, model=self.prepared) if sharded else base

    def state(self) -> checkpoint.State:
        """What a checkpoint keeps."""
        return checkpoint.State(self.base.model, self.optimizer, self.scheduler, self.accelerator.scaler)

    def update(self, loss: float, curve: checkpoint.Curve) -> dict[str, Any]:
        """The optimizer step after those of `curve`, by the gradients of `loss`: its rate, and how many were skipped.

        In half precision a battle can overflow. Its step is skipped, so that a fold does not end with it: at most
        `MOST_SKIPPED` of the steps. Raises BadInput for more, and in other types, when the loss is not finite.
        """
        skipped = curve[-1].get("skipped", 0) if curve else 0
        finite = math.isfinite(loss)
        if finite:
            self.accelerator.clip_grad_norm_(self.prepared.parameters(), self.base.settings.max_grad_norm)
        else:
            skipped += 1
            self._check_skipped(loss, len(curve) + 1, skipped)
        rate = self.scheduler.get_last_lr()[0]
        if finite:
            self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return {"learning_rate": rate, "skipped": skipped, "loss": loss if finite else math.nan}

    def _check_skipped(self, loss: float, number: int, skipped: int) -> None:
        """Raises BadInput unless step `number` of this loss, which is not finite, may be skipped."""
        settings = self.base.settings
        most = max(LEAST_SKIPPED, int(MOST_SKIPPED * self.steps)) if self.base.dtype in OVERFLOWING else 0
        if skipped <= most:
            print(f"step {number}: the loss is {loss} in {settings.dtype}; the step is skipped", flush=True)
            return
        before = f", after {skipped - 1} skipped steps" if skipped > 1 else ""
        raise BadInput(
            f"dtype: {settings.dtype} or learning_rate: {settings.learning_rate} made the loss {loss} at step "
            f"{number} of {settings.backbone}{before}; use float32 or a lower rate"
        )

    def pace(self, gradients: GradientStep, rows: np.ndarray, computed: float, seconds: float) -> dict[str, Any]:
        """What a step of these rows took, for the curve; `computed` are its tokens with padding, of one process."""
        tokens = int(gradients.encoded.lengths[rows].sum())
        return {
            "tokens_per_second": tokens / seconds,
            "padding": 1 - tokens / (computed * self.accelerator.num_processes),
            "memory_bytes": out_of_memory.memory_bytes(self.accelerator.device),
        }


class _Saver:
    """Writes checkpoints to a path, one every so many minutes and when asked to; without a path, none.

    `together` says that all processes are between the same two steps.
    """

    def __init__(self, path: Path | None, state: checkpoint.State, minutes: float) -> None:
        self._path, self._state, self._minutes = path, state, minutes
        self._sharded = fsdp.active()
        # Every process has a part of a sharded state.
        self._writes = distributed.state().is_main_process or self._sharded
        self._saved = time.monotonic()
        self._random = checkpoint.random_state()
        self.together = False

    def restore(self) -> list[dict[str, Any]]:
        """The curve of the checkpoint, whose state is put back; empty where there is none."""
        return [] if self._path is None else checkpoint.restore(self._path, self._state)

    def mark(self) -> None:
        """Remembers the random generators between two steps: an unfinished step has drawn some of its dropout."""
        self._random = checkpoint.random_state()

    def save_interrupted(self, curve: list[dict[str, Any]]) -> None:
        """Saves the state between the last two steps, of a training that a signal ends."""
        if self._path is None or (self._sharded and not self.together):  # the others are who knows where
            return
        checkpoint.set_random_state(self._random)
        self.save(curve)
        if self._writes and distributed.state().is_main_process:
            print(f"{self._path}: saved after step {len(curve)}", flush=True)

    def save_if_due(self, curve: list[dict[str, Any]], allowed: bool) -> None:
        due = time.monotonic() - self._saved >= 60 * self._minutes
        if self._sharded:
            due = distributed.broadcast(due)
        if due and allowed:
            self.save(curve)

    def save(self, curve: list[dict[str, Any]]) -> None:
        if self._path is not None and self._writes:
            checkpoint.save(self._path, self._state, curve)
            self._saved = time.monotonic()


def count_steps(rows: int, settings: Transformer) -> int:
    """Optimizer steps of a whole training."""
    shown = settings.orders * rows
    return settings.epochs * math.ceil(shown / settings.batch_size)


def make_schedule(encoded: Encoded, settings: Transformer, seed: int, packed: bool = False) -> list[list[Step]]:
    """The steps of every epoch, drawn from the seed beforehand, so that a resumed training finds them again."""
    generator = np.random.default_rng(seed)
    return [list(_epoch(encoded, settings, epoch, generator, packed)) for epoch in range(settings.epochs)]


def _epoch(
    encoded: Encoded, settings: Transformer, epoch: int, generator: np.random.Generator, packed: bool
) -> Iterator[Step]:
    rows = len(encoded)
    if settings.swap_training == "both":
        for step in training_steps(np.tile(encoded.lengths, 2), settings.batch_size, generator, packed):
            yield step % rows, step >= rows
        return
    if settings.swap_training == "paired":
        for step in training_steps(encoded.lengths, settings.batch_size // 2, generator, packed):
            yield np.tile(step, 2), np.repeat([False, True], len(step))
        return
    # The same coin for a battle in every epoch, turned over each time: two epochs show both orders.
    coin = np.random.default_rng(settings.seed).random(rows) < 0.5
    shown = coin ^ bool(epoch % 2) if settings.swap_training == "alternate" else np.zeros(rows, dtype=bool)
    for step in training_steps(encoded.lengths, settings.batch_size, generator, packed):
        yield step, shown[step]
