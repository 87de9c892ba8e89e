from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from battles.errors import BadInput
from models.transformer.backbone.heads import Mlp, add_names, drop_names
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.base_model import open_base, open_saved
from models.transformer.data.targets import Targets
from models.transformer.data.tokenization import encode
from models.transformer.data.training_set import TrainingSet
from models.transformer.engine.forward import forward
from models.transformer.engine.loss import loss_sum
from models.transformer.engine.optimizer import groups
from models.transformer.fold import predict_test
from models.transformer.settings import Lora, Transformer
from oof.table import MEAN
from tests.models.transformer.checkpoints import battles, load, settings

CPU = torch.device("cpu")
VALID = np.arange(0, 60, 3)
TRAIN = np.setdiff1d(np.arange(60), VALID)


def _test() -> pd.DataFrame:
    return battles().iloc[VALID].drop(columns=["winner_model_a", "winner_model_b", "winner_tie"]).reset_index(drop=True)


@pytest.mark.parametrize("lora", [None, Lora(rank=4, dropout=0.0)])
def test_the_hidden_layer_learns_and_is_saved_and_read_back(
    checkpoints: dict[str, Path], tmp_path: Path, lora: Lora | None
) -> None:
    changes: dict[str, Any] = {"lora": lora, "head": "mlp", "head_dropout": 0.3, "learning_rate": 3e-3}
    base = settings(checkpoints["llama"], **changes)
    model = load(base, 1, 1, CPU)
    by_group = groups(model, base.model_copy(update={"head_learning_rate": 1.0}))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad and "score" in name}
    assert sorted(p.shape for p in by_group[1]["params"]) == sorted(p.shape for p in trained.values())
    assert sorted(tuple(p.shape) for p in trained.values()) == [(3, 64), (64,), (64, 64)]
    assert all(p.dtype == torch.float32 for p in trained.values())
    assert not [name for name in trained if "lora_" in name]

    (tmp_path / "fold-0").mkdir()
    fit, predict = open_base("base", base, TrainingSet.of(battles()), _test(), tmp_path)
    result = fit(0, TRAIN, VALID, tmp_path / "fold-0")
    file = "model.safetensors" if lora is None else "adapter_model.safetensors"
    saved = load_file(tmp_path / "fold-0" / "model" / file)
    hidden = next(value for name, value in saved.items() if "score" in name and "hidden.weight" in name)
    assert hidden.shape == (64, 64)
    # As it was trained, it predicts from what was saved: in the same run, and alone.
    assert result.test is not None
    np.testing.assert_allclose(result.test[MEAN], result.valid[MEAN], atol=1e-5)
    np.testing.assert_allclose(predict(tmp_path / "fold-0", 20)[MEAN], result.test[MEAN], atol=1e-6)
    alone = open_saved("base", base, _test(), tmp_path / "fold-0")
    np.testing.assert_allclose(predict_test(alone, tmp_path / "fold-0", 20)[MEAN], result.test[MEAN], atol=1e-6)
    if lora is not None:
        return
    # A second stage goes on from the head of the first; without its file nothing is drawn in its place.
    second = load(base.model_copy(update={"backbone": str(tmp_path / "fold-0" / "model")}), 7, 1, CPU)
    assert torch.equal(second.score.hidden.weight, hidden)
    save_file({k: v for k, v in saved.items() if "score" not in k}, tmp_path / "fold-0" / "model" / file)
    with pytest.raises(BadInput, match="the saved model has no head of two layers"):
        predict(tmp_path / "fold-0", 20)


def test_dropout_is_of_the_hidden_layer_and_of_training_only(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"], head="mlp", head_dropout=0.5)
    model, tokenizer = load(base, 1, 1, CPU), load_tokenizer(base)
    encoded = encode(tokenizer, battles().head(4), base)

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return forward(model, encoded, np.arange(4), np.zeros(4, dtype=bool), 1, 0)

    model.train()
    assert not torch.equal(logits(), logits())
    model.eval()
    assert torch.equal(logits(), logits())
    head = Mlp(64, 3, 0.5).eval()
    pooled = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    by_hand = torch.nn.functional.gelu(pooled @ head.hidden.weight.T + head.hidden.bias) @ head.out.weight.T
    assert (head(pooled) - by_hand).abs().max() < 1e-6


def test_a_head_that_cannot_be_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match=r"head: mlp, but .* is a roberta, whose head is no single layer"):
        load(settings(checkpoints["roberta"], head="mlp"), 1, 1, CPU)
    with pytest.raises(ValidationError, match="head_from: rows of one layer cannot start the two of head: mlp"):
        Transformer(backbone="a/b", head="mlp", head_from=["A", "B", "tie"])


@pytest.mark.parametrize("name", ["roberta", "llama"])
def test_names_are_learnt_in_training_and_not_asked_for_in_prediction(checkpoints: dict[str, Path], name: str) -> None:
    base = settings(checkpoints[name], names_weight=1.0)
    model, tokenizer = load(base, 1, 1, CPU), load_tokenizer(base)
    encoded = encode(tokenizer, battles().head(4), base)
    names = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 0]])
    add_names(model, 7, 1)
    by_group = groups(model, base)
    assert any(p is model.names_head.weight for p in by_group[1]["params"])  # at the head's rate
    targets = Targets(torch.full((4, 3), 1 / 3), names=names)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    model.train()
    for _ in range(12):
        logits = forward(model, encoded, np.arange(4), np.zeros(4, dtype=bool), 1, 0)
        assert logits.shape == (4, 3 + 2 * 7)
        loss = loss_sum(logits, targets, base)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    model.eval()
    with torch.no_grad():
        assert forward(model, encoded, np.arange(4), np.zeros(4, dtype=bool), 1, 0).shape == (4, 3)
    drop_names(model)
    assert not [key for key in model.state_dict() if "names" in key]


def test_a_trained_model_keeps_nothing_of_the_names(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "fold-0").mkdir(parents=True)
    base = settings(checkpoints["llama"], names_weight=5.0)
    fit, predict = open_base("base", base, TrainingSet.of(battles()), _test(), tmp_path)
    found = fit(0, TRAIN, VALID, tmp_path / "fold-0")
    assert found.test is not None
    np.testing.assert_allclose(predict(tmp_path / "fold-0", 20)[MEAN], found.test[MEAN], atol=1e-6)
    saved = load_file(tmp_path / "fold-0" / "model" / "adapter_model.safetensors")
    assert not [key for key in saved if "names" in key]
    plain = load(base, 1, 1, CPU)
    assert found.details["parameters"] == sum(p.numel() for p in plain.parameters())
    losses = pd.read_csv(tmp_path / "fold-0" / "curve.csv")["loss"]
    assert losses[0] > 0.8 * 5 * np.log(TrainingSet.of(battles()).names[1])  # it is part of the loss


def test_names_that_are_not_there_are_refused_before_loading(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    nameless = TrainingSet.of(battles().drop(columns=["model_a", "model_b"]))
    with pytest.raises(BadInput, match="names_weight: the training battles have no columns"):
        open_base("base", settings(checkpoints["llama"], names_weight=0.1), nameless, None, tmp_path)
