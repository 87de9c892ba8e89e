"""Writes the run's params stamps and the Makefile fragment `run.mk`; each only when its content changes.

`make` starts this before anything else, at every call, so it imports nothing heavy. A stamp that keeps its
content keeps its time, and whatever depends on it is left alone.
"""

import json
import sys
from pathlib import Path
from typing import Any

from battles.errors import BadInput
from battles.files import content_hash, file_hash, write_if_changed
from battles.paths import RunPaths, check_run
from battles.settings import Prepare, Section
from models.transformer.settings import Tiny, Transformer
from stages import config, variables
from stages.common import guarded, parser


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--params", default="params.yaml", type=Path)
    for name in ("profile", "train", "test", "folds", "overrides", "table", "bases", "features"):
        variable = "SET" if name == "overrides" else name.upper()
        arguments.add_argument(f"--{name}", default=variables.given(variable))
    arguments.add_argument("--allow-suspect", default=variables.given("ALLOW_SUSPECT"))
    arguments.add_argument("--nproc", default=variables.given("NPROC") or "1")
    given = arguments.parse_args()
    if given.allow_suspect not in ("", "0", "1"):
        raise BadInput(f"ALLOW_SUSPECT: {given.allow_suspect!r}; give 1, or leave it out")
    if not given.nproc.isdecimal() or int(given.nproc) < 1:
        raise BadInput(f"NPROC: {given.nproc!r}; give a number of processes, one per GPU")
    _check_run(RunPaths(given.run))
    sections = config.load(given.params, given.profile, given.run, given.overrides, table=bool(given.table))
    stamps = _stamps(sections, given)
    fragment = _fragment(sections, stamps, given.run)
    folder = RunPaths(given.run).params
    _refuse_another_kind(folder / "inputs.json", stamps["inputs"], given.run)
    # Nothing is written before everything is known to be right.
    for name, value in stamps.items():
        write_if_changed(folder / f"{name}.json", json.dumps(value, indent=2) + "\n")
    write_if_changed(folder / "run.mk", fragment)


def _check_run(paths: RunPaths) -> None:
    """Refuses a run's name that is no folder's name, and models where an earlier version of the project kept them."""
    check_run(paths.name)
    old = paths.root / "models" / paths.name
    # A package may have the run's name: what belongs to the code has an __init__.py.
    folders = [child for child in sorted(old.glob("*/")) if child.name[0] not in "._"]
    found = [child.as_posix() for child in folders if not (child / "__init__.py").exists()]
    if found:
        raise BadInput(
            f"{old}: models of this run lie where an earlier version kept them; move them: "
            f"mkdir -p {paths.models} && mv {' '.join(found)} {paths.models}/"
        )


def _stamps(sections: dict[str, Section], given: Any) -> dict[str, Any]:
    run, prepare = sections["run"], sections["prepare"]
    assert isinstance(run, config.Run)
    assert isinstance(prepare, Prepare)
    folds = _folds(given.folds, prepare.folds)
    inputs = _table(given) if given.table else _inputs(run, given)
    bases = inputs["table"]["bases"] if given.table else run.bases
    stamps: dict[str, Any] = {
        "run": {"bases": bases, "folds": folds, "allow_suspect": given.allow_suspect == "1"},
        "inputs": inputs,
    }
    for name, values in sections.items():
        if name != "run":
            settings = values.model_dump(mode="json")
            stamps[name] = {"settings": settings, "hash": content_hash(settings)}
    teachers = {} if given.table else config.teachers(sections)
    for name in run.bases if not given.table else []:
        # A student learns from its teacher's rows of all folds.
        stamps[name]["folds"] = None if name in {teacher.base for teacher in teachers.values()} else folds
        base = sections[name]
        if isinstance(base, Transformer) and base.extra_train is not None:
            stamps[name]["extra_train"] = _input(f"{name}.extra_train", base.extra_train)
    return stamps


def _folds(text: str, count: int) -> list[int] | None:
    if not text:
        return None
    words = text.split(",")
    if not all(word.isdecimal() and int(word) < count for word in words):
        raise BadInput(f"FOLDS: {text!r}; give numbers from 0 to {count - 1}, divided by commas, for example FOLDS=0,1")
    return sorted({int(word) for word in words})


def _inputs(run: config.Run, given: Any) -> dict[str, Any]:
    for variable in ("bases", "features"):
        if getattr(given, variable):
            fix = '; the run\'s own are chosen by SET="run.bases=[…]"' if variable == "bases" else ""
            raise BadInput(f"{variable.upper()}: {getattr(given, variable)} is given without TABLE{fix}")
    if given.train:
        test = _input("TEST", given.test) if given.test else None
        return {"train": _input("TRAIN", given.train), "test": test, "table": None}
    if run.source == "sample":
        if given.test:
            raise BadInput(f"TEST: {given.test} is given without TRAIN; give both, or neither for the embedded sample")
        source = f"battles/{given.run}/source"
        files = {kind: {"path": f"{source}/{kind}.csv", "sha256": None} for kind in ("train", "test")}
        return {**files, "table": None}
    raise BadInput(
        f"TRAIN: not given; profile {given.profile!r} trains on your battles: "
        f"make … PROFILE={given.profile} TRAIN=path/train.csv TEST=path/test.csv"
    )


def _table(given: Any) -> dict[str, Any]:
    """Predictions made elsewhere instead of battles."""
    for variable in ("train", "test", "folds"):
        if getattr(given, variable):
            raise BadInput(f"{variable.upper()}: {getattr(given, variable)} is given beside TABLE; give one of the two")
    bases, features = _names(given.bases), _names(given.features)
    if not bases:
        raise BadInput("BASES: not given; name the bases of TABLE to be stacked, divided by commas: BASES=llm_1,tfidf")
    config.check_names(bases)
    source = _input("TABLE", given.table)
    return {"train": None, "test": None, "table": {**source, "bases": bases, "features": features}}


def _kind(inputs: dict[str, Any]) -> str:
    return "TABLE" if inputs["table"] else "TRAIN" if inputs["train"]["sha256"] else "the embedded sample"


def _refuse_another_kind(path: Path, inputs: dict[str, Any], run: str) -> None:
    """A run is of one kind: a forgotten variable must not replace hours of work by the sample's."""
    if not path.exists():
        return
    before, now = _kind(json.loads(path.read_text(encoding="utf-8"))), _kind(inputs)
    if before != now:
        raise BadInput(
            f"RUN: {run} was made from {before}, this call is of {now}; give the variables of the first call again, "
            f"another RUN, or remove it: make clean RUN={run}"
        )


def _names(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


def _input(variable: str, path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise BadInput(f"{variable}: {path}: no such file")
    return {"path": path, "sha256": file_hash(path)}


def _fragment(sections: dict[str, Section], stamps: dict[str, Any], run: str) -> str:
    """The variables that the Makefile needs of the params, as a fragment that it includes."""
    settings, tiny = sections["run"], sections["tiny"]
    assert isinstance(settings, config.Run)
    assert isinstance(tiny, Tiny)
    root = config.TINY_ROOT.replace("{run}", run)
    inputs = stamps["inputs"]
    source = {"TABLE": "table", "TRAIN": "user"}.get(_kind(inputs), "sample")
    lines = [
        f"NAMES := {' '.join(stamps['run']['bases'])}",
        f"JOBS := {settings.jobs}",
        f"THREADS := {settings.threads or ''}",
        f"HAS_TEST := {'yes' if inputs['test'] else ''}",
        f"SOURCE := {source}",
        f"TINY := {' '.join(f'{root}/{name}/config.json' for name in tiny.backbones)}",
    ]
    if source == "table":
        return "\n".join(lines) + "\n"
    transformers = [name for name in settings.bases if isinstance(sections[name], Transformer)]
    lines.append(f"TRANSFORMERS := {' '.join(transformers)}")
    teachers = config.teachers(sections)
    lines.append(f"CLEAN := {' '.join(sorted({teacher.base for teacher in teachers.values() if teacher.clean}))}")
    for name in settings.bases:
        base, needs = sections[name], []
        if isinstance(base, Transformer) and base.backbone.startswith(f"{root}/"):
            if Path(base.backbone).name not in tiny.backbones:
                raise BadInput(
                    f"params.yaml: {name}.backbone = {base.backbone!r}, but tiny.backbones has only "
                    f"{', '.join(tiny.backbones) or 'nothing'}"
                )
            needs.append(f"{base.backbone}/config.json")
        if name in teachers:
            teacher = teachers[name]
            needs.append(f"oof/{run}/{teacher.base}.parquet")
            needs += [f"oof/{run}/{teacher.base}.pairs.parquet"] if teacher.clean else []
        if needs:
            lines.append(f"NEEDS_{name} := {' '.join(needs)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIOWrapper unless replaced
    guarded(main)
