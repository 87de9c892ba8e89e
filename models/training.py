"""The training loop of a transformer base model: one fold, vote distributions as targets, both orders."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy

from battles.errors import BadInput
from battles.swap import SWAPPED_CLASSES
from models import memory
from models.backbone import HEADS, Model
from models.batching import batches, computed_tokens, training_steps
from models.forward import forward, pack_multiple
from models.progress import Progress
from models.settings import Transformer
from models.tokens import Encoded

PRECISION = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


def train(
    model: Model,
    encoded: Encoded,
    targets: np.ndarray,
    settings: Transformer,
    pad: int,
    dtype: torch.dtype,
    seed: int,
    watch: Callable[[Model], float | None],
    progress: Progress,
) -> tuple[Model, list[dict[str, Any]]]:
    """Trains in place and returns the bare model and its curve, one dict per optimizer step.

    `targets` (battles, 3) are vote probabilities in the original order; the loss is their cross-entropy, averaged over
    the rows of an optimizer step however it is cut into micro-batches. `watch` is called at every epoch's end
    and its value (the log loss on rows that are not trained on, in nats) stands in the curve; nothing is
    chosen by it. Raises BadInput when the loss is not finite.
    """
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)  # dropout
    accelerator = Accelerator(mixed_precision=PRECISION[dtype], cpu=not torch.cuda.is_available())
    optimizer = torch.optim.AdamW(_groups(model, settings), weight_decay=settings.weight_decay)
    schedule = [list(_epoch(encoded, settings, epoch, generator)) for epoch in range(settings.epochs)]
    total = sum(len(steps) for steps in schedule)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _warmup_then_cosine(total, settings.warmup))
    model, optimizer = accelerator.prepare(model, optimizer)
    everything = torch.from_numpy(targets).float()
    curve: list[dict[str, Any]] = []
    budget, multiple = settings.tokens_per_batch, pack_multiple(model, settings)
    for epoch, steps in enumerate(schedule):
        model.train()
        for rows, swapped in steps:
            began = time.perf_counter()
            wanted = everything[rows]
            flipped = torch.from_numpy(swapped)
            wanted[flipped] = wanted[flipped][:, SWAPPED_CLASSES]
            while True:
                try:
                    loss, computed = _accumulate(
                        accelerator, model, encoded, rows, swapped, wanted, pad, multiple, budget
                    )
                    break
                except torch.OutOfMemoryError:
                    optimizer.zero_grad()  # the step is done again, whole: its gradients are those of any budget
                budget = memory.smaller(budget, encoded.lengths[rows], multiple, settings)
            tokens = int(encoded.lengths[rows].sum())
            if not math.isfinite(loss):
                raise BadInput(
                    f"dtype: {settings.dtype} or learning_rate: {settings.learning_rate} made the loss {loss} at step "
                    f"{len(curve) + 1} of {settings.backbone}; use float32 or a lower rate"
                )
            accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
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
                    "padding": 1 - tokens / computed,
                    "valid_log_loss": None,
                }
            )
            progress.advance(1, f"loss {loss:.3f}")
        curve[-1]["valid_log_loss"] = watch(model)
    return accelerator.unwrap_model(model, keep_fp32_wrapper=False), curve


def _accumulate(
    accelerator: Accelerator,
    model: Model,
    encoded: Encoded,
    rows: np.ndarray,
    swapped: np.ndarray,
    wanted: torch.Tensor,
    pad: int,
    multiple: int,
    budget: int,
) -> tuple[float, int]:
    """The gradients of one optimizer step, in micro-batches within the budget; its loss, and the tokens computed.

    `wanted` (rows, 3) are the targets in the order in which a battle is shown.
    """
    loss, computed = 0.0, 0
    for part in batches(encoded.lengths[rows], budget, multiple):
        with accelerator.autocast():  # the backbone is called without the wrapper that would do it
            logits = forward(model, encoded, rows[part], swapped[part], pad, multiple)
        part_loss = cross_entropy(logits, wanted[part].to(logits.device), reduction="sum") / len(rows)
        accelerator.backward(part_loss)
        loss += part_loss.item()
        computed += computed_tokens(encoded.lengths[rows[part]], multiple)
    return loss, computed


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


def _groups(model: torch.nn.Module, settings: Transformer) -> list[dict[str, Any]]:
    """Optimizer groups: the new head may have a rate of its own."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    head = [p for name, p in trained if any(part in HEADS for part in name.split("."))]
    body = [p for name, p in trained if not any(part in HEADS for part in name.split("."))]
    head_rate = settings.head_learning_rate or settings.learning_rate
    return [{"params": body, "lr": settings.learning_rate}, {"params": head, "lr": head_rate}]


def _warmup_then_cosine(total: int, warmup: float) -> Callable[[int], float]:
    """The factor on the learning rate: linear up over the first `warmup` share of steps, then half a cosine to 0."""
    rising = max(1, round(total * warmup))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))

    return factor
