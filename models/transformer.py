"""A transformer base model over the folds: tokenise once, then load, train, predict and save fold by fold."""

import gc
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from battles.schema import labels
from models import backbone
from models.crossfit import RESUME, FitFold, FoldResult
from models.linear import softmax
from models.predicting import predict, predict_logits
from models.progress import Progress
from models.settings import Transformer
from models.tokens import encode
from models.training import count_steps, train


def fit_folds(name: str, settings: Transformer, battles: pd.DataFrame, test: pd.DataFrame | None) -> FitFold:
    """The function that trains and predicts one fold of this base.

    What does not depend on the fold is done here, once: checks of the settings, tokenising.
    """
    backbone.load_config(settings)
    tokenizer = backbone.load_tokenizer(settings)
    encoded = encode(tokenizer, battles, settings)
    encoded_test = None if test is None else encode(tokenizer, test, settings)
    targets = np.eye(3)[labels(battles)]
    where = backbone.device()
    dtype = backbone.resolve_dtype(settings, where)
    pad = tokenizer.pad_token_id

    def fit_fold(fold: int, train_rows: np.ndarray, valid_rows: np.ndarray, folder: Path) -> FoldResult:
        seed = settings.seed + fold
        model = backbone.load(settings, seed, pad, where)
        learn, valid = encoded.rows(train_rows), encoded.rows(valid_rows)
        watched = np.random.default_rng(seed).permutation(len(valid))[: settings.watch]

        def watch(current: backbone.Model) -> float | None:
            if not len(watched):
                return None
            logits = predict_logits(current, valid.rows(watched), False, settings, pad, dtype)
            expected = targets[valid_rows[watched]]
            return float(-(expected * np.log(softmax(logits).clip(1e-15))).sum(axis=1).mean())

        checkpoint = folder / RESUME / "checkpoint.pt"
        with Progress(f"{name} fold {fold} training", count_steps(len(learn), settings)) as progress:
            model, curve = train(
                model, learn, targets[train_rows], settings, pad, dtype, seed, watch, progress, checkpoint
            )
        trained = time.perf_counter()
        orders = 1 if settings.tta == "none" else 2
        total = orders * (len(valid) + (0 if encoded_test is None else len(encoded_test)))
        with Progress(f"{name} fold {fold} predicting", total) as progress:
            out = predict(model, valid, settings, pad, dtype, progress.advance)
            out_test = None
            if encoded_test is not None:
                out_test = predict(model, encoded_test, settings, pad, dtype, progress.advance)
        predicted = time.perf_counter()
        pd.DataFrame(curve).to_csv(folder / "curve.csv", index=False)
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        details = _details(model, where, dtype)
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
