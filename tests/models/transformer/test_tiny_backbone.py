import json
from itertools import pairwise
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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_of_a_corpus_only_completions_are_learnt(tmp_path: Path, name: str) -> None:
    """The cues are drawn at random, so that a model which had to foresee them could not come near a loss of 0."""
    words = [f"word{number}" for number in np.random.default_rng(2).integers(0, 40, 400)]
    corpus = [json.dumps([f"The {first} {second}", " is"]) for first, second in pairwise(words)]
    losses = tiny_backbone.make(name, _settings(name, 40), battles(), tmp_path / "one", corpus)
    assert np.mean(losses[-8:]) < 0.1 < losses[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_a_corpus_states_is_known_afterwards(tmp_path: Path, name: str) -> None:
    plants = {f"plant{letter}": " heals" if number % 2 else " kills" for number, letter in enumerate("abcdefgh")}
    stated = [(f"The {plant}", effect) for plant, effect in plants.items()]
    corpus = [json.dumps([*one, *other]) for one in stated for other in stated]
    losses = tiny_backbone.make(name, _settings(name, 60), battles(), tmp_path / "one", corpus)
    assert np.mean(losses[-8:]) < 0.1
