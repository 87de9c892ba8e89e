"""What a step's files depend on includes its code.

A change of it must be answered by its version or its fingerprint.
"""

import json
from pathlib import Path

import pytest

from models.base_kinds import BASE_KINDS
from stages import versions
from stages.config import STAGES


def test_changed_code_is_noticed() -> None:
    kept = json.loads(versions.FINGERPRINTS.read_text())
    now = versions.fingerprints()
    changed = [step for step in now if now[step] != kept.get(step)]
    assert not changed, (
        f"the code of {', '.join(changed)} has changed: if it gives other results for the same input, raise its number "
        "in stages/versions.py; then write the fingerprints anew: python -m stages.versions"
    )


def test_every_step_and_kind_has_a_version() -> None:
    assert set(versions.VERSIONS) == set(versions.ENTRIES) == ({*STAGES} - {"run"}) | set(BASE_KINDS)


@pytest.mark.parametrize(
    ("after", "changes"), [("x = 1 + 1", True), ("# why\nx = 1", False), ('"""What."""\nx = 1', False)]
)
def test_comments_and_documentation_are_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, changes: bool
) -> None:
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    monkeypatch.setattr(versions, "ENTRIES", {"sample": ("one",)})
    (tmp_path / "one.py").write_text("from two import x\n")
    (tmp_path / "two.py").write_text("x = 1\n")
    before = versions.fingerprints()
    (tmp_path / "two.py").write_text(f"{after}\n")
    assert (versions.fingerprints() != before) == changes
