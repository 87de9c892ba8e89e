"""params.yaml, read once into frozen, typed sections: defaults, then the profile, then `SET`."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from battles.errors import BadInput, shown
from battles.files import read_json
from battles.paths import RunPaths
from battles.settings import Prepare, Sample, Section
from features.settings import Features
from models.base_kinds import BASE_KINDS
from models.stacking.settings import CANDIDATES, STACK, Stack
from models.transformer.settings import Teacher, Tiny, Transformer
from stages import params_file
from stages.params_file import merge, parse_overrides


class Run(Section):
    """What a run consists of, and how much of the machine `make` uses for it."""

    bases: list[str] = Field(
        min_length=1, max_length=1000, description="Base models, in the order in which make starts them."
    )
    jobs: int = Field(default=1, ge=1, le=64, description="Steps that make runs side by side, 1 to 64.")
    threads: int = Field(default=0, ge=0, le=1024, description="Threads of each step, 0 to 1024; 0: as many as cores.")
    source: Literal["sample", "user"] = Field(
        default="user", description="Where the battles come from without TRAIN: the embedded sample, or nowhere."
    )


STAGES: dict[str, type[Section]] = {
    "run": Run,
    "sample": Sample,
    "prepare": Prepare,
    "features": Features,
    "tiny": Tiny,
    "stack": Stack,
}
# No base may have the name of a stamp (`stages.params`), nor of a row of the stack's own in tables, files and charts.
RESERVED = frozenset({"inputs", "test", "call", "report", *STAGES, STACK, *CANDIDATES})
# Known keys that the refusal of an unknown one names: those nearest to it.
MOST_KEYS = 15


def tiny_root(run: str) -> str:
    """The folder of a run's tiny backbones."""
    return str(RunPaths(run).models / "tiny")


def read_stamp(path: Path) -> dict[str, Any]:
    """A stamp as an earlier call wrote it; {} where there is none, or one that is damaged and is written anew."""
    try:
        return read_json(path, sealed=True)
    except BadInput:
        return {}


def load(path: Path, profile: str, run: str, overrides: str = "", table: bool = False) -> dict[str, Section]:
    """The sections of a run: every stage's, and one for each base in `run.bases`; of a `table` only the stages'.

    `overrides` is the text of `SET`: `section.key=value` words, the values in YAML. `{run}` in a backbone's
    path stands for the run's name. Raises BadInput naming the section, the key, the value and what would do.
    """
    raw = params_file.read(path)
    profiles = raw.pop("profiles", {})
    if not isinstance(profiles, dict):
        raise BadInput(f"{path}: profiles = {shown(profiles)} must be a mapping of profiles")
    if profile not in profiles:
        raise BadInput(f"PROFILE: {shown(profile)} is not in {path}; choose one of {', '.join(map(str, profiles))}")
    changes = profiles[profile] or {}
    if not isinstance(changes, dict):
        raise BadInput(f"{path}: profiles.{profile} = {shown(changes)} must be a mapping of sections")
    merged = merge(merge(raw, changes), parse_overrides(overrides))
    sections = {name: _section(path, name, cls, merged.pop(name, {})) for name, cls in STAGES.items()}
    bases = sections["run"]
    assert isinstance(bases, Run)
    for name, values in merged.items():
        if not isinstance(values, dict) or str(values.get("kind")) not in BASE_KINDS:
            raise BadInput(
                f"{path}: section {shown(name)} is no stage ({', '.join(STAGES)}) and, as a base model, "
                f"it lacks a `kind` ({', '.join(BASE_KINDS)})"
            )
    if table:
        return sections
    check_names(bases.bases)
    for name in bases.bases:
        if name not in merged:
            raise BadInput(f"{path}: run.bases names {shown(name)}, which has no section; known: {', '.join(merged)}")
        values = dict(merged[name])
        if isinstance(values.get("backbone"), str):
            values["backbone"] = values["backbone"].replace("{run}", run)
        sections[name] = _section(path, name, BASE_KINDS[values["kind"]], values)
    teachers(sections)
    return sections


def teachers(sections: Mapping[str, Section]) -> dict[str, Teacher]:
    """The teacher of each base that has one. Raises BadInput for one of no base of the run or in a circle.

    A clean teacher with a teacher of its own would need models that saw three folds less: refused too.
    """
    run = sections["run"]
    assert isinstance(run, Run)
    by_base: dict[str, Teacher] = {}
    for name in run.bases:
        base = sections[name]
        if isinstance(base, Transformer) and base.teacher is not None:
            by_base[name] = base.teacher
    for name, teacher in by_base.items():
        for other in teacher.bases:
            if other not in run.bases:
                raise BadInput(
                    f"params.yaml: {name}.teacher.base = {other!r} is no base of this run; "
                    f"choose one of {', '.join(base for base in run.bases if base != name)}"
                )
            if teacher.clean and other in by_base:
                raise BadInput(
                    f"params.yaml: {name}.teacher.clean: {other} has a teacher of its own, whose rows saw the "
                    f"votes that are to be kept out; set {name}.teacher.clean to false or drop {other}.teacher"
                )
        if circle := _circle(name, by_base):
            raise BadInput(
                f"params.yaml: {name}.teacher.base = {teacher.base!r}: {' learns from '.join(circle)}; "
                "a base cannot learn from itself"
            )
    return by_base


def _circle(name: str, teachers: Mapping[str, Teacher]) -> list[str] | None:
    """The way from a base over its teachers back to itself; None where there is none."""
    waiting, known = [[name]], {name}
    while waiting:
        chain = waiting.pop()
        for other in teachers[chain[-1]].bases if chain[-1] in teachers else ():
            if other == name:
                return [*chain, name]
            if other not in known:
                known.add(other)
                waiting.append([*chain, other])
    return None


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


def _section(path: Path, name: str, cls: type[Section], values: Any) -> Section:
    try:
        return cls.model_validate(values or {})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([name, *(str(part) for part in first["loc"])])
        known = ""
        if first["type"] == "extra_forbidden":
            close = get_close_matches(str(first["loc"][-1]), cls.model_fields, 1)
            known = f"; did you mean {close[0]}?" if close else ""
            nearest = get_close_matches(str(first["loc"][-1]), cls.model_fields, MOST_KEYS, cutoff=0.0)
            more = ", … (make params shows all)" if len(nearest) < len(cls.model_fields) else ""
            known += f"; known keys: {', '.join(nearest)}{more}"
        raise BadInput(f"{path}: {place[:200]} = {shown(first['input'])}: {first['msg']}{known}") from None
