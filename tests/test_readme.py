"""The lines of README that load a saved fold with the stock libraries do so, and predict what the project does."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import backbone
from models.linear import softmax
from models.predicting import predict_logits
from models.tokens import Encoded
from tests.models.checkpoints import make_checkpoint, settings

ROOT = Path(__file__).parents[1]
TEXT = "User: Which is larger?\n\nResponse A: The first.\n\nResponse B: The second.\n\nWhich response is better?"


@pytest.mark.parametrize("name", ["gemma2", "llama"])
def test_the_lines_of_readme_give_the_same_probabilities(tmp_path: Path, name: str) -> None:
    base = settings(make_checkpoint(tmp_path, name))
    tokenizer = backbone.load_tokenizer(base)
    model = backbone.load(base, 1, tokenizer.pad_token_id, torch.device("cpu"))
    with torch.no_grad():
        for parameter in model.parameters():  # as if trained: fresh adapters change nothing
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    folder = tmp_path / "fold" / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ids = np.array(tokenizer(TEXT)["input_ids"], dtype=np.int32)
    nothing = np.empty(0, dtype=np.int32)
    battle = Encoded(([ids], [nothing], [nothing]), (nothing,) * 4, np.array([len(ids)]))
    expected = softmax(predict_logits(model, battle, False, base, tokenizer.pad_token_id, torch.float32))
    found = _run(folder)
    assert np.abs(found - expected).max() < 1e-5
    assert expected.std() > 1e-3


def _run(folder: Path) -> np.ndarray:
    """`probabilities` of README's Python block, its folder and its text exchanged for these."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    lines, folders = re.subn(r'folder = ".*"', f"folder = {str(folder)!r}", block[1])
    lines, texts = re.subn(r'tokenizer\("[^"]*"', lambda _: f"tokenizer({TEXT!r}", lines)
    assert (folders, texts) == (1, 1)
    names: dict[str, Any] = {}
    exec(lines, names)
    probabilities: torch.Tensor = names["probabilities"]
    return probabilities.detach().double().numpy()
