"""A transformer base model over the folds: tokenise once, then load, train, predict and save fold by fold."""

import gc
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from battles.files import write_json
from battles.schema import labels
from battles.swap import SWAPPED_CLASSES
from models.calibration import Calibration
from models.progress import Progress
from models.transformer.backbone.adapters import Model
from models.transformer.backbone.device import device
from models.transformer.backbone.loading import load
from models.transformer.backbone.precision import DTYPES
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.data.token_cache import encode_once
from models.transformer.data.training_set import Examples
from models.transformer.engine import distributed, fsdp, scalar_head
from models.transformer.engine.prediction import Readout, predict, predict_logits
from models.transformer.engine.training import count_steps, train
from models.transformer.planning.preflight import resolve_for_training
from models.transformer.settings import Transformer
from oof.crossfit import RESUME, FitFold, FoldResult
from oof.metrics import log_loss
from oof.probabilities import softmax


def fit_folds(
    name: str,
    settings: Transformer,
    battles: pd.DataFrame,
    test: pd.DataFrame | None,
    folder: Path,
    extra: pd.DataFrame | None = None,
    guides: np.ndarray | None = None,
) -> FitFold:
    """The function that trains and predicts one fold of this base.

    What does not depend on the fold is done here, once: checks of the settings, tokenising; the tokens are kept in
    `tokens` of the base's `folder`. `extra` battles and a teacher's `guides` are those of `data.training_set`. Of
    several processes (`engine.distributed`) all call it, and the function that it gives, in step; the leader writes the
    files.
    """
    here = distributed.state()
    settings = resolve_for_training(settings, device())
    fsdp.check(settings)
    tokenizer = load_tokenizer(settings)
    examples = Examples.of(battles, extra, guides)
    tables = {"train": examples.battles} if test is None else {"train": examples.battles, "test": test}
    with here.main_process_first():  # the others find the tokens on the disk
        tokens = encode_once(tokenizer, tables, settings, folder / "tokens")
    encoded, encoded_test = tokens["train"], tokens.get("test")
    votes = labels(battles)
    where = device()
    dtype = DTYPES[settings.dtype]
    pad = tokenizer.pad_token_id

    def fit_fold(
        fold: int, train_rows: np.ndarray, valid_rows: np.ndarray, folder: Path, with_test: bool = True
    ) -> FoldResult:
        seed = settings.seed + fold
        title = f"{name} {folder.name.replace('-', ' ')}"
        chosen = examples.choose(fold, train_rows, valid_rows, settings, seed)
        if extra is not None and here.is_main_process:
            left_out = len(extra) - chosen.extra
            print(
                f"{title}: learns from {chosen.extra} extra battles; {left_out} left out, as their prompts are scored"
            )
        # A backbone that outgrows a card comes to it in parts.
        model: Model | fsdp.Sharded = load(settings, seed, pad, where, not fsdp.active())
        learn, valid = encoded.rows(chosen.learnt), encoded.rows(valid_rows)
        watched = np.random.default_rng(seed).permutation(len(valid))[: settings.watch]

        def calibrate(current: Model | fsdp.Sharded) -> Calibration:
            seen, answers = encoded.rows(chosen.calibrated), votes[chosen.calibrated]
            outputs = [predict_logits(current, seen, False, settings, pad, dtype)]
            if settings.tta == "none":
                return scalar_head.fit(outputs, [answers])
            outputs.append(predict_logits(current, seen, True, settings, pad, dtype))
            return scalar_head.fit(outputs, [answers, np.array(SWAPPED_CLASSES)[answers]])

        def watch(current: Model | fsdp.Sharded) -> float | None:
            if not len(watched):
                return None
            readout: Readout = softmax if settings.objective != "mse" else scalar_head.readout(calibrate(current))
            logits = predict_logits(current, valid.rows(watched), False, settings, pad, dtype)
            return log_loss(readout(logits), votes[valid_rows[watched]])

        checkpoint = folder / RESUME / "checkpoint.pt"
        with Progress(f"{title} training", count_steps(len(learn), settings), not here.is_main_process) as progress:
            model, curve = train(model, learn, chosen.targets, settings, pad, dtype, seed, watch, progress, checkpoint)
        trained = time.perf_counter()
        readout: Readout = softmax
        if settings.objective == "mse":
            calibration = calibrate(model)
            readout = scalar_head.readout(calibration)
            if here.is_main_process:
                write_json(folder / "model" / "calibration.json", calibration.values())
        orders = 1 if settings.tta == "none" else 2
        unvoted = encoded_test if with_test else None
        total = orders * (len(valid) + (0 if unvoted is None else len(unvoted)))
        seconds = (settings.tta_seconds or 0.0) * orders / total  # of the second order, a battle
        shown = math.ceil(total / here.num_processes)
        with Progress(f"{title} predicting", shown, not here.is_main_process) as progress:
            out = predict(model, valid, settings, pad, dtype, progress.advance, readout, seconds * len(valid))
            out_test = None
            if unvoted is not None:
                test_seconds = seconds * len(unvoted)
                out_test = predict(model, unvoted, settings, pad, dtype, progress.advance, readout, test_seconds)
        predicted = time.perf_counter()
        fsdp.save(model, folder / "model")
        if here.is_main_process:
            pd.DataFrame(curve).to_csv(folder / "curve.csv", index=False)
            tokenizer.save_pretrained(folder / "model")
        details = _details(model, where, dtype) | {
            "quantization": settings.quantization,
            "attention": settings.attention,
            "extra_rows": chosen.extra,
            "processes": here.num_processes,
        }
        del model
        gc.collect()
        if where.type == "cuda":
            torch.cuda.empty_cache()
        return FoldResult(out, out_test, curve[-1]["seconds"], predicted - trained, _device_name(where), details)

    return fit_fold


def _device_name(where: torch.device) -> str:
    return torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu"


def _details(model: torch.nn.Module, where: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    details: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "dtype": str(dtype).removeprefix("torch."),
    }
    if where.type == "cuda":
        details["peak_gpu_bytes"] = torch.cuda.max_memory_allocated(where)
        torch.cuda.reset_peak_memory_stats(where)
    return details
