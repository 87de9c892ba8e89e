"""A transformer base model over the folds: what does not depend on a fold is done once, here."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import pandas as pd

from models.transformer import fold, fold_mean
from models.transformer.backbone.device import current_device
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.data.token_cache import encode_once
from models.transformer.data.tokenization import encode, for_prediction
from models.transformer.data.training_set import TrainingSet
from models.transformer.engine import distributed, fsdp
from models.transformer.planning.host_memory import avoid_holes_if_short
from models.transformer.planning.preflight import resolve_for_predicting, resolve_for_training
from models.transformer.settings import Transformer
from oof.model_store import FitModel, PredictTest


def open_base(
    name: str, settings: Transformer, training_set: TrainingSet, test: pd.DataFrame | None, folder: Path
) -> tuple[FitModel, PredictTest]:
    """The functions that fit one model of this base and that predict the test battles with a saved one.

    Checks the settings and tokenises; the tokens are kept in `tokens` of the base's `folder`. Of several processes
    (`engine.distributed`) all call it, and the functions, at the same time; the main one writes the files. Raises
    BadInput for settings that cannot work.
    """
    context = _context(name, settings, training_set, test, folder)
    if context.test_tokens is None:
        return partial(fold.fit, context), _no_battles
    of_test = fold.TestContext(
        name, context.settings, context.device, context.tokenizer.pad_token_id, context.test_tokens
    )
    return partial(fold.fit, context), partial(fold.predict_test, of_test)


def open_mean(
    name: str,
    settings: Transformer,
    training_set: TrainingSet,
    test: pd.DataFrame | None,
    folder: Path,
    folds: Sequence[int],
) -> FitModel:
    """The function that makes one model of those of the finished `folds`, as `open_base` gives one that trains."""
    return partial(fold_mean.average, _context(name, settings, training_set, test, folder), folds)


def _context(
    name: str, settings: Transformer, training_set: TrainingSet, test: pd.DataFrame | None, folder: Path
) -> fold.FoldContext:
    device = current_device()
    resolved = resolve_for_training(settings, device)
    fsdp.check(resolved)
    avoid_holes_if_short(resolved, device)
    if resolved.names_weight:
        _ = training_set.names  # refused now, before anything is loaded
    tokenizer = load_tokenizer(resolved)
    predicted, of_prediction = ({} if test is None else {"test": test}), for_prediction(resolved)
    if of_prediction != resolved:
        predicted["scored"] = training_set.battles
    with distributed.state().main_process_first():  # the others find the tokens on the disk
        tokens = encode_once(tokenizer, {"train": training_set.battles}, resolved, folder / "tokens")
        tokens |= encode_once(tokenizer, predicted, of_prediction, folder / "tokens")
    scored = tokens.get("scored", tokens["train"])
    return fold.FoldContext(
        name, resolved, device, tokenizer, training_set, tokens["train"], scored, tokens.get("test")
    )


def _no_battles(folder: Path, scored: int) -> NoReturn:
    raise AssertionError("there are no test battles to predict")


def open_saved(name: str, settings: Transformer, battles: pd.DataFrame, folder: Path) -> fold.TestContext:
    """What predicts these battles with saved models, of which `folder` holds one.

    The tokenizer is the one that was saved with the model. A backbone is read only where adapters need it: a full
    fine-tune lies in `folder` as a whole. What this device cannot do, of the types and attentions that were set, it
    chooses itself. Raises BadInput for a backbone that cannot be had.
    """
    device = current_device()
    saved = str(folder / "model")
    resolved = resolve_for_predicting(settings, device, None if settings.lora is not None else saved)
    tokenizer = load_tokenizer(settings.model_copy(update={"backbone": saved, "revision": None}))
    return fold.TestContext(
        name, resolved, device, tokenizer.pad_token_id, encode(tokenizer, battles, for_prediction(resolved))
    )
