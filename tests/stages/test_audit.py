"""What `make audit` makes of the answers of pip-licenses and pip-audit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from battles.errors import BadInput
from stages import audit

ROOT = Path(__file__).parents[2]


def _licensed(**licences: str) -> list[dict[str, str]]:
    return [{"Name": name, "License": licence} for name, licence in licences.items()]


def test_licences_are_counted_by_kind() -> None:
    packages = _licensed(One_a="MIT", two="Apache-2.0 OR BSD-2-Clause", three="MPL-2.0 AND MIT", other="Proprietary")
    said = audit.check_licences(packages, {"one-a", "two", "three"})
    assert said == "2 permissive, 1 weak copyleft (three)"


@pytest.mark.parametrize(
    "licence", ["GPL-3.0-only", "UNKNOWN", "MIT AND AGPL-3.0-only", "MIT License; Proprietary", ""]
)
def test_another_licence_is_refused_by_name(licence: str) -> None:
    with pytest.raises(BadInput, match=f"^licences: two is under {licence!r}, which"):
        audit.check_licences(_licensed(one="MIT", two=licence), {"one", "two"})


def test_a_pinned_package_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInput, match=r"^licences: two is pinned and not installed"):
        audit.check_licences(_licensed(one="MIT"), {"one", "two"})


def _looked_up(*packages: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "one", "version": "1.0", "vulns": []}, *packages]


def test_advisories_are_named_with_the_version_that_mends_them() -> None:
    assert audit.check_advisories(_looked_up()) == 1
    two = {"name": "two", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
    with pytest.raises(BadInput, match=r"^advisories: two 2\.0 \(PYSEC-1; fixed in 2\.1\); pin a version"):
        audit.check_advisories(_looked_up(two))


def test_packages_that_could_not_be_looked_up_are_not_called_safe() -> None:
    skipped = [{"name": f"p{number}", "skip_reason": "Dependency not found on PyPI"} for number in range(5)]
    with pytest.raises(BadInput, match=r"^advisories: 5 of 6 packages could not be looked up \(p0, p1, p2, …\);"):
        audit.check_advisories(_looked_up(*skipped))


def test_tools_that_cannot_be_installed_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "FOLDER", tmp_path / "audit")
    monkeypatch.chdir(ROOT)

    def offline(words: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        broken = "pip" in words
        said = "Retrying (Retry(total=4)) after connection broken\nERROR: No matching distribution found for requests\n"
        return subprocess.CompletedProcess(words, int(broken), "", said if broken else "")

    monkeypatch.setattr(audit.subprocess, "run", offline)
    with pytest.raises(BadInput, match=r"^audit: could not install requirements-audit.txt \(ERROR: No matching"):
        audit.main()


def test_every_pinned_package_has_a_licence_that_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    tool = audit.FOLDER / "bin" / "pip-licenses"
    if not tool.exists():
        pytest.skip("pip-licenses is installed by `make audit`")
    words = [str(tool), "--python", sys.executable, "--format=json", "--with-system"]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    pinned = audit._pinned(audit.REQUIREMENTS)
    assert len(pinned) > 80
    assert "weak copyleft" in audit.check_licences(json.loads(found), pinned)
