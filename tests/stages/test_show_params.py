"""Every setting is documented, and `make params` shows what a profile and SET make of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from battles.settings import Section
from models.base_kinds import BASE_KINDS
from stages import show_params
from stages.config import STAGES

ROOT = Path(__file__).parents[2]


def _every_section() -> Iterator[type[Section]]:
    waiting: list[type[Section]] = [*STAGES.values(), *BASE_KINDS.values()]
    known: set[type[Section]] = set()
    while waiting:
        section = waiting.pop()
        if section not in known:
            known.add(section)
            yield section
            waiting += [cls for cls in _below(Section) if cls.__module__.startswith(section.__module__)]


def _below(section: type[Section]) -> Iterator[type[Section]]:
    for cls in section.__subclasses__():
        yield cls
        yield from _below(cls)


SECTIONS = sorted(_every_section(), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda cls: cls.__name__)
def test_every_setting_has_a_line_of_documentation(section: type[Section]) -> None:
    assert section.__doc__
    for name, field in section.model_fields.items():
        assert field.description, f"{section.__name__}.{name}"
        assert len(field.description) > 9, f"{section.__name__}.{name}"


def test_the_sections_are_those_of_params_yaml() -> None:
    assert {"Run", "Stack", "Tfidf", "Transformer", "Lora", "Teacher", "Template", "TinyBackbone"} <= {
        section.__name__ for section in SECTIONS
    }


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 10**400, -(10**30), 10**20])
@pytest.mark.parametrize("section", SECTIONS, ids=lambda cls: cls.__name__)
def test_no_number_is_without_bounds(section: type[Section], value: float) -> None:
    required = {"base": "one", "path": "one", "backbone": "one", "architecture": "llama", "bases": ["one"]}
    given = {name: required[name] for name, field in section.model_fields.items() if field.is_required()}
    for name, field in section.model_fields.items():
        if "int" in str(field.annotation) or "float" in str(field.annotation):
            with pytest.raises(ValidationError):
                section.model_validate({**given, name: value})


def test_what_a_profile_and_set_change_is_marked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    for name, value in {"RUN": "r", "PROFILE": "cpu", "SET": "tfidf.ridge=3"}.items():
        monkeypatch.setenv(f"ARENA_{name}", value)
    show_params.main()
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("* tfidf.ridge = 3.0 (default 2.0): ") for line in lines)
    assert any(line.startswith("* run.jobs = 2 (default 1): ") for line in lines)
    assert any(line.startswith("stack.trials = 20: ") for line in lines)
    assert not any("llama." in line for line in lines)  # no base of this profile
    assert not (tmp_path / "battles").exists()
