"""params.yaml, read once into frozen, typed sections: defaults, then the profile, then `SET`."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from battles.errors import BadInput
from battles.paths import RunPaths
from battles.settings import Prepare, Sample, Section
from features.settings import Features
from models.base_kinds import BASE_KINDS
from models.stacking.settings import CANDIDATES, STACK, Stack
from models.transformer.settings import Teacher, Tiny, Transformer


class Run(Section):
    """What a run consists of: its bases in order, how many steps `make` runs side by side, threads of each (0: all)."""

    bases: list[str] = Field(min_length=1)
    jobs: int = Field(default=1, ge=1)
    threads: int = Field(default=0, ge=0)
    source: Literal["sample", "user"] = "user"


STAGES: dict[str, type[Section]] = {
    "run": Run,
    "sample": Sample,
    "prepare": Prepare,
    "features": Features,
    "tiny": Tiny,
    "stack": Stack,
}
# No base may have the name of a stamp (`stages.params`), nor of a row of the stack's own in tables, files and charts.
RESERVED = frozenset({"inputs", "test", "call", *STAGES, STACK, *CANDIDATES})


def tiny_root(run: str) -> str:
    """The folder of a run's tiny backbones."""
    return str(RunPaths(run).models / "tiny")


def read_stamp(path: Path) -> dict[str, Any]:
    """A stamp as an earlier call wrote it; {} where there is none, or one that is damaged and is written anew."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def load(path: Path, profile: str, run: str, overrides: str = "", table: bool = False) -> dict[str, Section]:
    """The sections of a run: every stage's, and one for each base in `run.bases`; of a `table` only the stages'.

    `overrides` is the text of `SET`: `section.key=value` words, the values in YAML. `{run}` in a backbone's
    path stands for the run's name. Raises BadInput naming the section, the key, the value and what would do.
    """
    raw = _read(path)
    profiles = raw.pop("profiles", {})
    if profile not in profiles:
        raise BadInput(f"PROFILE: {profile!r} is not in {path}; choose one of {', '.join(profiles)}")
    merged = _merge(_merge(raw, profiles[profile] or {}), _parse(overrides))
    sections = {name: _section(path, name, cls, merged.pop(name, {})) for name, cls in STAGES.items()}
    bases = sections["run"]
    assert isinstance(bases, Run)
    for name, values in merged.items():
        if not isinstance(values, dict) or values.get("kind") not in BASE_KINDS:
            raise BadInput(
                f"{path}: section {name!r} is no stage ({', '.join(STAGES)}) and, as a base model, "
                f"it lacks a `kind` ({', '.join(BASE_KINDS)})"
            )
    if table:
        return sections
    check_names(bases.bases)
    for name in bases.bases:
        if name not in merged:
            raise BadInput(f"{path}: run.bases names {name!r}, which has no section; known: {', '.join(merged)}")
        values = dict(merged[name])
        if "backbone" in values:
            values["backbone"] = str(values["backbone"]).replace("{run}", run)
        sections[name] = _section(path, name, BASE_KINDS[values["kind"]], values)
    teachers(sections)
    return sections


def teachers(sections: Mapping[str, Section]) -> dict[str, Teacher]:
    """The teacher of each base that has one. Raises BadInput for one of no base of the run or in a circle.

    A clean teacher with a teacher of its own would need models that saw three folds less: refused too.
    """
    run = sections["run"]
    assert isinstance(run, Run)
    found: dict[str, Teacher] = {}
    for name in run.bases:
        base = sections[name]
        if isinstance(base, Transformer) and base.teacher is not None:
            found[name] = base.teacher
    for name, teacher in found.items():
        if teacher.base not in run.bases:
            raise BadInput(
                f"params.yaml: {name}.teacher.base = {teacher.base!r} is no base of this run; "
                f"choose one of {', '.join(other for other in run.bases if other != name)}"
            )
        if teacher.clean and teacher.base in found:
            raise BadInput(
                f"params.yaml: {name}.teacher.clean: {teacher.base} has a teacher of its own, whose rows saw the "
                f"votes that are to be kept out; set {name}.teacher.clean to false or drop {teacher.base}.teacher"
            )
        chain = [name]
        while chain[-1] in found:
            chain.append(found[chain[-1]].base)
            if chain[-1] == name:
                raise BadInput(
                    f"params.yaml: {name}.teacher.base = {teacher.base!r}: {' learns from '.join(chain)}; "
                    "a base cannot learn from itself"
                )
            if chain[-1] in chain[:-1]:
                break  # a circle further on, which is refused at its own bases
    return found


def check_names(bases: Sequence[str]) -> None:
    """Refuses base names that are not file names, that stand twice, or that the stack's own rows have."""
    for name in bases:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise BadInput(f"base {name!r}: a name is made of letters, digits, '_' and '-', as it names files")
        if bases.count(name) > 1 or name in RESERVED:
            raise BadInput(
                f"base {name!r} is there twice or is a name of the project's own ({', '.join(sorted(RESERVED))}); "
                "give every base a name of its own"
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; run make in the repository's folder") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8: byte {error.start + 1} ({error.reason}); save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: must be a mapping of sections")
    return raw


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _parse(overrides: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for word in overrides.split():
        name, equals, text = word.partition("=")
        keys = name.split(".")
        if not equals or len(keys) < 2 or not all(keys):
            raise BadInput(f'SET: {word!r} is not section.key=value; for example SET="llama.epochs=1 stack.trials=20"')
        try:
            value: Any = yaml.safe_load(text)
        except yaml.YAMLError:
            raise BadInput(f"SET: the value in {word!r} is not YAML") from None
        for key in reversed(keys):
            value = {key: value}
        result = _merge(result, value)
    return result


def _section(path: Path, name: str, cls: type[Section], values: Any) -> Section:
    try:
        return cls.model_validate(values or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([name, *(str(part) for part in first["loc"])])
        known = f"; known keys: {', '.join(cls.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise BadInput(f"{path}: {where} = {first['input']!r}: {first['msg']}{known}") from None
