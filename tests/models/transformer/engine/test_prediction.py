from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from battles.errors import BadInput
from battles.swap import swap_battles, swap_probabilities
from models.transformer.backbone.full_precision import in_float32
from models.transformer.backbone.loading import LoadedBase
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.data.tokenization import Encoded, encode
from models.transformer.engine import prediction
from models.transformer.engine.prediction import predict, predict_logits
from models.transformer.settings import Transformer
from oof.table import MEAN, PLAIN, SWAPPED
from tests.models.transformer.checkpoints import ARCHITECTURES, as_loaded, battles, load, settings

FP32 = torch.float32


def _loaded(base: Transformer) -> tuple[Any, Encoded, int]:
    tokenizer = load_tokenizer(base)
    pad = tokenizer.pad_token_id
    return load(base, 1, pad, torch.device("cpu")), encode(tokenizer, battles(), base), pad


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("swapped", [False, True])
def test_padded_batches_equal_one_by_one(checkpoints: dict[str, Path], name: str, swapped: bool) -> None:
    base = settings(checkpoints[name], tokens_per_batch=700)
    model, encoded, pad = _loaded(base)
    together = predict_logits(as_loaded(model, base, pad), encoded, swapped)
    with torch.inference_mode():
        for row in range(len(encoded)):
            ids = torch.from_numpy(encoded.sequence(row, swapped).astype(np.int64))[None]
            assert np.abs(model(input_ids=ids).logits[0].numpy() - together[row]).max() < 1e-5


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_with_both_orders_exchanged_battles_have_exchanged_predictions(checkpoints: dict[str, Path], name: str) -> None:
    base = settings(checkpoints[name])
    model, encoded, pad = _loaded(base)
    exchanged = encode(load_tokenizer(base), swap_battles(battles()), base)
    plain, other = (predict(as_loaded(model, base, pad), rows) for rows in (encoded, exchanged))
    assert np.abs(plain[MEAN] - swap_probabilities(other[MEAN])).max() < 1e-6
    assert np.abs(plain[PLAIN] - swap_probabilities(other[SWAPPED])).max() < 1e-6
    assert np.abs(plain[PLAIN] - plain[SWAPPED]).max() > 1e-4  # one order alone is not symmetric
    assert np.allclose(plain[MEAN], (plain[PLAIN] + plain[SWAPPED]) / 2)
    assert np.allclose(plain[MEAN].sum(axis=1), 1)


def test_without_swap_tta_there_is_one_order(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["roberta"], tta="none")
    model, encoded, pad = _loaded(base)
    assert list(predict(as_loaded(model, base, pad), encoded)) == [MEAN]


class Clock:
    """Seconds that pass only when the model computes: one for each row; the backbone's rows are counted."""

    def __init__(self, model: Any) -> None:
        self.now = 100.0
        model.get_input_embeddings().register_forward_pre_hook(self._tick)

    def _tick(self, module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        self.now += len(inputs[0])

    def __call__(self) -> float:
        return self.now


def _margin(probabilities: np.ndarray) -> np.ndarray:
    ranked = np.sort(probabilities, axis=1)
    return np.asarray(ranked[:, 2] - ranked[:, 1])


def test_a_time_budget_is_spent_on_the_closest_battles(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.transformer.engine.prediction.CLOSEST", 8)
    base = settings(checkpoints["llama"], tta="budget", tta_seconds=1.0, tokens_per_batch=300)
    model, encoded, pad = _loaded(base)
    both = predict(as_loaded(model, settings(checkpoints["llama"], tokens_per_batch=300), pad), encoded)
    counted: list[int] = []
    found = predict(as_loaded(model, base, pad), encoded, advance=counted.append, seconds=20.0, clock=Clock(model))
    had = ~np.isnan(found[SWAPPED]).any(axis=1)
    assert 20 <= had.sum() < 20 + 300 // encoded.lengths.min()  # the batch that is under way is finished
    assert sum(counted) == len(encoded) + had.sum()
    assert np.isnan(found[SWAPPED][~had]).all()
    # All but those of the chunk in which the time ran out are closer than all that were left.
    order = np.argsort(_margin(both[PLAIN]), kind="stable")
    assert had[order[: had.sum() // 8 * 8]].all()
    assert not had[order[(had.sum() // 8 + 1) * 8 :]].any()
    assert np.abs(found[PLAIN] - both[PLAIN]).max() < 1e-6
    assert np.abs(found[SWAPPED][had] - both[SWAPPED][had]).max() < 1e-6
    assert np.abs(found[MEAN][had] - both[MEAN][had]).max() < 1e-6
    assert np.array_equal(found[MEAN][~had], found[PLAIN][~had])


def test_a_time_budget_without_end_is_both_orders_and_without_time_is_one(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["roberta"], tta="budget", tta_seconds=1.0)
    model, encoded, pad = _loaded(base)
    both, one = (
        predict(as_loaded(model, settings(checkpoints["roberta"], tta=tta), pad), encoded) for tta in ("both", "none")
    )
    endless = predict(as_loaded(model, base, pad), encoded, seconds=1e9, clock=Clock(model))
    for variant in (MEAN, PLAIN, SWAPPED):
        assert np.abs(endless[variant] - both[variant]).max() < 1e-6
    timeless = predict(as_loaded(model, base, pad), encoded, seconds=0.0, clock=Clock(model))
    assert np.array_equal(timeless[MEAN], one[MEAN])
    assert np.array_equal(timeless[PLAIN], one[MEAN])
    assert np.isnan(timeless[SWAPPED]).all()


@pytest.mark.parametrize(
    ("tta", "seconds", "message"),
    [
        ("budget", None, "tta: budget needs tta_seconds"),
        ("both", 60.0, r"tta_seconds: 60\.0 is of no use .* tta: budget"),
    ],
)
def test_seconds_and_a_budget_need_each_other(tta: str, seconds: float | None, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(Path("llama"), tta=tta, tta_seconds=seconds)


def test_progress_counts_every_row_in_both_orders(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"], tokens_per_batch=500)
    model, encoded, pad = _loaded(base)
    counted: list[int] = []
    predict(as_loaded(model, base, pad), encoded, advance=counted.append)
    assert sum(counted) == 2 * len(encoded)
    assert len(counted) > 2


def test_a_battle_that_overflows_in_half_precision_is_computed_again_in_fp32(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second layer's input is infinite for one battle, in the narrow type only."""
    base = settings(checkpoints["gemma2"], dtype="bfloat16", tokens_per_batch=700)
    model, encoded, pad = _loaded(base)
    narrow = LoadedBase(model, base, torch.bfloat16, pad)
    plain = predict_logits(narrow, encoded, False)
    with in_float32(model):
        expected = predict_logits(as_loaded(model, base, pad), encoded, False)
    longest = int(encoded.lengths.argmax())
    ids = torch.from_numpy(encoded.sequence(longest, False))

    def overflow(module: torch.nn.Module, given: tuple[torch.Tensor, ...], hidden: Any) -> Any:
        rows = hidden[0] if isinstance(hidden, tuple) else hidden
        mine = torch.tensor([torch.equal(row[: len(ids)].int(), ids) for row in seen[-1]])
        if rows.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
            return hidden
        rows = torch.where(mine[:, None, None], torch.inf, rows)
        return (rows, *hidden[1:]) if isinstance(hidden, tuple) else rows

    seen: list[torch.Tensor] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    model.get_base_model().model.layers[0].register_forward_hook(overflow)
    with pytest.raises(BadInput, match="dtype: bfloat16 gives logits that are not finite"):
        predict_logits(narrow, encoded, False)
    monkeypatch.setattr(prediction, "OVERFLOWING", (torch.bfloat16,))  # in place of a card's float16
    found = predict_logits(narrow, encoded, False)
    others = np.arange(len(encoded)) != longest
    np.testing.assert_array_equal(found[others], plain[others])
    np.testing.assert_allclose(found[longest], expected[longest], atol=1e-5)
    assert "1 battles overflowed in bfloat16: computed again in float32" in capsys.readouterr().out
