"""Prints every setting of a run with its meaning, its default, and what params.yaml, the profile or SET make of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from battles.paths import RunPaths, check_run
from battles.settings import Section
from stages import config, remembered
from stages.common import guarded
from stages.remembered import Call
from stages.variables import given

CHANGED = "*"


def main() -> None:
    run = given("RUN")
    check_run(run)
    asked = Call(profile=given("PROFILE"), overrides=given("SET"), table=given("TABLE"))
    call = asked.after(remembered.read(RunPaths(run).params))
    profile = call.profile or ("table" if call.table else "sample")
    sections = config.load(Path("params.yaml"), profile, run, call.overrides, table=bool(call.table))
    print(f"run {run}, profile {profile}; {CHANGED} marks what differs from the default\n")
    for name, section in sections.items():
        print(f"{name}: {(type(section).__doc__ or '').splitlines()[0]}")
        for line in describe(name, section):
            print(f"  {line}")
        print()


def describe(path: str, section: Section) -> Iterator[str]:
    """A line for each setting of a section, those of sections inside of it included."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from describe(f"{path}.{name}", value)
            continue
        default = field.get_default(call_default_factory=True)
        mark = " " if default == value else CHANGED
        was = "" if default == value or default is PydanticUndefined else f" (default {_short(default)})"
        yield f"{mark} {path}.{name} = {_short(value)}{was}: {field.description}"


def _short(value: Any) -> str:
    if isinstance(value, Section):
        value = value.model_dump(mode="json")
    elif isinstance(value, dict):
        value = {key: one.model_dump(mode="json") if isinstance(one, Section) else one for key, one in value.items()}
    return repr(value) if isinstance(value, str) else str(value)


if __name__ == "__main__":
    guarded(main)
