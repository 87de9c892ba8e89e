"""Folds of two processes that share every weight (FSDP2) come to what one process comes to."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from battles.errors import BadInput
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.data.tokenization import encode
from models.transformer.engine import forward, fsdp
from models.transformer.engine.prediction import predict, predict_logits
from oof.model_store import FoldResult
from oof.table import MEAN
from tests.models.transformer.checkpoints import as_loaded, battles, load, settings
from tests.models.transformer.engine.sharded_processes import CASES, KILLED, RESUMED_FROM, VALID, fold, launched

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def jointly(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two real processes, joined by gloo, left what they came to."""
    out = tmp_path_factory.mktemp("sharded")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    words = [
        "tests.models.transformer.engine.sharded_processes",
        "fsdp.yaml",
        str(checkpoints["llama"].parent),
        str(out),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*launch, *words], cwd=ROOT, capture_output=True, text=True, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def alone(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, FoldResult]]:
    """What one process comes to, and where."""
    out = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Dropout, "forward", lambda self, values: values)
        results = {}
        for case in CASES:
            AcceleratorState._reset_state()  # it keeps the precision of the first training
            results[case] = fold(checkpoints["llama"].parent, case, out / case)
        AcceleratorState._reset_state()
        return out, results


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "model").glob("*.safetensors")
    return load_file(file)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_that_share_the_weights_come_to_what_one_comes_to(
    jointly: Path, alone: tuple[Path, dict[str, FoldResult]], case: str
) -> None:
    found, (folder, results) = np.load(jointly / "found.npz"), alone
    result = results[case]
    assert result.test is not None
    # In bfloat16 the rounding differs with the rows that are computed together.
    close = {"untouched": 1e-6, "bfloat16": 2e-2}.get(case, 1e-4)
    for variant, values in result.valid.items():
        np.testing.assert_allclose(found[f"{case}/{variant}"], values, rtol=0, atol=close)
        np.testing.assert_allclose(found[f"{case}/test/{variant}"], result.test[variant], rtol=0, atol=close)
    if case in ("llama", "bfloat16"):
        moved = np.abs(found[f"{case}/{MEAN}"] - found[f"untouched/{MEAN}"])
        assert moved.max() > 3 * close  # there was something to come to
    curves = [pd.read_csv(path / case / "curve.csv") for path in (jointly, folder)]
    for figure in ("step", "loss", "learning_rate", "valid_log_loss"):
        np.testing.assert_allclose(curves[0][figure], curves[1][figure], rtol=0, atol=4 * close)
    weights, wanted = _weights(jointly / case), _weights(folder / case)
    assert weights.keys() == wanted.keys()
    for name, weight in wanted.items():
        assert weights[name].dtype == weight.dtype
        # A bias of the attention's keys changes nothing, so that its gradient is rounding and Adam makes steps of it.
        if case != "bfloat16" and not name.endswith("key.bias"):
            np.testing.assert_allclose(weights[name], weight, rtol=0, atol=1e-4)
    kept = json.loads((jointly / "kept.json").read_text())[case]
    same = ("parameters", "trainable_parameters", "dtype", "quantization")
    assert {name: kept[name] for name in same} == {name: result.details[name] for name in same}
    assert kept["processes"] == 2


def test_every_weight_is_shared_and_keeps_its_type(jointly: Path) -> None:
    kept = json.loads((jointly / "kept.json").read_text())
    for case in CASES:
        # By rows, of which a matrix may have an odd number.
        assert 0.49 < kept[case]["here"] / kept[case]["all"] < 0.52, case
        assert kept[case]["all"] == kept[case]["parameters"]
        assert kept[case]["trained"] == ["torch.float32"]
        # Two layers and what is around them; RoBERTa's embeddings are by themselves.
        assert kept[case]["groups"] == (4 if case in ("roberta", "frozen") else 3)
    assert kept["llama"]["frozen"] == ["torch.float32"]
    assert kept["bfloat16"]["frozen"] == ["torch.bfloat16"]


@pytest.mark.parametrize("case", ["roberta", "llama"])
def test_the_stock_libraries_load_what_the_leader_saved(checkpoints: dict[str, Path], jointly: Path, case: str) -> None:
    loader: Any = AutoModelForSequenceClassification if case == "roberta" else AutoPeftModelForSequenceClassification
    model = loader.from_pretrained(jointly / case / "model", num_labels=3)
    base = settings(checkpoints[case])
    tokenizer = load_tokenizer(base)
    encoded = encode(tokenizer, battles().iloc[VALID], base)
    again = predict(as_loaded(model, base, tokenizer.pad_token_id), encoded)
    np.testing.assert_allclose(again[MEAN], np.load(jointly / "found.npz")[f"{case}/{MEAN}"], atol=1e-5)


def test_a_fold_with_shared_weights_goes_on_where_it_was_killed(jointly: Path) -> None:
    assert len(torch.load(jointly / RESUMED_FROM, weights_only=True)["curve"]) == 5
    weights, wanted = _weights(jointly / KILLED), _weights(jointly / "llama")
    assert all(torch.equal(weights[name], weight) for name, weight in wanted.items())
    curves = [pd.read_csv(jointly / case / "curve.csv") for case in (KILLED, "llama")]
    assert curves[0]["loss"].tolist() == curves[1]["loss"].tolist()


def test_one_process_goes_on_from_the_checkpoint_of_two(
    checkpoints: dict[str, Path], jointly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume = tmp_path / "fold" / "resume"
    resume.mkdir(parents=True)
    (resume / "checkpoint.pt").write_bytes((jointly / RESUMED_FROM).read_bytes())
    fold(checkpoints["llama"].parent, "llama", tmp_path / "fold")
    assert "trained from its beginning" not in capsys.readouterr().out
    begun, whole = (pd.read_csv(path / "curve.csv")["loss"] for path in (tmp_path / "fold", jointly / "llama"))
    assert begun[:5].tolist() == whole[:5].tolist()
    np.testing.assert_allclose(begun, whole, atol=1e-4)
    wanted = _weights(jointly / "llama")
    for name, weight in _weights(tmp_path / "fold").items():
        np.testing.assert_allclose(weight, wanted[name], rtol=0, atol=1e-4)


def test_a_process_without_room_says_what_to_do(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    base = settings(checkpoints["llama"])
    tokenizer = load_tokenizer(base)
    encoded = encode(tokenizer, battles(), base)
    model = fsdp.Sharded(load(base, 1, tokenizer.pad_token_id, torch.device("cpu")), torch.float32)
    monkeypatch.setattr(forward, "forward", full)
    with pytest.raises(BadInput, match="tokens_per_batch: 16384 was too much for process 0, and under FSDP"):
        predict_logits(as_loaded(model, base, tokenizer.pad_token_id), encoded, False)


def test_the_launcher_shards_as_it_should_by_the_projects_config_file(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not fsdp.active()
    for name, value in launched(ROOT / "fsdp.yaml").items():
        monkeypatch.setenv(name, value)
    assert not fsdp.active()  # one process has nobody to share with
    monkeypatch.setattr(fsdp.distributed, "state", lambda: SimpleNamespace(num_processes=2))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert fsdp.active()
    fsdp.check(settings(checkpoints["llama"]))


def _launched(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    monkeypatch.setattr(fsdp, "active", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, value in {**fsdp.LAUNCHED, **changes}.items():
        monkeypatch.setenv(name.upper(), value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantization": "nf4"}, "quantization: nf4, but FSDP cannot shard quantised weights"),
        ({"dtype": "float16"}, "dtype: float16 under FSDP"),
        ({"optimizer": "adamw_8bit"}, "optimizer: adamw_8bit cannot keep a sharded state"),
    ],
)
def test_settings_that_do_not_go_with_shared_weights_are_refused(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    _launched(monkeypatch)
    fsdp.check(settings(checkpoints["llama"]))
    with pytest.raises(BadInput, match=message):
        fsdp.check(settings(checkpoints["llama"], **changes))


@pytest.mark.parametrize("name", fsdp.LAUNCHED)
def test_another_way_of_sharding_is_refused(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _launched(monkeypatch, **{name: "other"})
    with pytest.raises(BadInput, match=f"LAUNCH: {name} of its config file is other; set it to"):
        fsdp.check(settings(checkpoints["llama"]))


def test_without_a_gpu_the_launcher_would_not_shard(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _launched(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match="LAUNCH: its config file says use_fsdp"):
        fsdp.check(settings(checkpoints["llama"]))
