"""What a transformer base will take, before any of it is loaded: tokens, memory, time, disk, and what does not fit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from battles.errors import BadInput
from battles.prompt import parts, spread
from models.transformer.backbone import attention, meta_device
from models.transformer.backbone.device import Card
from models.transformer.backbone.precision import DTYPES
from models.transformer.backbone.pretrained import is_local, load_config, load_tokenizer
from models.transformer.data.tokenization import encode
from models.transformer.planning.memory import Memory, estimate
from models.transformer.planning.preflight import resolve
from models.transformer.planning.throughput import SHARE, forward_flops, matmul_rate, training_factor
from models.transformer.settings import Tiny, TinyBackbone, Transformer

SAMPLED = 512
# English text in large vocabularies, a rule of thumb; only where the tokenizer itself cannot be had.
GUESSED_CHARACTERS = 4
# Below this width most of the time goes to launching operations, which the estimate leaves out: with 64 the embedded
# sample's backbones took 5 times the estimate on a CPU.
SMALL = 512
TOKEN, PIECES = 4, 3  # bytes of a kept token, and numbers kept beside a battle's (models.token_cache)
TABLE_ROW = 100  # bytes of a battle in an out-of-fold table: an id and three to nine probabilities


@dataclass(frozen=True)
class Rows:
    """The run's battles, with votes and without, its folds, and how many of them are wanted; a base's extra battles."""

    train: int
    test: int
    folds: int
    wanted: int
    extra: int = 0


@dataclass(frozen=True)
class Models:
    """Models of one kind: how many, and how many battles each learns from (once an epoch and order) and predicts."""

    count: int
    learns: float
    predicts: float


@dataclass(frozen=True)
class Plan:
    """One base's figures; tokens and seconds are of one fold, `seconds` and bytes on disk of all `models` by kind.

    `settings` are resolved for the device, `rate` is the measured FLOP/s of one process, `small` says that the seconds
    are too few, `fix` are the settings that would make it fit, None where it fits or where nothing helps.
    """

    settings: Transformer
    memory: Memory
    models: dict[str, Models]
    sampled: int
    train_tokens: float
    predict_tokens: float
    longest: int
    rate: float
    small: bool
    train_seconds: float
    predict_seconds: float
    seconds: float
    disk: int
    download: int
    fits: bool
    fix: str | None


def sources(settings: Transformer, tiny: Tiny, made: TinyBackbone | None, battles: pd.DataFrame) -> tuple[Any, Any]:
    """Configuration and tokenizer of a base; with `made`, those that this tiny backbone will have once pretrained.

    The tokenizer is None where only that cannot be had. Raises BadInput where the configuration cannot.
    """
    if made is not None:
        from models.transformer.tiny_backbone import build, train_tokenizer

        texts = (text for part in parts(battles) for text in part)
        tokenizer = train_tokenizer(texts, tiny.vocabulary, made.architecture)
        return build(made, len(tokenizer), tiny.max_length).config, tokenizer
    config = load_config(settings)
    try:
        return config, load_tokenizer(settings)
    except BadInput:
        return config, None


def token_counts(settings: Transformer, tokenizer: Any, battles: pd.DataFrame) -> np.ndarray:
    """Tokens of a seeded sample of battles after truncation, int64; by number of characters without a tokenizer."""
    sample = battles.sample(min(SAMPLED, len(battles)), random_state=settings.seed)
    if tokenizer is not None:
        return encode(tokenizer, sample, settings).lengths
    characters = np.array([[len(text) for text in part] for part in parts(sample)]).T
    template = settings.template
    around = -(-sum(map(len, (template.prompt, template.first, template.second, template.end))) // GUESSED_CHARACTERS)
    share = (1 - settings.prompt_share) / 2
    budget = settings.max_length - around
    kept = spread(-(-characters // GUESSED_CHARACTERS), (settings.prompt_share, share, share), budget)
    return np.asarray(kept.sum(axis=1) + around)


def models_of(settings: Transformer, rows: Rows, pairs: bool) -> dict[str, Models]:
    """The models that a base trains: of the wanted folds, of all battles, and with `pairs` those for clean students."""
    refit = settings.test_from == "refit" and rows.test > 0
    share = rows.train / rows.folds
    found = {"fold": Models(rows.wanted, rows.train - share + rows.extra, share + (0 if refit else rows.test))}
    if refit:
        found["refit"] = Models(1, rows.train + rows.extra, rows.test)
    if pairs:
        count = rows.folds * (rows.folds - 1) // 2
        found["pair of folds"] = Models(count, rows.train - 2 * share + rows.extra, 2 * share)
    return found


def make(
    settings: Transformer,
    config: Any,
    tokenizer: Any,
    battles: pd.DataFrame,
    rows: Rows,
    where: torch.device,
    card: Card,
    processes: int = 1,
    pairs: bool = False,
) -> Plan:
    """The figures of one base on a device. Raises BadInput for settings that cannot work there.

    `battles` are all that it learns from; `pairs` says that a clean student learns from it. Time is an estimate: the
    operations of training (`planning.throughput`) over a share of 0.45 of the rate of this device's matrix product,
    measured in the shape and type of the base's widest layer, and divided by the `processes` (not on a CPU, whose
    cores they share).
    """
    chosen = resolve(settings, card, config)
    attention.check_training(chosen.attention, config, card)
    counts = token_counts(chosen, tokenizer, battles)
    memory = estimate(chosen, config, card)
    model = meta_device.bare(chosen, config)
    dtype = DTYPES[chosen.dtype]
    wide = getattr(config, "intermediate_size", 4 * config.hidden_size)
    rate = matmul_rate(where, dtype, memory.rows * memory.tokens, config.hidden_size, wide)
    devices = processes if card.kind == "cuda" else 1
    read = forward_flops(model, counts.mean(), float(np.square(counts).mean())) / (SHARE * rate * devices)
    shows = chosen.epochs * (2 if chosen.swap_training == "both" else 1)
    learn = shows * read * training_factor(chosen, config.num_hidden_layers)
    # A battle is read in one order or in both, or in the second for so many seconds of a model's.
    orders = 2 if chosen.tta == "both" else 1

    def predicting(one: Models) -> float:
        return one.predicts * orders * read + min(chosen.tta_seconds or 0.0, one.predicts * read)

    models = models_of(chosen, rows, pairs)
    fold = models["fold"]
    fits = memory.total <= card.usable
    parameters = memory.parameters if chosen.lora is None else memory.trained_parameters
    saved = 4 * parameters + (len(tokenizer.backend_tokenizer.to_str()) if tokenizer is not None else 0)
    stored = sum(p.numel() for p in model.parameters()) * (getattr(config, "dtype", None) or torch.float32).itemsize
    return Plan(
        settings=chosen,
        memory=memory,
        models=models,
        sampled=len(counts) if tokenizer is not None else 0,
        train_tokens=fold.learns * shows * counts.mean(),
        predict_tokens=fold.predicts * orders * counts.mean(),
        longest=int(counts.max()),
        rate=rate,
        small=config.hidden_size < SMALL,
        train_seconds=fold.learns * learn,
        predict_seconds=predicting(fold),
        seconds=sum(one.count * (one.learns * learn + predicting(one)) for one in models.values()),
        disk=sum(one.count for one in models.values()) * saved + _beside_models(memory, rows, counts.mean()),
        download=0 if is_local(chosen.backbone) else stored,
        fits=fits,
        fix=None if fits else what_fits(chosen, config, card),
    )


def _beside_models(memory: Memory, rows: Rows, mean_tokens: float) -> int:
    """Bytes on disk beside the models: tokens, out-of-fold rows, and the checkpoint of the training under way.

    That one twice: the next is written beside the last, which it then replaces.
    """
    tokens = (rows.train + rows.extra + rows.test) * TOKEN * (mean_tokens + PIECES)
    checkpoint = memory.trained + memory.optimizer + memory.paged
    return round(tokens) + (rows.train + rows.test) * TABLE_ROW + 2 * checkpoint


def what_fits(settings: Transformer, config: Any, card: Card) -> str | None:
    """The first settings, from the mildest, that fit the device's memory: alone, and if none does, added up.

    Smaller micro-batches change nothing but the speed; checkpointing costs a second forward pass; 4-bit weights and,
    on top of all, texts cut shorter come last.
    """
    small: dict[str, Any] = {"tokens_per_batch": settings.max_length}
    again: dict[str, Any] = {"gradient_checkpointing": True}
    narrow: dict[str, Any] = {"quantization": "nf4"} if settings.lora is not None else {}
    mild = [small, again, small | again]
    cut = [{"max_length": length, "tokens_per_batch": length} for length in (1024, 512, 256)]
    every = [*mild, narrow, *(change | narrow for change in mild), *(again | narrow | change for change in cut)]
    now = settings.model_dump()
    tried = set()
    for whole in every:
        change = {key: value for key, value in whole.items() if _less(key, value, now[key])}
        words = " ".join(f"{key}={str(value).lower()}" for key, value in change.items())
        if words in tried or not change:
            continue
        tried.add(words)
        if estimate(settings.model_copy(update=change), config, card).total <= card.usable:
            return words
    return None


def _less(key: str, value: Any, now: Any) -> bool:
    """Whether a change of a setting would take less memory than what is set."""
    return bool(value != now if key in ("quantization", "gradient_checkpointing") else value < now)
