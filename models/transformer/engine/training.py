"""The training loop of a transformer base model: one fold, vote distributions as targets, both orders."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from battles.errors import BadInput
from models.progress import Progress
from models.transformer.backbone.adapters import Model
from models.transformer.backbone.packing import pack_multiple
from models.transformer.data.batching import batches, computed_tokens, training_steps
from models.transformer.data.tokenization import Encoded
from models.transformer.engine import checkpoint, distributed, fsdp, out_of_memory
from models.transformer.engine.forward import Scorer
from models.transformer.engine.fsdp import Sharded
from models.transformer.engine.loss import as_shown, loss_sum
from models.transformer.engine.optimizer import make_optimizer, warmup_then_cosine
from models.transformer.settings import Transformer

# Keeps the processes' generators apart.
PRIME = 1_000_003
PRECISION = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


def train(
    model: Model,
    encoded: Encoded,
    targets: np.ndarray,
    settings: Transformer,
    pad: int,
    dtype: torch.dtype,
    seed: int,
    watch: Callable[[Model | Sharded], float | None],
    progress: Progress,
    checkpoint_path: Path | None = None,
) -> tuple[Model | Sharded, list[dict[str, Any]]]:
    """Trains in place and returns the bare model and its curve, one dict per optimizer step.

    `targets` (battles, 3) are vote probabilities in the original order, or with a teacher (battles, 2, 3); the loss
    (`engine.loss`) is averaged over the rows of an optimizer step however it is cut into micro-batches. `watch` is
    called at every epoch's end and its value (the log loss on rows that are not trained on, in nats) stands in the
    curve; nothing is chosen by it. With a `checkpoint_path` a killed training goes on from that file, and one that
    had ended is not trained again. Raises BadInput when the loss is not finite.

    Of several processes each takes its share of every optimizer step's rows; DistributedDataParallel averages the
    gradients, so that the step is that of one process but for rounding (and for dropout, which each draws itself).
    With sharded weights (`engine.fsdp`) `watch` gets, and the caller gets back, the scorer that all must call.
    """
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)  # dropout
    sharded = fsdp.active()
    precision = "no" if sharded else PRECISION[dtype]
    accelerator = Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available())
    optimizer = make_optimizer(model, settings)
    schedule = [list(_epoch(encoded, settings, epoch, generator)) for epoch in range(settings.epochs)]
    total = sum(len(steps) for steps in schedule)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_cosine(total, settings.warmup))
    scorer = Sharded(model, dtype) if sharded else Scorer(model)
    wrapped, optimizer = accelerator.prepare(scorer, optimizer)
    trained: Model | Sharded = wrapped if sharded else model
    everything = torch.from_numpy(targets).float()
    parts = checkpoint.Parts(model, optimizer, scheduler, accelerator.scaler)
    curve = [] if checkpoint_path is None else checkpoint.restore(checkpoint_path, parts)
    progress.skip(len(curve))
    began_before = time.perf_counter() - (curve[-1]["seconds"] if curve else 0.0)
    saved = time.monotonic()
    saves = accelerator.is_main_process or sharded  # all have a part of a sharded state
    ends = np.cumsum([len(steps) for steps in schedule])
    budget, multiple = settings.tokens_per_batch, pack_multiple(model, settings)

    def gradients(through: torch.nn.Module, budget: int, rows: np.ndarray, swapped: np.ndarray) -> tuple[float, int]:
        wanted = as_shown(everything[rows], torch.from_numpy(swapped))
        return _accumulate(accelerator, through, encoded, rows, swapped, wanted, settings, pad, multiple, budget)

    if accelerator.num_processes > 1 and not sharded:
        # A process that ran out of memory later would leave the others waiting: the longest step is tried beforehand,
        # not through the wrapper, whose processes wait for each other.
        longest = max((step for steps in schedule for step in steps), key=lambda step: encoded.lengths[step[0]].sum())
        while distributed.any_of(failed := _runs_out(partial(gradients, scorer, budget, *longest))):
            if failed:
                budget = out_of_memory.smaller(budget, encoded.lengths[_own(longest[0])], multiple, settings)
        optimizer.zero_grad()
    if accelerator.num_processes > 1:
        torch.manual_seed(seed + len(curve) + PRIME * accelerator.process_index)
    for epoch, steps in enumerate(schedule):
        if len(curve) >= ends[epoch]:
            continue  # of an earlier process
        model.train()
        for rows, swapped in steps[len(curve) - ends[epoch] :]:
            began = time.perf_counter()
            while True:
                try:
                    loss, computed = distributed.mean(gradients(wrapped, budget, rows, swapped))
                    break
                except torch.OutOfMemoryError:
                    if accelerator.num_processes > 1:
                        raise BadInput(
                            f"tokens_per_batch: {budget} was too much for process {accelerator.process_index} at step "
                            f"{len(curve) + 1}; set a smaller one: the fold goes on from its checkpoint"
                        ) from None
                    optimizer.zero_grad()  # the step is done again, whole: its gradients are those of any budget
                budget = out_of_memory.smaller(budget, encoded.lengths[rows], multiple, settings)
            tokens = int(encoded.lengths[rows].sum())
            if not math.isfinite(loss):
                raise BadInput(
                    f"dtype: {settings.dtype} or learning_rate: {settings.learning_rate} made the loss {loss} at step "
                    f"{len(curve) + 1} of {settings.backbone}; use float32 or a lower rate"
                )
            accelerator.clip_grad_norm_(wrapped.parameters(), settings.max_grad_norm)
            rate = scheduler.get_last_lr()[0]
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            curve.append(
                {
                    "step": len(curve) + 1,
                    "epoch": epoch + 1,
                    "loss": loss,
                    "learning_rate": rate,
                    "tokens_per_second": tokens / (time.perf_counter() - began),
                    "padding": 1 - tokens / (computed * accelerator.num_processes),
                    "memory_bytes": out_of_memory.memory_bytes(accelerator.device),
                    "seconds": time.perf_counter() - began_before,
                    "valid_log_loss": None,
                }
            )
            progress.advance(1, f"loss {loss:.3f}")
            # An epoch's end is saved only with its validation.
            overdue = time.monotonic() - saved >= 60 * settings.checkpoint_minutes
            if sharded:
                overdue = distributed.from_leader(overdue)
            if saves and checkpoint_path is not None and overdue and len(curve) < ends[epoch]:
                checkpoint.save(checkpoint_path, parts, curve)
                saved = time.monotonic()
        curve[-1]["valid_log_loss"] = watch(trained)
        if saves and checkpoint_path is not None:
            checkpoint.save(checkpoint_path, parts, curve)
    return trained, curve


def _accumulate(
    accelerator: Accelerator,
    model: torch.nn.Module,
    encoded: Encoded,
    rows: np.ndarray,
    swapped: np.ndarray,
    wanted: torch.Tensor,
    settings: Transformer,
    pad: int,
    multiple: int,
    budget: int,
) -> tuple[float, int]:
    """The gradients of one optimizer step, in micro-batches within the budget; its loss, and the tokens computed.

    `wanted` (rows, …, 3) are the targets in the order in which a battle is shown. Of several processes this one reads
    its share, and the last micro-batch exchanges the gradients; loss and tokens are this process's. Sharded weights
    exchange theirs in every micro-batch, and a process that has fewer repeats its last one at no weight.
    """
    mine = _own(np.arange(len(rows)))
    weight = accelerator.num_processes / len(rows)  # gradients are averaged over processes
    if not len(mine):
        mine, weight = np.arange(1), 0.0  # fewer rows than processes: all must take part in the exchange
    loss, computed = 0.0, 0
    cut = [mine[places] for places in batches(encoded.lengths[rows[mine]], budget, multiple)]
    sharded = isinstance(model, Sharded)
    shared = [(part, weight) for part in cut]
    if sharded:
        shared += [(cut[-1], 0.0)] * (distributed.most(len(cut)) - len(cut))
    for number, (part, weight) in enumerate(shared):
        with nullcontext() if sharded or number == len(cut) - 1 else accelerator.no_sync(model):
            logits = model(encoded, rows[part], swapped[part], pad, multiple)
            part_loss = loss_sum(logits, wanted[part], settings) * weight
            accelerator.backward(part_loss)
        loss += part_loss.item()
        computed += computed_tokens(encoded.lengths[rows[part]], multiple)
    return loss, computed


def _own(rows: np.ndarray) -> np.ndarray:
    """This process's share of a step's rows."""
    return rows[distributed.share(len(rows))]


def _runs_out(work: Callable[[], object]) -> bool:
    """Whether the memory runs out while working."""
    try:
        work()
    except torch.OutOfMemoryError:
        return True
    return False


def count_steps(rows: int, settings: Transformer) -> int:
    """Optimizer steps of a whole training."""
    shown = 2 * rows if settings.swap_training == "both" else rows
    return settings.epochs * math.ceil(shown / settings.batch_size)


def _epoch(
    encoded: Encoded, settings: Transformer, epoch: int, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The steps of an epoch: rows and which of them are shown exchanged."""
    rows = len(encoded)
    if settings.swap_training == "both":
        for step in training_steps(np.tile(encoded.lengths, 2), settings.batch_size, generator):
            yield step % rows, step >= rows
        return
    # The same coin for a battle in every epoch, turned over each time: two epochs show both orders.
    coin = np.random.default_rng(settings.seed).random(rows) < 0.5
    shown = coin ^ bool(epoch % 2) if settings.swap_training == "alternate" else np.zeros(rows, dtype=bool)
    for step in training_steps(encoded.lengths, settings.batch_size, generator):
        yield step, shown[step]
