from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from battles.sample import generate
from battles.settings import Sample
from models.crossfit import FoldResult
from models.tokens import encode
from models.transformer import fit_folds
from oof.table import MEAN, PLAIN, SWAPPED
from tests.models.checkpoints import battles, settings

TEST = generate(Sample(train=60, test=10, seed=3)).test
VALID = np.arange(0, 60, 3)
TRAIN = np.setdiff1d(np.arange(60), VALID)


def _fit(folder: Path, path: Path, table: pd.DataFrame | None = None, **changes: object) -> FoldResult:
    folder.mkdir()
    base = settings(path, **changes)
    return fit_folds("base", base, battles() if table is None else table, TEST, folder)(0, TRAIN, VALID, folder)


@pytest.mark.parametrize(("name", "quantization"), [("roberta", "none"), ("llama", "nf4"), ("gemma2", "int8")])
def test_a_fold_gives_both_orders_a_curve_and_a_model(
    checkpoints: dict[str, Path], tmp_path: Path, name: str, quantization: str
) -> None:
    result = _fit(tmp_path / "fold", checkpoints[name], quantization=quantization, epochs=2)
    assert result.test is not None
    for variants, rows in ((result.valid, 20), (result.test, 10)):
        assert set(variants) == {MEAN, PLAIN, SWAPPED}
        assert all(values.shape == (rows, 3) for values in variants.values())
        assert np.allclose(variants[MEAN].sum(axis=1), 1, atol=1e-6)
    curve = pd.read_csv(tmp_path / "fold" / "curve.csv")
    assert curve["valid_log_loss"].notna().sum() == 2
    assert (tmp_path / "fold" / "model" / "tokenizer.json").exists()
    assert len(list((tmp_path / "fold" / "tokens").iterdir())) == 2  # of the battles and of the test battles


@pytest.mark.parametrize("name", ["roberta", "llama"])
def test_the_stock_libraries_load_a_saved_fold_and_predict_the_same(
    checkpoints: dict[str, Path], tmp_path: Path, name: str
) -> None:
    result = _fit(tmp_path / "fold", checkpoints[name])
    saved = tmp_path / "fold" / "model"
    tokenizer = AutoTokenizer.from_pretrained(saved)
    loader: Any = AutoModelForSequenceClassification if name == "roberta" else AutoPeftModelForSequenceClassification
    model = loader.from_pretrained(saved, num_labels=3).eval()
    encoded = encode(tokenizer, TEST, settings(checkpoints[name]))
    assert result.test is not None
    with torch.inference_mode():
        for row in range(len(TEST)):
            ids = torch.from_numpy(encoded.sequence(row, False).astype(np.int64))[None]
            found = model(input_ids=ids).logits.softmax(dim=-1)[0].double().numpy()
            assert np.abs(found - result.test[PLAIN][row]).max() < 1e-5


def test_the_votes_of_the_fold_do_not_reach_its_predictions(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    turned = battles().copy()
    winners = ["winner_model_a", "winner_model_b", "winner_tie"]
    turned.loc[VALID, winners] = np.roll(turned.loc[VALID, winners].to_numpy(), 1, axis=1)
    plain = _fit(tmp_path / "one", checkpoints["llama"])
    other = _fit(tmp_path / "two", checkpoints["llama"], turned)
    assert np.array_equal(plain.valid[MEAN], other.valid[MEAN])
    changed = battles().copy()
    changed.loc[TRAIN, winners] = np.roll(changed.loc[TRAIN, winners].to_numpy(), 1, axis=1)
    assert not np.array_equal(plain.valid[MEAN], _fit(tmp_path / "three", checkpoints["llama"], changed).valid[MEAN])
