from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models import plan
from models.cards import USABLE, Card, card
from models.hub import load_config, load_tokenizer
from models.settings import Lora, Tiny, TinyBackbone, Transformer
from models.tokens import encode
from tests.models.checkpoints import battles, settings

CPU = torch.device("cpu")
ROWS = plan.Rows(train=1000, test=100, folds=5)
CARD = Card("server card", "cuda", 80 * 10**9, (8, 0), 166_912)


def test_tokens_are_those_of_the_shown_battles(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"], epochs=3, swap_training="both")
    tokenizer = load_tokenizer(base)
    found = plan.make(base, load_config(base), tokenizer, battles(), ROWS, CPU, card(CPU))
    mean = encode(tokenizer, battles(), base).lengths.mean()
    assert found.sampled == len(battles())
    assert found.train_tokens == pytest.approx(mean * 800 * 3 * 2)
    assert found.predict_tokens == pytest.approx(mean * (200 + 100) * 2)
    assert found.fits
    assert found.fix is None
    assert found.train_seconds > 0
    assert found.download == 0


def test_without_a_tokenizer_tokens_are_guessed_from_characters_and_cut(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"])
    found = plan.token_counts(base, None, battles())
    assert found.max() <= base.max_length
    assert len(np.unique(found)) > 5
    wide = plan.token_counts(base.model_copy(update={"max_length": 10_000}), None, battles())
    assert wide.mean() > found.mean()
    made = plan.make(base, load_config(base), None, battles(), ROWS, CPU, card(CPU))
    assert made.sampled == 0


def test_what_does_not_fit_is_told_with_the_mildest_setting_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    base = Transformer(backbone="owner/name", max_length=2048, tokens_per_batch=8192, lora=Lora(), dtype="bfloat16")

    def total(settings: Transformer, *_: object) -> SimpleNamespace:
        weights = 5_000_000 if settings.quantization == "nf4" else 18_000_000
        kept = 100 if settings.gradient_checkpointing else 1000
        return SimpleNamespace(total=weights + kept * max(settings.tokens_per_batch, settings.max_length))

    def fix(settings: Transformer, total: int) -> str | None:
        return plan.what_fits(settings, None, replace(CARD, memory=round(total / USABLE) + 9))

    monkeypatch.setattr(plan, "estimate", total)
    assert fix(base, 21_000_000) == "tokens_per_batch=2048"
    assert fix(base, 19_000_000) == "gradient_checkpointing=true"
    assert fix(base, 18_300_000) == "tokens_per_batch=2048 gradient_checkpointing=true"
    assert fix(base, 14_000_000) == "quantization=nf4"
    short = base.model_copy(update={"tokens_per_batch": 2048})
    assert fix(short, 7_100_000) == "quantization=nf4"
    assert fix(short, 5_150_000) == "gradient_checkpointing=true quantization=nf4 max_length=1024 tokens_per_batch=1024"
    assert fix(base, 4_000_000) is None
    full = base.model_copy(update={"lora": None})
    assert fix(full, 18_300_000) == "tokens_per_batch=2048 gradient_checkpointing=true"
    assert fix(full, 14_000_000) is None


def test_a_card_that_is_too_small_is_told_what_it_needs(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"], attention="eager", max_length=128, tokens_per_batch=1024)
    config, small = load_config(base), replace(CARD, memory=4_000_000)
    found = plan.make(base, config, None, battles(), ROWS, CPU, small)
    assert not found.fits
    assert found.memory.total > small.usable
    assert found.fix == "tokens_per_batch=128"
    assert plan.make(base.model_copy(update={"tokens_per_batch": 128}), config, None, battles(), ROWS, CPU, small).fits


def test_a_tiny_backbone_that_is_not_made_yet_is_planned_by_its_sizes() -> None:
    sizes = TinyBackbone(architecture="llama", hidden=32, layers=3)
    config, tokenizer = plan.sources(settings(Path("nowhere")), Tiny(vocabulary=400), sizes, battles())
    assert (config.hidden_size, config.num_hidden_layers) == (32, 3)
    assert len(tokenizer) == config.vocab_size == 400
