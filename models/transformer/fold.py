"""One model of a transformer base.

Load, train, calibrate, predict, save; and later predict again from what was saved.
"""

import gc
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from battles.files import write_json
from battles.progress import Progress
from battles.swap import SWAPPED_CLASSES
from models.calibration import Calibration
from models.transformer.backbone import loading
from models.transformer.backbone.adapters import merge
from models.transformer.backbone.heads import add_names, drop_names
from models.transformer.backbone.loading import LoadedBase
from models.transformer.backbone.precision import check_same_precision, record_precision
from models.transformer.data.tokenization import Encoded
from models.transformer.data.training_set import FoldRows, TrainingSet
from models.transformer.engine import distributed, fsdp, scalar_head
from models.transformer.engine.prediction import Readout, predict, predict_logits
from models.transformer.engine.training import count_steps, train
from models.transformer.settings import Transformer
from oof.metrics import log_loss
from oof.model_store import RESUME, FoldResult, Variants
from oof.probabilities import softmax

CALIBRATION, CHECKPOINT = "calibration.json", "checkpoint.pt"


@dataclass(frozen=True)
class FoldContext:
    """What all models of a base share. `settings` are resolved; `tokens` are those of `training_set.battles`.

    `scored_tokens` are the same at the length of predictions.
    """

    name: str
    settings: Transformer
    device: torch.device
    tokenizer: Any
    training_set: TrainingSet
    tokens: Encoded
    scored_tokens: Encoded
    test_tokens: Encoded | None


def fit(context: FoldContext, number: int, train_rows: np.ndarray, valid_rows: np.ndarray, folder: Path) -> FoldResult:
    """Trains model `number` on `train_rows`, saves it in `folder`, predicts `valid_rows` and, if there are any, the
    test battles. Of several processes all call it at the same time; the main one writes the files."""
    settings, process = context.settings, distributed.state()
    seed = settings.seed + number
    title = f"{context.name} {folder.name.replace('-', ' ')}"
    rows = context.training_set.choose(number, train_rows, settings, seed)
    if context.training_set.has_extra and process.is_main_process:
        print(
            f"{title}: learns from {rows.extra} extra battles; {context.training_set.left_out} left out, as battles of "
            "the run have their prompts"
        )
    resume, pad = folder / RESUME, context.tokenizer.pad_token_id
    if (resume / CHECKPOINT).exists():
        check_same_precision(settings, resume)
    elif process.is_main_process:
        record_precision(settings, resume)
    # A backbone that outgrows a GPU comes to it in parts.
    base = loading.load(_started(settings, number), seed, pad, context.device, on_device=not fsdp.active())
    if settings.names_weight:
        add_names(base.model, context.training_set.names[1], seed)
    train_tokens, valid_tokens = context.tokens.rows(rows.train_rows), context.scored_tokens.rows(valid_rows)
    held_out = _HeldOut(context, rows, valid_rows, valid_tokens, seed)
    steps = count_steps(len(train_tokens), settings)
    with Progress(f"{title} training", steps, not process.is_main_process) as progress:
        base, curve = train(base, train_tokens, rows.targets, seed, held_out.log_loss, progress, resume / CHECKPOINT)
    drop_names(base.model)
    fsdp.save(base.model, folder / "model")
    if process.is_main_process:
        pd.DataFrame(curve).to_csv(folder / "curve.csv", index=False)
        context.tokenizer.save_pretrained(folder / "model")
        record_precision(settings, folder / "model")
    trained = time.perf_counter()
    details = _details(base, context.device) | {"extra_rows": rows.extra}
    merge(base.model, settings)
    readout: Readout = softmax
    if settings.objective == "mse":
        calibration = held_out.calibrate(base)
        readout = scalar_head.readout(calibration)
        if process.is_main_process:
            write_json(folder / "model" / CALIBRATION, calibration.values())
    valid, test = _predict_both(context, base, valid_tokens, readout, title)
    predicted = time.perf_counter()
    del base
    free(context.device)
    seconds = curve[-1]["seconds"], predicted - trained
    return FoldResult(valid, test, *seconds, _device_name(context.device), details)


def _started(settings: Transformer, number: int) -> Transformer:
    """The settings of model `number`, which starts where `init_from` says."""
    if settings.init_from is None:
        return settings
    return settings.model_copy(update={"init_from": settings.init_from.replace("{fold}", str(number))})


@dataclass(frozen=True)
class TestContext:
    """What saved models of a base need to predict battles without votes. `settings` are resolved."""

    name: str
    settings: Transformer
    device: torch.device
    pad: int
    tokens: Encoded


def predict_test(context: TestContext, folder: Path, scored: int) -> Variants:
    """Probabilities of the battles by the model that `fit` saved in `folder` and that scored `scored` battles."""
    settings, battles = context.settings, len(context.tokens)
    base, readout = restore(settings, folder, context.pad, context.device)
    seconds = _second_order_seconds(settings, scored, battles) * battles
    with _predicting(f"{context.name} {folder.name.replace('-', ' ')}", settings, battles) as progress:
        test = predict(base, context.tokens, readout, progress.advance, seconds)
    del base
    free(context.device)
    return test


def restore(settings: Transformer, folder: Path, pad: int, device: torch.device) -> tuple[LoadedBase, Readout]:
    """The model that `fit` saved in `folder`, and what makes probabilities of its logits."""
    return loading.restore(settings, folder / "model", pad, device), saved_readout(settings, folder)


def saved_readout(settings: Transformer, folder: Path) -> Readout:
    """What makes probabilities of the logits of the model that `fit` saved in `folder`."""
    if settings.objective != "mse":
        return softmax
    values = json.loads((folder / "model" / CALIBRATION).read_text(encoding="utf-8"))
    return scalar_head.readout(Calibration.of(values))


@dataclass(frozen=True)
class _HeldOut:
    """Rows that the model does not train on: some scored ones for the curve, and those that calibrate a scalar head."""

    context: FoldContext
    rows: FoldRows
    valid_rows: np.ndarray
    valid_tokens: Encoded
    seed: int

    def calibrate(self, base: LoadedBase) -> Calibration:
        """The calibration of a scalar head, on training battles that were held back for it."""
        tokens = self.context.scored_tokens.rows(self.rows.calibration_rows)
        votes = self.context.training_set.labels[self.rows.calibration_rows]
        outputs = [predict_logits(base, tokens, False)]
        if self.context.settings.tta == "none":
            return scalar_head.fit(outputs, [votes])
        outputs.append(predict_logits(base, tokens, True))
        return scalar_head.fit(outputs, [votes, np.array(SWAPPED_CLASSES)[votes]])

    def log_loss(self, base: LoadedBase) -> float | None:
        """Log loss, in nats, of one order of `eval_battles` scored battles; None where none are wanted."""
        settings = self.context.settings
        at = np.random.default_rng(self.seed).permutation(len(self.valid_rows))[: settings.eval_battles]
        if not len(at):
            return None
        readout: Readout = softmax
        if settings.objective == "mse":
            readout = scalar_head.readout(self.calibrate(base))
        logits = predict_logits(base, self.valid_tokens.rows(at), False)
        return log_loss(readout(logits), self.context.training_set.labels[self.valid_rows[at]])


def _predict_both(
    context: FoldContext, base: LoadedBase, valid_tokens: Encoded, readout: Readout, title: str
) -> tuple[Variants, Variants | None]:
    """Probabilities of the scored battles and of the test battles, while the model is loaded."""
    tests = 0 if context.test_tokens is None else len(context.test_tokens)
    seconds = _second_order_seconds(context.settings, len(valid_tokens), tests)
    with _predicting(title, context.settings, len(valid_tokens) + tests) as progress:
        valid = predict(base, valid_tokens, readout, progress.advance, seconds * len(valid_tokens))
        test = None
        if context.test_tokens is not None:
            test = predict(base, context.test_tokens, readout, progress.advance, seconds * tests)
    return valid, test


def _second_order_seconds(settings: Transformer, scored: int, tests: int) -> float:
    """With `tta: budget`, seconds for the second order of each battle: scored and test battles share them."""
    return (settings.tta_seconds or 0.0) / max(scored + tests, 1)


def _predicting(title: str, settings: Transformer, battles: int) -> Progress:
    process = distributed.state()
    orders = 1 if settings.tta == "none" else 2
    return Progress(
        f"{title} predicting", math.ceil(orders * battles / process.num_processes), not process.is_main_process
    )


def _details(base: LoadedBase, device: torch.device) -> dict[str, Any]:
    """What `fold.json` says of a model beside its times."""
    parameters = list(base.model.parameters())
    details: dict[str, Any] = {
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "dtype": str(base.dtype).removeprefix("torch."),
        "quantization": base.settings.quantization,
        "attention": base.settings.attention,
        "processes": distributed.state().num_processes,
    }
    if device.type == "cuda":
        details["peak_gpu_bytes"] = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    return details


def free(device: torch.device) -> None:
    """Gives back the memory of a model that nobody holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
