import shutil
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from battles.errors import BadInput
from models.transformer.backbone import pretrained
from models.transformer.settings import Transformer
from tests.models.transformer.checkpoints import ARCHITECTURES, settings


@pytest.mark.parametrize("given", ["none", "end of text"])
def test_the_pad_token_is_a_reserved_one_where_it_is_missing_or_ends_the_text(
    checkpoints: dict[str, Path], tmp_path: Path, given: str
) -> None:
    folder = tmp_path / "llama"
    shutil.copytree(checkpoints["llama"], folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|reserved_special_token_0|>"]})
    tokenizer.pad_token = None if given == "none" else tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    loaded = pretrained.load_tokenizer(settings(folder))
    assert loaded.pad_token == "<|reserved_special_token_0|>"
    assert loaded.pad_token_id != loaded.eos_token_id


def test_a_length_over_the_positions_is_refused(checkpoints: dict[str, Path]) -> None:
    for name in ARCHITECTURES:
        pretrained.load_config(settings(checkpoints[name], max_length=192))
        with pytest.raises(BadInput, match=r"max_length: 193, but .* has 192 positions; set it to 192 or less"):
            pretrained.load_config(settings(checkpoints[name], max_length=193))


def test_a_tokenizer_without_words_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """transformers makes one of special tokens alone of Gemma's configuration."""
    shutil.copy(checkpoints["gemma2"] / "config.json", tmp_path)
    with pytest.raises(BadInput, match=r"backbone: .* cannot be loaded \(it has no tokenizer files, or an empty"):
        pretrained.load_tokenizer(settings(tmp_path))


def test_a_folder_that_is_not_there_is_refused_without_talk_of_licences(tmp_path: Path) -> None:
    for load in (pretrained.load_config, pretrained.load_tokenizer):
        with pytest.raises(BadInput, match=r"backbone: .*nothing' cannot be loaded .*; give a folder") as refusal:
            load(settings(tmp_path / "nothing"))
        assert "licence" not in str(refusal.value)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        # The texts are transformers' own (utils/hub.py): gated, without a network, not on the hub.
        ("You are trying to access a gated repo.\nMake sure to have access to it at …", "access a gated repo"),
        ("We couldn't connect to 'https://huggingface.co' to load the files, and …\nCheck", "couldn't connect to"),
        (
            "meta-llama/x is not a local folder and is not a valid model identifier …\nIf",
            "not a valid model identifier",
        ),
    ],
)
def test_a_model_of_the_hub_that_cannot_be_had_is_refused_with_licence_and_token(
    monkeypatch: pytest.MonkeyPatch, said: str, reason: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(said)

    monkeypatch.setattr(AutoConfig, "from_pretrained", fail)
    way = r"accept the licence at https://huggingface.co/meta-llama/x, set HF_TOKEN .* unset HF_HUB_OFFLINE"
    with pytest.raises(BadInput, match=rf"'meta-llama/x' cannot be loaded \(.*{reason}.*{way}") as refusal:
        pretrained.load_config(settings(Path("meta-llama/x")))
    assert "\n" not in str(refusal.value)


def test_a_download_of_gigabytes_is_said_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def cached(backbone: str, name: str, revision: str | None) -> str | None:
        asked.append(f"{backbone} {name}")
        return "here" if backbone == "owner/cached" and name == "model.safetensors.index.json" else None

    monkeypatch.setattr(pretrained, "try_to_load_from_cache", cached)
    for backbone in (str(tmp_path), "owner/cached"):
        pretrained.say_download(Transformer(backbone=backbone))
    assert not capsys.readouterr().out
    assert all(words.startswith("owner/cached") for words in asked)
    pretrained.say_download(Transformer(backbone="owner/new"))
    assert "owner/new: not in" in capsys.readouterr().out


def test_a_backbone_that_make_backbone_has_not_brought_is_named_with_the_call_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"'backbones/smollm2' is not there; run `make backbone NAME=smollm2` first"):
        pretrained.load_config(Transformer(backbone="backbones/smollm2"))
