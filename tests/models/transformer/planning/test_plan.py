import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.transformer.backbone.device import USABLE, DeviceSpec, device_spec
from models.transformer.backbone.pretrained import load_config, load_tokenizer
from models.transformer.data.tokenization import encode
from models.transformer.planning import plan, suggestions
from models.transformer.planning.cards import CARDS
from models.transformer.planning.description import describe_plans
from models.transformer.planning.memory import HOLES, LEAST_HOLES, PROCESS, Memory
from models.transformer.settings import Lora, Tiny, TinyBackbone, Transformer
from tests.models.transformer.checkpoints import battles, settings

CPU = torch.device("cpu")
ROWS = plan.Rows(train=1000, test=100, folds=5, wanted=5)
MEMORY = Memory(
    parameters=10**6,
    trained_parameters=10**5,
    rows=4,
    tokens=96,
    packed=False,
    weights=36 * 10**5,
    trained=4 * 10**5,
    gradients=4 * 10**5,
    optimizer=5 * 10**5,
    paged=3 * 10**5,
    step=10**6,
)
HERE = plan.Machine(CPU, device_spec(CPU))
CARD = DeviceSpec("server card", "cuda", 80 * 10**9, (8, 0), 166_912)


def test_tokens_are_those_of_the_shown_battles(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"], epochs=3, swap_training="both")
    tokenizer = load_tokenizer(base)
    found = plan.make(base, plan.Source(load_config(base), tokenizer), battles(), ROWS, HERE)
    mean = encode(tokenizer, battles(), base).lengths.mean()
    assert found.sampled == len(battles())
    assert found.train_tokens == pytest.approx(mean * 800 * 3 * 2)
    assert found.predict_tokens == pytest.approx(mean * (200 + 100) * 2)
    assert found.fits
    assert found.fix is None
    assert found.train_seconds > 0
    assert found.download == 0


def _works(
    base: Transformer, rows: plan.Rows, monkeypatch: pytest.MonkeyPatch, processes: int = 1, pairs: bool = False
) -> plan.Plan:
    """The plan of a card of the table, on memory that is not computed."""
    monkeypatch.setattr(plan, "estimate", lambda *_: MEMORY)
    machine = plan.Machine.of_card(CARDS["a100-80"], processes)
    return plan.make(base, plan.Source(load_config(base), None), battles(), rows, machine, pairs)


def test_time_is_that_of_every_model_that_is_trained(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = settings(checkpoints["llama"], attention="eager")
    plain = _works(base, ROWS, monkeypatch)
    learn, read = plain.train_seconds / 800, plain.predict_seconds / 300  # a battle, in both orders
    assert plain.seconds == pytest.approx(5 * (800 * learn + 300 * read))
    one = _works(base, replace(ROWS, wanted=1), monkeypatch)
    assert one.seconds == pytest.approx(800 * learn + 300 * read)
    refit = _works(base.model_copy(update={"test_from": "refit"}), ROWS, monkeypatch)
    assert refit.seconds == pytest.approx(5 * (800 * learn + 200 * read) + 1000 * learn + 100 * read)
    untested = replace(ROWS, test=0)
    models = _works(base.model_copy(update={"test_from": "refit"}), untested, monkeypatch).models
    assert models.keys() == {"fold", "refit"}  # a test file may come later
    pairs = _works(base, ROWS, monkeypatch, pairs=True)
    assert pairs.seconds == pytest.approx(plain.seconds + 10 * (600 * learn + 400 * read))
    more = _works(base, replace(ROWS, extra=400), monkeypatch)
    assert more.train_tokens == pytest.approx(1.5 * plain.train_tokens)
    assert more.seconds == pytest.approx(5 * (1200 * learn + 300 * read))
    assert _works(base, ROWS, monkeypatch, processes=4).seconds == pytest.approx(plain.seconds / 4)


def test_a_budget_of_the_second_order_is_added_to_the_first(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = settings(checkpoints["llama"], attention="eager")
    both = _works(base, ROWS, monkeypatch)
    budget = {"tta": "budget", "tta_seconds": both.predict_seconds / 8}
    found = _works(base.model_copy(update=budget), ROWS, monkeypatch)
    assert found.predict_seconds == pytest.approx(both.predict_seconds * 5 / 8)
    assert found.predict_tokens == pytest.approx(both.predict_tokens / 2)
    ample = _works(base.model_copy(update={"tta": "budget", "tta_seconds": 1e9}), ROWS, monkeypatch)
    assert ample.predict_seconds == pytest.approx(both.predict_seconds)


def test_on_disk_are_models_tokens_and_two_checkpoints(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = settings(checkpoints["roberta"], frozen_layers=1)
    found = _works(base, ROWS, monkeypatch)
    assert found.sampled == 0
    mean = found.train_tokens / 800
    left = found.disk - 5 * 4 * MEMORY.parameters - 2 * (4 + 8) * MEMORY.trained_parameters
    assert left == pytest.approx(1100 * (4 * (mean + 3) + plan.TABLE_ROW), abs=1)


def test_without_a_tokenizer_tokens_are_guessed_from_characters_and_cut(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"])
    found = plan.token_counts(base, None, battles())
    assert found.max() <= base.max_length
    assert len(np.unique(found)) > 5
    wide = plan.token_counts(base.model_copy(update={"max_length": 10_000}), None, battles())
    assert wide.mean() > found.mean()


def test_what_does_not_fit_is_told_with_the_mildest_setting_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    base = Transformer(backbone="owner/name", max_length=2048, tokens_per_batch=8192, lora=Lora(), dtype="bfloat16")

    def total(settings: Transformer, *_: object) -> SimpleNamespace:
        weights = 5_000_000 if settings.quantization == "nf4" else 18_000_000
        kept = 100 if settings.gradient_checkpointing else 1000
        return SimpleNamespace(total=weights + kept * max(settings.tokens_per_batch, settings.max_length))

    def fix(settings: Transformer, total: int) -> str | None:
        return suggestions.suggest_fitting_settings(settings, None, replace(CARD, memory=round(total / USABLE) + 9))

    monkeypatch.setattr(suggestions, "estimate", total)
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
    small = replace(CARD, memory=4_000_000)
    found = plan.make(base, plan.Source(load_config(base), None), battles(), ROWS, plan.Machine(CPU, small))
    assert not found.fits
    assert found.memory.total > small.usable
    assert found.fix == "tokens_per_batch=128"


def test_a_tiny_backbone_that_is_not_made_yet_is_planned_by_its_sizes() -> None:
    sizes = TinyBackbone(architecture="llama", hidden=32, layers=3)
    source = plan.read_source(settings(Path("nowhere")), Tiny(vocabulary=400), sizes, battles())
    config, tokenizer = source.config, source.tokenizer
    assert (config.hidden_size, config.num_hidden_layers) == (32, 3)
    assert len(tokenizer) == config.vocab_size == 400


def test_on_a_cpu_the_plan_says_what_the_process_takes_with_holes_and_without(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"])
    source = plan.Source(load_config(base), None)
    found = plan.make(base, source, battles(), ROWS, HERE)
    needed = found.memory
    assert needed.process == PROCESS
    assert needed.total == PROCESS + needed.weights + needed.trained + needed.gradients + needed.optimizer + needed.step
    assert needed.most == needed.total + int(HOLES * needed.step) + LEAST_HOLES
    lines = describe_plans({"one": found}, HERE)
    assert re.search(r"memory, with holes +about 7\d\d MB", lines)
    assert "without holes from the start" not in lines
    tight = replace(HERE.spec, memory=round((needed.total + needed.most) / 2 / 0.9))
    found = plan.make(base, source, battles(), ROWS, replace(HERE, spec=tight))
    assert found.fits
    assert "one: without holes from the start, as 7" in describe_plans({"one": found}, replace(HERE, spec=tight))
    card = plan.make(base, source, battles(), ROWS, plan.Machine.of_card(CARDS["a100-80"], 1))
    assert (card.memory.process, card.memory.holes) == (0, 0)
    assert "holes" not in describe_plans({"one": card}, plan.Machine.of_card(CARDS["a100-80"], 1))
