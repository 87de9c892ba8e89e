"""The documentation: every link leads somewhere, and the lines that load a saved fold predict what the project does."""

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
def test_the_documented_lines_give_a_folds_probabilities(tmp_path: Path, name: str) -> None:
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
    """`probabilities` of the Python block, its folder and its texts exchanged for these."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "docs/training.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    lines, folders = re.subn(r'folder = ".*"', f"folder = {str(folder)!r}", block[1])
    lines, changed = re.subn("prompt, a, b = .*", lambda _: f"prompt, a, b = {texts!r}", lines)
    assert (folders, changed) == (1, 1)
    names: dict[str, torch.Tensor] = {}
    exec(lines, names)
    return names["probabilities"].detach().double().numpy()


def _pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", _pages(), ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in _anchors(target), link


def test_every_page_is_linked_from_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in _pages()[1:] if f"](docs/{page.name})" not in text] == []


def test_readme_is_one_screen() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    assert [line for line in lines if len(line) > 120] == []
    assert sum(line.startswith("![") for line in lines) == 1


@pytest.mark.parametrize("page", _pages(), ids=lambda page: page.name)
def test_prose_has_at_most_120_characters_a_line(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    prose = (line for line in text.splitlines() if not line.startswith("|"))
    assert [line for line in prose if len(line) > 120] == []
