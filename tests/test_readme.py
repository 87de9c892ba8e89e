"""The lines of README that load a saved fold with the stock libraries do so, and predict what the project does."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from battles.prompt import parts
from models.transformer.base_model import open_base
from models.transformer.data.training_set import TrainingSet
from oof.table import PLAIN
from tests.models.transformer.checkpoints import battles, make_checkpoint, settings

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["gemma2", "llama"])
def test_the_lines_of_readme_give_a_folds_probabilities(tmp_path: Path, name: str) -> None:
    base = settings(make_checkpoint(tmp_path, name), max_length=192, learning_rate=1e-1)
    folder = tmp_path / "fold-0"
    folder.mkdir()
    texts = list(zip(*parts(battles()), strict=True))
    shortest = int(np.argmin([sum(map(len, text)) for text in texts]))  # nothing is cut
    valid = np.array([shortest])
    fit, _ = open_base("base", base, TrainingSet.of(battles()), None, tmp_path)
    found = fit(0, np.setdiff1d(np.arange(len(texts)), valid), valid, folder).valid[PLAIN]
    assert np.abs(_run(folder / "model", texts[shortest]) - found).max() < 1e-5
    assert found.std() > 1e-2


def _run(folder: Path, texts: tuple[str, ...]) -> np.ndarray:
    """`probabilities` of README's Python block, its folder and its texts exchanged for these."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    lines, folders = re.subn(r'folder = ".*"', f"folder = {str(folder)!r}", block[1])
    lines, changed = re.subn("prompt, a, b = .*", lambda _: f"prompt, a, b = {texts!r}", lines)
    assert (folders, changed) == (1, 1)
    names: dict[str, torch.Tensor] = {}
    exec(lines, names)
    return names["probabilities"].detach().double().numpy()
