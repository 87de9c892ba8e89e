"""A training that is killed and goes on ends in the same bits as one that nobody disturbed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from battles.files import file_hash
from models.transformer.base_model import open_base
from models.transformer.data.training_set import TrainingSet
from models.transformer.engine import checkpoint
from models.transformer.settings import Lora
from oof.crossfit import CrossFit, crossfit
from oof.model_store import ModelStore
from oof.table import MEAN
from tests.models.transformer.checkpoints import battles
from tests.models.transformer.engine.small_training import (
    EPOCH_ENDS_ONLY,
    LORA,
    ROWS,
    Killed,
    assert_same,
    run,
    small_base,
)

# Only weights of 4,096 numbers or more have an 8-bit state, here those of the full fine-tune.
KINDS = [
    ("roberta", {}),
    ("llama", {"lora": LORA}),
    ("llama", {"lora": LORA, "quantization": "nf4"}),
    ("gemma2", {"lora": LORA, "quantization": "int8"}),
    ("llama", {"lora": LORA, "optimizer": "adamw_8bit"}),
    ("roberta", {"optimizer": "paged_adamw_8bit"}),
]


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize(("name", "changes"), KINDS)
def test_killed_and_resumed_is_the_same_to_the_bit(
    checkpoints: dict[str, Path], tmp_path: Path, name: str, changes: dict[str, object]
) -> None:
    base = small_base(checkpoints[name], **changes)
    undisturbed = run(base, None)
    assert_same(run(base, tmp_path / "whole.pt"), undisturbed)
    path = tmp_path / "killed.pt"
    # Before the first checkpoint, inside an epoch, at the end of one (before its validation), in the second.
    for after in (0, 2, 0, 1, 1):
        with pytest.raises(Killed):
            run(base, path, after)
    assert_same(run(base, path), undisturbed)
    # All trained: killed while it predicted.
    assert_same(run(base, path, 0), undisturbed)


def test_without_minutes_in_between_it_goes_on_from_the_epoch(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    base = small_base(checkpoints["roberta"], checkpoint_minutes=EPOCH_ENDS_ONLY)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        run(base, path, 2)
    assert not path.exists()
    with pytest.raises(Killed):
        run(base, path, 5)
    assert len(torch.load(path)["curve"]) == 3
    assert_same(run(base, path, 3), run(base, None))


def test_killed_in_the_middle_of_a_checkpoint_the_one_before_counts(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = small_base(checkpoints["llama"], lora=LORA)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        run(base, path, 2)
    before = file_hash(path)
    whole = torch.save

    def half(state: object, target: Path) -> None:
        whole(state, target)
        os.truncate(target, target.stat().st_size // 2)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "save", half)
        with pytest.raises(Killed):
            run(base, path)
    assert file_hash(path) == before
    # A signal, other than an exception, leaves the half file behind.
    left_over = tmp_path / ".checkpoint.pt.abc.tmp"
    left_over.write_bytes(path.read_bytes()[:1000])
    assert_same(run(base, path), run(base, None))
    assert not left_over.exists()


def test_a_checkpoint_is_small(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Three numbers for each trained parameter; the frozen backbone is not in it."""
    base = small_base(
        checkpoints["llama"], lora=Lora(rank=1, target_modules=["v_proj"]), checkpoint_minutes=EPOCH_ENDS_ONLY
    )
    trained, _ = run(base, tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["trained"].keys() == trained.keys()
    assert all("lora" in name or "score" in name for name in trained)
    assert (tmp_path / "checkpoint.pt").stat().st_size < 12 * sum(p.numel() for p in trained.values()) + 40_000


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another model", "another library"])
def test_a_checkpoint_that_cannot_be_taken_is_named_and_does_no_harm(
    checkpoints: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    base = small_base(checkpoints["llama"], lora=LORA)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        run(base, path, 3)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        first = next(iter(torch.load(path)["trained"].values()))
        at = content.find(first.numpy().tobytes())
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "another model":
        with pytest.raises(Killed):
            run(small_base(checkpoints["llama"], lora=Lora(rank=2)), path, 3)
    else:
        monkeypatch.setattr(checkpoint, "version", lambda name: "9.9")
    assert_same(run(base, path), run(base, None))
    said = capsys.readouterr().out
    assert said.count("the fold is trained from its beginning") == 1 + (damage == "another model")
    assert str(path) in said
    reason = {"another model": "of another model", "another library": "was written by torch"}
    assert reason.get(damage, "damaged checkpoint") in said


FOLDS = pd.DataFrame({"id": battles().head(ROWS)["id"], "fold": np.arange(ROWS) % 2})
KILLED_SCRIPT = """
import os, signal, sys
from pathlib import Path
from models.transformer.library_warnings import quiet
quiet()
from models.transformer.engine import checkpoint
from tests.models.transformer.engine import test_checkpoint as here

write, left = checkpoint.save, [int(sys.argv[3])]
def save(*arguments):
    write(*arguments)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save = save
here.cross(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def cross(backbone_folder: Path, folder: Path) -> CrossFit:
    """Two folds of a base with LoRA and dropout, as the stage runs them."""
    base = small_base(backbone_folder, lora=LORA)
    fit, _ = open_base("llama", base, TrainingSet.of(battles().head(ROWS)), None, folder)
    return crossfit(FOLDS, None, ModelStore(folder, {"of": "this test"}), fit)


def test_a_process_that_is_killed_goes_on_inside_the_fold(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = cross(checkpoints["llama"], tmp_path / "undisturbed")
    words = [sys.executable, "-c", KILLED_SCRIPT, str(checkpoints["llama"]), str(tmp_path / "killed"), "6"]
    killed = subprocess.run(words, cwd=Path(__file__).parents[4], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # Four checkpoints of fold 0, two of fold 1.
    found = torch.load(tmp_path / "killed" / "fold-1" / "resume" / "checkpoint.pt")
    assert len(found["curve"]) == 2
    resumed = cross(checkpoints["llama"], tmp_path / "killed")
    assert "fold 0: already there" in capsys.readouterr().out
    assert np.array_equal(resumed.valid[MEAN], undisturbed.valid[MEAN])
    for fold in (0, 1):
        assert not (tmp_path / "killed" / f"fold-{fold}" / "resume").exists()
        assert len(pd.read_csv(tmp_path / "killed" / f"fold-{fold}" / "curve.csv")) == 4
