"""Writes the run's params stamps and the Makefile fragment `run.mk`; each only when its content changes.

`make` starts this before anything else, at every call, so it imports nothing heavy. A stamp that keeps its
content keeps its time, and whatever depends on it is left alone.
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from battles.errors import BadInput
from battles.files import json_text, write_if_changed
from battles.paths import RunPaths, check_run
from models.transformer.planning.cards import read_card, read_hours
from oof.dependencies import changes, replacing
from oof.model_store import finished_models
from stages import config, remembered, variables
from stages.common import guarded, parser
from stages.makefile_fragment import fragment
from stages.remembered import Call
from stages.stamps import make_stamps, source_kind


def main() -> None:
    given = _arguments()
    if not given.nproc.isdecimal() or int(given.nproc) < 1:
        raise BadInput(f"NPROC: {given.nproc!r}; give a number of processes, one per GPU")
    if variables.given("CARD"):
        read_card(variables.given("CARD"))
    if variables.given("HOURS"):
        read_hours(variables.given("HOURS"))
    paths = RunPaths(given.run)
    _check_run(paths)
    call = Call(**{field.name: getattr(given, field.name) for field in fields(Call)})
    call = call.after(remembered.read(paths.params))
    profile = call.profile or ("table" if call.table else "sample")
    sections = config.load(given.params, profile, given.run, call.overrides, table=bool(call.table))
    stamps = make_stamps(sections, call, profile, given.folds, paths)
    makefile_variables = fragment(sections, stamps, given.run)
    _refuse_another_source(paths, stamps["inputs"])
    if given.again != "1":
        _refuse_to_replace_models(paths, stamps)
    # Nothing is written before everything is known to be right.
    for name, value in stamps.items():
        write_if_changed(paths.stamp(name), json_text(value, sealed=True))
    remembered.write(paths.params, call)
    write_if_changed(paths.params / "run.mk", makefile_variables)


def _arguments() -> argparse.Namespace:
    arguments = parser((__doc__ or "").splitlines()[0])
    arguments.add_argument("--params", default="params.yaml", type=Path)
    for name in ("profile", "train", "test", "format", "folds", "overrides", "table", "bases", "features"):
        variable = "SET" if name == "overrides" else name.upper()
        arguments.add_argument(f"--{name}", default=variables.given(variable))
    for name in ("ALLOW_SUSPECT", "AGAIN", "TEXTS"):
        arguments.add_argument(f"--{name.lower().replace('_', '-')}", default=variables.given(name))
    arguments.add_argument("--nproc", default=variables.given("NPROC") or "1")
    given = arguments.parse_args()
    for name, value in (("ALLOW_SUSPECT", given.allow_suspect), ("AGAIN", given.again)):
        if value not in ("", "0", "1"):
            raise BadInput(f"{name}: {value!r}; give 1, or leave it out")
    if given.texts not in ("", "yes", "no"):
        raise BadInput(f"TEXTS: {given.texts!r}; give yes or no: whether the report shows texts of battles")
    return given


def _check_run(paths: RunPaths) -> None:
    """Refuses a run's name that is no folder's name, and models where an earlier version of the project kept them."""
    check_run(paths.name)
    old = paths.root / "models" / paths.name
    # A package may have the run's name: what belongs to the code has an __init__.py.
    folders = [child for child in sorted(old.glob("*/")) if child.name[0] not in "._"]
    strangers = [child.as_posix() for child in folders if not (child / "__init__.py").exists()]
    if strangers:
        raise BadInput(
            f"{old}: models of this run lie where an earlier version kept them; move them: "
            f"mkdir -p {paths.models} && mv {' '.join(strangers)} {paths.models}/"
        )


def _refuse_another_source(paths: RunPaths, inputs: dict[str, Any]) -> None:
    """A run is of one source: other battles must not replace hours of work."""
    path = paths.stamp("inputs")
    before = config.read_stamp(path)
    if not before:
        return
    kind_before, kind = source_kind(before), source_kind(inputs)
    if kind_before != kind:
        raise BadInput(
            f"RUN: {paths.name} was made from {kind_before}, this call is of {kind}; give another RUN, or remove the "
            f"run: make clean RUN={paths.name}"
        )
    if not paths.train_battles.exists():  # nothing was made of them yet
        return
    if inputs["train"] and before["train"]["sha256"] != inputs["train"]["sha256"]:
        raise BadInput(
            f"TRAIN: {inputs['train']['path']} holds other battles than those that run {paths.name} was made from "
            f"({before['train']['path']}); give another RUN, or remove the run: make clean RUN={paths.name}"
        )


def _refuse_to_replace_models(paths: RunPaths, stamps: dict[str, Any]) -> None:
    """Finished models that this call would train again are named, with what they took."""
    for name in stamps["run"]["bases"]:
        depends_on = stamps.get(name, {}).get("depends_on")
        if depends_on is None:  # predictions made elsewhere
            continue
        stale: dict[str, list[str]] = {}
        seconds = 0.0
        for model, record in finished_models(paths.base(name)).items():
            if why := changes(record["depends_on"], depends_on):
                stale[model] = why
                seconds += record["seconds"]
        if stale:
            raise replacing(name, [*stale], next(iter(stale.values())), seconds)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIOWrapper unless replaced
    guarded(main)
