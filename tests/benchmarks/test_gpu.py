import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from bitsandbytes.nn import Linear4bit

from benchmarks import gpu, stock_model
from benchmarks.random_weights import configurations, make
from models.transformer.backbone.device import device_spec
from models.transformer.planning import memory
from models.transformer.planning.preflight import resolve
from tests.models.transformer.checkpoints import battles

CPU = torch.device("cpu")


def _run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["gpu", *words])
    gpu.main()


def test_without_a_gpu_it_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "current_device", lambda: CPU)
    _run(monkeypatch, "--results", str(tmp_path))
    said = capsys.readouterr().out
    assert said.startswith("no GPU here, nothing measured")
    assert said.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["gemma-2-9b", "roberta-base", "gemma-2-9b nf4"])
def test_the_tiny_run_writes_every_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr(gpu, "current_device", lambda: CPU)
    _run(monkeypatch, "--tiny", "--battles", "8", "--only", name, "--results", str(tmp_path))
    results = json.loads((tmp_path / "cpu-tiny.json").read_text())
    assert {"torch", "transformers", "peft", "bitsandbytes"} <= results["libraries"].keys()
    found = results["bases"][name]
    assert found["matrix_product_flops_per_second"] > 0
    measured = {"training"} if "nf4" in name else {"training", "prediction", "stock training", "stock prediction"}
    assert measured == {key for key, value in found.items() if isinstance(value, dict)} - {"settings"}
    for what in measured:
        figures = found[what]
        assert figures["tokens_per_second"] > figures["battles_per_second"] > 0
        assert 0 < figures["share_of_matrix_product"] < 1
        assert figures["first_run_seconds"] > 0
    assert found["computed_training_bytes"] > 0
    assert found["planned"] > 0


def test_random_nf4_weights_are_what_loading_would_give() -> None:
    config = configurations(tiny=True)["gemma-2-9b"]
    settings = resolve(gpu.bases(tiny=True)["gemma-2-9b nf4"], device_spec(CPU), config)
    model = make(settings, config, CPU)
    packed = [m for m in model.modules() if isinstance(m, Linear4bit)]
    assert len(packed) == 2 * 7
    assert all(m.weight.dtype == torch.uint8 for m in packed)
    assert not any(p.is_meta for p in (*model.parameters(), *model.buffers()))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == memory.estimate(settings, config, device_spec(CPU)).trained_parameters
    ids = torch.arange(5, 37)[None]
    model.train()(input_ids=ids).logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_battles_have_the_lengths_of_the_file_or_of_its_distribution(tmp_path: Path) -> None:
    settings = gpu.bases(tiny=False)["gemma-2-9b"]
    drawn = gpu.draw_lengths(settings, 20_000, None)
    assert drawn.max() == settings.max_length
    assert np.median(drawn) == pytest.approx(np.exp(gpu.LOG_MEAN), rel=0.05)
    assert np.array_equal(drawn, gpu.draw_lengths(settings, 20_000, None))
    path = tmp_path / "train.csv"
    battles().to_csv(path, index=False)
    characters = pd.read_csv(path)[["prompt", "response_a", "response_b"]].map(len).sum(axis=1)
    taken = gpu.draw_lengths(settings, 500, path)
    assert taken.mean() == pytest.approx(characters.mean() / 4, rel=0.3)
    encoded = gpu.random_battles(taken[:5], 500)
    assert [len(encoded.sequence(row, True)) for row in range(5)] == taken[:5].tolist()


def test_the_rival_takes_the_attention_that_transformers_would() -> None:
    found = {}
    for name, config in configurations(tiny=True).items():
        settings = resolve(gpu.bases(tiny=True)[name], device_spec(CPU), config)
        model = make(settings, config, CPU)
        stock_model.restore(model)
        found[name] = model.config._attn_implementation
    assert found == {"gemma-2-9b": "eager", "llama-3-8b": "sdpa", "roberta-base": "sdpa"}
