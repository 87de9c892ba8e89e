from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from battles.swap import swap_battles, swap_probabilities
from models import backbone
from models.predicting import predict, predict_logits
from models.settings import Transformer
from models.tokens import Encoded, encode
from oof.table import MEAN, PLAIN, SWAPPED
from tests.models.checkpoints import ARCHITECTURES, battles, settings

FP32 = torch.float32


def _loaded(base: Transformer) -> tuple[Any, Encoded, int]:
    tokenizer = backbone.load_tokenizer(base)
    pad = tokenizer.pad_token_id
    return backbone.load(base, 1, pad, torch.device("cpu")), encode(tokenizer, battles(), base), pad


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("swapped", [False, True])
def test_padded_batches_equal_one_by_one(checkpoints: dict[str, Path], name: str, swapped: bool) -> None:
    base = settings(checkpoints[name], tokens_per_batch=700)
    model, encoded, pad = _loaded(base)
    together = predict_logits(model, encoded, swapped, base, pad, FP32)
    with torch.inference_mode():
        for row in range(len(encoded)):
            ids = torch.from_numpy(encoded.sequence(row, swapped).astype(np.int64))[None]
            assert np.abs(model(input_ids=ids).logits[0].numpy() - together[row]).max() < 1e-5


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_with_both_orders_exchanged_battles_have_exchanged_predictions(checkpoints: dict[str, Path], name: str) -> None:
    base = settings(checkpoints[name])
    model, encoded, pad = _loaded(base)
    exchanged = encode(backbone.load_tokenizer(base), swap_battles(battles()), base)
    plain, other = (predict(model, rows, base, pad, FP32) for rows in (encoded, exchanged))
    assert np.abs(plain[MEAN] - swap_probabilities(other[MEAN])).max() < 1e-6
    assert np.abs(plain[PLAIN] - swap_probabilities(other[SWAPPED])).max() < 1e-6
    assert np.abs(plain[PLAIN] - plain[SWAPPED]).max() > 1e-4  # one order alone is not symmetric
    assert np.allclose(plain[MEAN], (plain[PLAIN] + plain[SWAPPED]) / 2)
    assert np.allclose(plain[MEAN].sum(axis=1), 1)


def test_without_swap_tta_there_is_one_order(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["roberta"], tta="none")
    model, encoded, pad = _loaded(base)
    assert list(predict(model, encoded, base, pad, FP32)) == [MEAN]


def test_progress_counts_every_row_in_both_orders(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"], tokens_per_batch=500)
    model, encoded, pad = _loaded(base)
    counted: list[int] = []
    predict(model, encoded, base, pad, FP32, counted.append)
    assert sum(counted) == 2 * len(encoded)
    assert len(counted) > 2
