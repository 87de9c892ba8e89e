"""The mean of adapters against the mean of their products, computed matrix by matrix."""

import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from battles.errors import BadInput
from battles.files import read_json, write_json
from models.transformer.backbone import loading
from models.transformer.backbone.adapter_mean import CONFIG, WEIGHTS, with_saved_rank, write_adapter_mean
from models.transformer.backbone.device import device_spec
from models.transformer.backbone.precision import record_precision
from models.transformer.planning.preflight import resolve
from models.transformer.settings import Lora, Transformer
from tests.models.transformer.checkpoints import settings

CPU = torch.device("cpu")
FOLDS = 3


def resolved(path: Path, **lora: object) -> Transformer:
    values = {"rank": 4, "alpha": 8, "dropout": 0.0, **lora}
    return resolve(settings(path, lora=Lora.model_validate(values)), device_spec(CPU))


def saved(base: Transformer, folder: Path) -> list[Path]:
    """Adapters as three folds leave them: all of their matrices and the head are random."""
    folders = []
    for number in range(FOLDS):
        model = loading.load(base, number, 0, CPU).model
        assert isinstance(model, PeftModel)
        generator = torch.Generator().manual_seed(number)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.data = torch.randn(parameter.shape, generator=generator) * (0.2 if "lora" in name else 0.1)
        place = folder / f"fold-{number}" / "model"
        model.save_pretrained(place)
        record_precision(base, place)
        folders.append(place)
    return folders


def updates(base: Transformer, folder: Path) -> dict[str, torch.Tensor]:
    """What the adapter saved in a folder adds to each weight; and the head."""
    unmerged = with_saved_rank(base, folder)
    model = loading.load(unmerged, 0, 0, CPU).model
    loading.set_peft_model_state_dict(model, load_file(folder / WEIGHTS))
    found = {name: m.get_delta_weight("default") for name, m in model.named_modules() if isinstance(m, LoraLayer)}
    return found | {name: p.data for name, p in model.named_parameters() if "modules_to_save" in name}


@pytest.mark.parametrize(("name", "rslora"), [("llama", False), ("llama", True), ("roberta", False)])
def test_the_update_is_the_mean_of_the_folds_updates_and_so_is_the_head(
    checkpoints: dict[str, Path], tmp_path: Path, name: str, rslora: bool
) -> None:
    base = resolved(checkpoints[name], rslora=rslora)
    folders = saved(base, tmp_path)
    target = tmp_path / "mean" / "model"
    write_adapter_mean(folders, target)
    parts, mean = [updates(base, folder) for folder in folders], updates(base, target)
    assert mean.keys() == parts[0].keys()
    assert any("lora" not in key and "modules_to_save" in key for key in mean)
    for key, update in mean.items():
        expected = torch.stack([part[key] for part in parts]).mean(dim=0)
        torch.testing.assert_close(update, expected, atol=1e-6, rtol=1e-5)
        assert (update - parts[0][key]).abs().max() > 1e-2
    assert with_saved_rank(base, target).lora == base.lora.model_copy(  # type: ignore[union-attr]
        update={"rank": 12, "alpha": read_json(target / CONFIG)["lora_alpha"]}
    )
    restored = loading.restore(base, target, 0, CPU).model  # merged into the weights, as they are not quantised
    weights = dict(restored.named_parameters())
    plain = dict(loading.load(base, 0, 0, CPU).model.named_parameters())
    key = next(key for key, update in mean.items() if "modules_to_save" not in key)
    torch.testing.assert_close(
        weights[f"{key}.base_layer.weight"] - plain[f"{key}.base_layer.weight"], mean[key], atol=1e-6, rtol=1e-4
    )


def test_one_adapter_is_its_own_mean(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    first, *_ = saved(resolved(checkpoints["llama"]), tmp_path)
    write_adapter_mean([first], tmp_path / "mean")
    before, after = load_file(first / WEIGHTS), load_file(tmp_path / "mean" / WEIGHTS)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_adapters_that_are_not_alike_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    first, second, third = saved(resolved(checkpoints["llama"]), tmp_path)
    config = read_json(second / CONFIG)
    write_json(second / CONFIG, {**config, "r": 8})
    with pytest.raises(BadInput, match=r"fold-1/model: its adapter has another r than that in .*fold-0/model"):
        write_adapter_mean([first, second], tmp_path / "mean")
    write_json(second / CONFIG, config)
    write_json(third / "precision.json", {"dtype": "float32", "quantization": "nf4"})
    with pytest.raises(BadInput, match="another precision than"):
        write_adapter_mean([first, third], tmp_path / "mean")
    weights = load_file(second / WEIGHTS)
    save_file(dict(list(weights.items())[:-2]), second / WEIGHTS)
    with pytest.raises(BadInput, match="are on other layers"):
        write_adapter_mean([first, second], tmp_path / "mean")
    write_json(first / CONFIG, {**config, "use_dora": True})
    with pytest.raises(BadInput, match="DoRA have no mean"):
        write_adapter_mean([first], tmp_path / "mean")
    shutil.rmtree(first)
    with pytest.raises(BadInput, match=r"adapter_config\.json"):
        write_adapter_mean([first], tmp_path / "mean")
