"""Plans for cards that are not here."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from battles.errors import BadInput
from models.transformer.backbone import meta_device
from models.transformer.backbone.device import USABLE
from models.transformer.planning import plan, suggestions
from models.transformer.planning.cards import CARDS, OF_PEAK, OF_PEAK_T4, read_card, read_hours
from models.transformer.planning.preflight import resolve
from models.transformer.planning.throughput import LEARNING, READING, computed_pace, forward_flops
from models.transformer.settings import Lora, Transformer
from tests.models.transformer.checkpoints import battles
from tests.models.transformer.configs import GEMMA_2_9B

GEMMA = Transformer(
    backbone="google/gemma-2-9b-it", max_length=2048, lora=Lora(), gradient_checkpointing=True, quantization="auto"
)
# Two of 42 layers, and cards of little memory.
FEW = copy.deepcopy(GEMMA_2_9B)
FEW.num_hidden_layers, FEW.layer_types, FEW.vocab_size = 2, FEW.layer_types[:2], 64_000
SOURCE = plan.Source(FEW, None)
ROWS = plan.Rows(train=50_000, test=0, folds=5, wanted=5)


def test_a_card_is_named_and_so_are_several() -> None:
    assert read_card("t4") == (CARDS["t4"], 1)
    assert read_card("2xT4") == (CARDS["t4"], 2)
    assert read_card("8xa100-80") == (CARDS["a100-80"], 8)
    for text in ("v100", "0xt4", "x", "", "t4 ", "t4\nx"):
        if text.strip() == "t4":
            assert read_card(text) == (CARDS["t4"], 1)
            continue
        with pytest.raises(BadInput, match=r"CARD: .* is not known; give one of t4, l4, a10, 4090, a100-40"):
            read_card(text)


def test_hours_are_a_positive_number() -> None:
    assert read_hours("24") == 24
    assert read_hours("0.5") == 0.5
    for text in ("", "a day", "0", "-1", "nan", "inf"):
        with pytest.raises(BadInput, match=r"HOURS: .*give the hours"):
            read_hours(text)


def _machine(name: str, usable: float, count: int = 1) -> plan.Machine:
    return plan.Machine.of_card(replace(CARDS[name], memory=int(usable / USABLE) + 1), count)


def test_what_auto_comes_to_follows_from_the_card() -> None:
    base = GEMMA.model_copy(update={"tokens_per_batch": 2048})
    usable = {"t4": 2.5e9, "l4": 3.2e9, "a100-40": 2.6e9}  # a step takes less in flex attention
    found = {name: resolve(base, _machine(name, size).spec, FEW) for name, size in usable.items()}
    assert {name: (base.quantization, base.dtype, base.attention) for name, base in found.items()} == {
        "t4": ("nf4", "float16", "eager"),
        "l4": ("none", "bfloat16", "eager"),  # its shared memory is too small for flex attention's heads of 256
        "a100-40": ("none", "bfloat16", "flex_attention"),
    }


def test_a_plan_says_what_fits_what_does_and_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "suggest_less_checkpointing", lambda *_: None)  # has a test of its own
    base = GEMMA.model_copy(update={"quantization": "nf4"})
    small = plan.make(base, SOURCE, battles(), ROWS, _machine("t4", 2.8e9))
    assert not small.fits
    assert small.fix == "tokens_per_batch=2048"
    mended = base.model_copy(update={"tokens_per_batch": 2048})
    one, two = (plan.make(mended, SOURCE, battles(), ROWS, _machine("t4", 2.8e9, n)) for n in (1, 2))
    assert one.fits
    assert one.seconds == pytest.approx(2 * two.seconds)
    faster = plan.make(mended, SOURCE, battles(), ROWS, _machine("h100", 2.8e9))
    assert one.seconds / faster.seconds == pytest.approx(989 * OF_PEAK / (65 * OF_PEAK_T4))


def test_the_pace_is_the_data_sheet_s_rate_less_what_is_lost() -> None:
    card = CARDS["a100-80"]
    base = resolve(GEMMA.model_copy(update={"quantization": "none"}), plan.Machine.of_card(card, 1).spec, GEMMA_2_9B)
    model = meta_device.bare(base, GEMMA_2_9B)
    counts = torch.full((4,), 500).numpy()
    pace = computed_pace(base, GEMMA_2_9B, model, counts, card)
    once = forward_flops(model, 500, 500**2)
    assert pace.flops == pytest.approx(LEARNING * OF_PEAK * 312e12)
    assert pace.read == pytest.approx(once / (READING * OF_PEAK * 312e12))
    assert pace.learn == pytest.approx(3 * once / pace.flops)  # forward, again in the backward pass, and that
    wide = computed_pace(base.model_copy(update={"dtype": "float32"}), GEMMA_2_9B, model, counts, card)
    assert wide.read / pace.read == pytest.approx(312 / 19.5)


def test_spare_memory_is_spent_on_recomputing_less(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = copy.deepcopy(FEW)
    deep.num_hidden_layers = 8
    spec = plan.Machine.of_card(CARDS["a100-80"], 1).spec
    kept = {1: 1, 2: 5, 4: 7}  # layers of 8 whose activations are there at once

    def total(settings: Transformer, *_: object) -> SimpleNamespace:
        layers = kept[settings.checkpoint_every] if settings.gradient_checkpointing else 8
        return SimpleNamespace(total=layers * one)

    monkeypatch.setattr(suggestions, "estimate", total)
    for fitting, expected in (
        (8, "gradient_checkpointing=false"),
        (7, "checkpoint_every=4"),
        (5, "checkpoint_every=2"),
    ):
        one = spec.usable / fitting - 1
        assert suggestions.suggest_less_checkpointing(GEMMA, deep, spec) == expected
    one = spec.usable / 4
    assert suggestions.suggest_less_checkpointing(GEMMA, deep, spec) is None
    never = GEMMA.model_copy(update={"gradient_checkpointing": False})
    assert suggestions.suggest_less_checkpointing(never, deep, spec) is None
