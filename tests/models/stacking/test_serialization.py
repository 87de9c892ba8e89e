"""Saved stackers: what is said of a damaged one. That they predict the same is tested with each candidate."""

from pathlib import Path

import pytest

from battles.errors import BadInput
from models.stacking import blend, serialization
from tests.models.stacking.battles import battles


@pytest.mark.parametrize("inside", [".", "nested/without-fold-1", "subsets"])
def test_a_damaged_file_is_made_again_with_the_whole_stack(tmp_path: Path, inside: str) -> None:
    """`make` looks at one manifest only: without that one a call makes all files of the stack again."""
    data, folder = battles(60), tmp_path / "models" / "stack" / inside
    serialization.save(folder, {"blend": blend.optimal_blend(data.meta, data.labels, True)}, "blend", {})
    assert serialization.load(folder).logits(data.meta).shape == (60, 3)
    (folder / "stack.json").write_text("{}")
    manifest = tmp_path / "models" / "stack" / "stack.json"
    with pytest.raises(BadInput, match=f"stack.json: damaged .*; delete {manifest} and run `make stack` again$"):
        serialization.load(folder)
