import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from models.transformer import tiny_backbone
from models.transformer.settings import Tiny, TinyBackbone
from tests.models.transformer.checkpoints import ARCHITECTURES, battles


def _settings(name: str, steps: int) -> Tiny:
    sizes = TinyBackbone.model_validate({"architecture": name, "hidden": 32, "heads": 2, "steps": steps})
    return Tiny(vocabulary=400, max_length=96, batch_size=8, backbones={name: sizes})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_checkpoint_is_an_ordinary_local_one_of_the_real_architecture(
    checkpoints: dict[str, Path], name: str
) -> None:
    config = AutoConfig.from_pretrained(checkpoints[name])
    assert config.model_type == name
    assert json.loads((checkpoints[name] / "config.json").read_text())["architectures"][0].lower().startswith(name)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints[name], num_labels=3)
    assert model(input_ids=torch.tensor([[0, 9, 10]])).logits.shape == (1, 3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_tokenizer_gives_every_text_back(checkpoints: dict[str, Path], name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[name])
    for text in ("plain words", "emoji 🦜, Ελληνικά, שלום", "tabs\tand\r\nlines", "�"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
        assert tokenizer.unk_token_id not in ids
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert (tokenizer.mask_token_id is not None) == (name == "roberta")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_pretraining_lowers_the_loss_and_is_seeded(tmp_path: Path, name: str) -> None:
    losses = tiny_backbone.make(name, _settings(name, 40), battles(), tmp_path / "one")
    assert len(losses) == 40
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) - 0.5
    again = tiny_backbone.make(name, _settings(name, 40), battles(), tmp_path / "two")
    assert losses == again
    weights = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("one", "two")]
    assert weights[0] == weights[1]
