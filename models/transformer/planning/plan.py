"""Tokens, memory, time and disk that a transformer base needs, computed before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from battles.errors import BadInput
from battles.prompt import parts
from models.transformer.backbone import attention, meta_device
from models.transformer.backbone.device import DeviceSpec
from models.transformer.backbone.pretrained import is_local, load_config, load_tokenizer
from models.transformer.data.token_budget import spread
from models.transformer.data.tokenization import encode, for_prediction
from models.transformer.planning.cards import Card
from models.transformer.planning.memory import Memory, estimate
from models.transformer.planning.preflight import SMALL, resolve
from models.transformer.planning.suggestions import suggest_fitting_settings, suggest_less_checkpointing
from models.transformer.planning.throughput import Pace, computed_pace, timed_pace
from models.transformer.settings import Tiny, TinyBackbone, Transformer

SAMPLED = 512
# English text in large vocabularies, a rule of thumb; only where the tokenizer itself cannot be had.
GUESSED_CHARACTERS = 4
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
class Machine:
    """A device to plan for and how many processes share the work: one of this machine, or with `card` one of the table,
    whose rates are not measured."""

    device: torch.device
    spec: DeviceSpec
    processes: int = 1
    card: Card | None = None

    @classmethod
    def of_card(cls, card: Card, count: int) -> "Machine":
        """So many cards of the table, a process on each."""
        spec = DeviceSpec(card.name, "cuda", card.memory, card.capability, card.shared_memory)
        return cls(torch.device("cpu"), spec, count, card)


@dataclass(frozen=True)
class Source:
    """What is read of a backbone beforehand; the tokenizer is None where only that cannot be had."""

    config: Any
    tokenizer: Any


@dataclass(frozen=True)
class Models:
    """Models of one kind: how many, and how many battles each learns from (once an epoch and order) and predicts."""

    count: int
    learns: float
    predicts: float


@dataclass(frozen=True)
class Plan:
    """One base's figures; tokens and seconds are of one fold, `seconds` and bytes on disk of all `models` by kind.
    `stored` are the bytes of the backbone as its owner stores it.

    `settings` are resolved for the device, `counts` are the tokens of sampled battles, `small` says that the seconds
    are too few. `fix` are the settings that would make it fit, `spare` those that recompute fewer layers and fit too;
    None where there are none.
    """

    settings: Transformer
    memory: Memory
    models: dict[str, Models]
    sampled: int
    counts: np.ndarray
    train_tokens: float
    predict_tokens: float
    pace: Pace
    small: bool
    train_seconds: float
    predict_seconds: float
    seconds: float
    disk: int
    stored: int
    download: int
    fits: bool
    spare: str | None
    fix: str | None


def read_source(settings: Transformer, tiny: Tiny, made: TinyBackbone | None, battles: pd.DataFrame) -> Source:
    """Configuration and tokenizer of a base; with `made`, those that this tiny backbone will have once pretrained.

    Raises BadInput where the configuration cannot be had.
    """
    if made is not None:
        from models.transformer.tiny_backbone import build, train_tokenizer

        texts = (text for part in parts(battles) for text in part)
        tokenizer = train_tokenizer(texts, tiny.vocabulary, made.architecture)
        return Source(build(made, len(tokenizer), tiny.max_length).config, tokenizer)
    config = load_config(settings)
    try:
        return Source(config, load_tokenizer(settings))
    except BadInput:
        return Source(config, None)


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
    by_folds = settings.test_from in ("mean", "best")
    share = rows.train / rows.folds
    models = {"fold": Models(rows.wanted, rows.train - share + rows.extra, share + (rows.test if by_folds else 0))}
    if settings.test_from == "adapters":
        models["mean of adapters"] = Models(1, 0, rows.test)
    if settings.test_from == "refit":
        models["refit"] = Models(1, rows.train + rows.extra, rows.test)
    if pairs:
        count = rows.folds * (rows.folds - 1) // 2
        models["pair of folds"] = Models(count, rows.train - 2 * share + rows.extra, 2 * share)
    return models


def make(
    settings: Transformer, source: Source, battles: pd.DataFrame, rows: Rows, machine: Machine, pairs: bool = False
) -> Plan:
    """The figures of one base on a device. Raises BadInput for settings that cannot work there.

    `battles` are all that it learns from; `pairs` says that a clean student learns from it. Time is an estimate
    (`planning.throughput`), divided by the processes but on a CPU, whose cores they share.
    """
    config, spec = source.config, machine.spec
    chosen = resolve(settings, spec, config)
    attention.check_training(chosen.attention, config, spec)
    counts = token_counts(chosen, source.tokenizer, battles)
    memory = estimate(chosen, config, spec)
    model = meta_device.bare(chosen, config)
    pace = _pace(chosen, config, model, counts, machine)
    longer = float(token_counts(for_prediction(chosen), source.tokenizer, battles).mean() / counts.mean())
    pace = replace(pace, read=longer * pace.read)
    time = Times(chosen, pace)
    models = models_of(chosen, rows, pairs)
    fold = models["fold"]
    fits = memory.total <= spec.usable
    number = sum(one.count for one in models.values())
    shown, orders = _shown(chosen), 2 if chosen.tta == "both" else 1
    stored = _stored_bytes(model, config)
    return Plan(
        settings=chosen,
        memory=memory,
        models=models,
        sampled=len(counts) if source.tokenizer is not None else 0,
        counts=counts,
        train_tokens=fold.learns * shown * counts.mean(),
        predict_tokens=fold.predicts * orders * longer * counts.mean(),
        pace=pace,
        small=machine.card is not None and config.hidden_size < SMALL,
        train_seconds=time.training(fold),
        predict_seconds=time.predicting(fold),
        seconds=time.all(models),
        disk=number * _saved_bytes(chosen, memory, source.tokenizer) + _beside_models(memory, rows, counts.mean()),
        stored=stored,
        download=0 if is_local(chosen.backbone) else stored,
        fits=fits,
        spare=suggest_less_checkpointing(chosen, config, spec) if fits else None,
        fix=None if fits else suggest_fitting_settings(chosen, config, spec),
    )


@dataclass(frozen=True)
class Times:
    """Seconds of a base's models under settings that may differ from those that its pace was found for in what is shown
    how often."""

    settings: Transformer
    pace: Pace

    def training(self, models: Models) -> float:
        return models.learns * _shown(self.settings) * self.pace.learn

    def predicting(self, models: Models) -> float:
        # A battle is read in one order or in both, or in the second for so many seconds of a model's.
        orders = 2 if self.settings.tta == "both" else 1
        second = min(self.settings.tta_seconds or 0.0, models.predicts * self.pace.read)
        return models.predicts * orders * self.pace.read + second

    def all(self, models: Mapping[str, Models]) -> float:
        return sum(one.count * (self.training(one) + self.predicting(one)) for one in models.values())


def _pace(settings: Transformer, config: Any, model: Any, counts: np.ndarray, machine: Machine) -> Pace:
    """The pace of all processes together."""
    if machine.card is not None:
        one = computed_pace(settings, config, model, counts, machine.card)
    else:
        one = timed_pace(settings, config, model, counts, machine.device)
    together = machine.processes if machine.spec.kind == "cuda" else 1
    return Pace(one.learn / together, one.read / together, one.flops)


def _shown(settings: Transformer) -> int:
    """How often a training shows a battle."""
    return settings.epochs * settings.orders


def _saved_bytes(settings: Transformer, memory: Memory, tokenizer: Any) -> int:
    """Bytes of one saved model: what was trained, in fp32, and the tokenizer."""
    parameters = memory.parameters if settings.lora is None else memory.trained_parameters
    return 4 * parameters + (len(tokenizer.backend_tokenizer.to_str()) if tokenizer is not None else 0)


def _stored_bytes(model: Any, config: Any) -> int:
    """Bytes of the backbone as its owner stores it."""
    itemsize: int = (getattr(config, "dtype", None) or torch.float32).itemsize
    return sum(p.numel() for p in model.parameters()) * itemsize


def _beside_models(memory: Memory, rows: Rows, mean_tokens: float) -> int:
    """Bytes on disk beside the models: tokens, out-of-fold rows, and the checkpoint of the training under way.

    That one twice: the next is written beside the last, which it then replaces.
    """
    tokens = (rows.train + rows.extra + rows.test) * TOKEN * (mean_tokens + PIECES)
    checkpoint = memory.trained + memory.optimizer + memory.paged
    return round(tokens) + (rows.train + rows.test) * TABLE_ROW + 2 * checkpoint
