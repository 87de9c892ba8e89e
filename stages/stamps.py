"""The stamps of a run: for every step the resolved settings, and for every base what its models depend on."""

from pathlib import Path
from typing import Any

from battles.errors import BadInput
from battles.files import content_hash
from battles.formats import AUTO, check_name
from battles.paths import RunPaths
from battles.settings import Prepare, Section
from models.base_kinds import predictive
from models.stacking.settings import Stack
from models.tfidf.settings import Tfidf
from models.transformer.settings import Transformer
from stages import config
from stages.input_files import input_hash
from stages.remembered import Call
from stages.versions import VERSIONS

Stamps = dict[str, dict[str, Any]]


def make_stamps(sections: dict[str, Section], call: Call, profile: str, folds: str, paths: RunPaths) -> Stamps:
    """Name → stamp, JSON values. Raises BadInput for variables that do not go together and files that are not there."""
    run, prepare = sections["run"], sections["prepare"]
    assert isinstance(run, config.Run)
    assert isinstance(prepare, Prepare)
    if call.table:
        inputs, test, bases = _table(call, folds), None, _names(call.bases)
    else:
        inputs, test = _battles(run, call, profile, paths)
        bases = run.bases
    wanted = _folds(folds, prepare.folds)
    stamps: Stamps = {
        "run": {
            "bases": bases,
            "folds": wanted,
            "allow_suspect": call.allow_suspect == "1",
            "clean": None if call.table else _clean_bases(sections, wanted),
        },
        "inputs": inputs,
        "test": {"test": test, "version": VERSIONS["prepare"]},
        "report": {"texts": call.texts != "no"},
    }
    for name, section in sections.items():
        if name != "run":
            settings = section.model_dump(mode="json")
            stamps[name] = {"settings": settings, "hash": content_hash(settings), "version": VERSIONS.get(name, 0)}
    if not call.table:
        _add_bases(stamps, sections, wanted, paths.name)
    return stamps


def source_kind(inputs: dict[str, Any]) -> str:
    """Where a run's rows come from, for messages."""
    return "TABLE" if inputs["table"] else "TRAIN" if inputs["train"]["sha256"] else "the embedded sample"


def _add_bases(stamps: Stamps, sections: dict[str, Section], wanted: list[int] | None, run: str) -> None:
    """Adds to the stamp of every base the folds to run and what its models depend on."""
    teachers = config.teachers(sections)
    own = {"version": VERSIONS["sample"], **stamps["sample"]["settings"]}
    train = stamps["inputs"]["train"]
    # Ties are taken out of what models predict: no model depends on whether there are any.
    prepare = {key: value for key, value in stamps["prepare"]["settings"].items() if key != "ties"}
    battles = {
        "source": train["sha256"] or own,
        **({"format": train["format"]} if "format" in train else {}),
        "prepare": {"version": VERSIONS["prepare"], **prepare},
    }

    def depends_on(name: str) -> dict[str, Any]:
        base = sections[name]
        kind = stamps[name]["settings"]["kind"]
        needs: dict[str, Any] = {"version": VERSIONS[kind], "settings": predictive(base), "battles": battles}
        if isinstance(base, Transformer):
            if base.extra_train is not None:
                hashes = [_input(f"{name}.extra_train", extra.path)["sha256"] for extra in base.extra_files]
                # One file alone is written down as it was before there could be several.
                alone = isinstance(base.extra_train, str)
                needs["extra_train"] = {"sha256": hashes[0] if alone else hashes, "prompts": "new"}
            if base.backbone.startswith(f"{config.tiny_root(run)}/"):
                needs["tiny"] = {"version": VERSIONS["tiny"], **stamps["tiny"]["settings"]}
        if name in teachers:
            teacher = teachers[name]
            of_bases = [content_hash(depends_on(other)) for other in teacher.bases]
            if of_bases:
                needs["teacher"] = of_bases[0] if isinstance(teacher.base, str) else of_bases
            if teacher.files:
                needs["teacher_files"] = [_input(f"{name}.teacher.file", path)["sha256"] for path in teacher.files]
        return needs

    taught_by = {other for teacher in teachers.values() for other in teacher.bases}
    for name in stamps["run"]["bases"]:
        # A student learns from its teacher's rows of all folds.
        stamps[name] |= {"folds": None if name in taught_by else wanted, "depends_on": depends_on(name)}


def _clean_bases(sections: dict[str, Section], wanted: list[int] | None) -> list[str] | None:
    """The bases of which the stacker needs nested rows beside the features; None while some folds are not run."""
    run, prepare, stack = sections["run"], sections["prepare"], sections["stack"]
    assert isinstance(run, config.Run)
    assert isinstance(prepare, Prepare)
    assert isinstance(stack, Stack)
    whole = wanted is None or len(wanted) == prepare.folds
    if not (stack.clean and whole and prepare.folds >= 3):
        return None
    return [name for name in run.bases if isinstance(sections[name], Tfidf)]


def _folds(text: str, count: int) -> list[int] | None:
    if not text:
        return None
    words = text.split(",")
    if not all(word.isdecimal() and int(word) < count for word in words):
        raise BadInput(f"FOLDS: {text!r}; give numbers from 0 to {count - 1}, divided by commas, for example FOLDS=0,1")
    return sorted({int(word) for word in words})


def _battles(
    run: config.Run, call: Call, profile: str, paths: RunPaths
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The training and the test file of a run on battles."""
    for variable in ("bases", "features"):
        if value := getattr(call, variable):
            fix = '; the run\'s own are chosen by SET="run.bases=[…]"' if variable == "bases" else ""
            raise BadInput(f"{variable.upper()}: {value} is given without TABLE{fix}")
    check_name(call.format or AUTO)
    if call.train:
        # The format is the files' own business unless it is asked for.
        asked = {} if call.format in ("", AUTO) else {"format": call.format}
        test = _kept_input("TEST", call.test, paths.test_battles, paths.stamp("test"))
        train = _kept_input("TRAIN", call.train, paths.train_battles, paths.stamp("inputs"))
        return {"train": {**(train or {}), **asked}, "table": None}, test and {**test, **asked}
    if run.source == "sample":
        for variable, value in (("TEST", call.test), ("FORMAT", call.format)):
            if value:
                raise BadInput(f"{variable}: {value} is given without TRAIN; leave it out for the embedded sample")
        train, test = ({"path": f"{paths.truth.parent}/{kind}.csv", "sha256": None} for kind in ("train", "test"))
        return {"train": train, "table": None}, test
    raise BadInput(
        f"TRAIN: not given; profile {profile!r} trains on your battles: "
        f"make … PROFILE={profile} TRAIN=path/train.csv TEST=path/test.csv"
    )


def _table(call: Call, folds: str) -> dict[str, Any]:
    """Predictions made elsewhere instead of battles."""
    given = {"train": call.train, "test": call.test, "format": call.format, "folds": folds}
    for variable, value in given.items():
        if value:
            raise BadInput(f"{variable.upper()}: {value} is given beside TABLE; give one of the two")
    bases, features = _names(call.bases), _names(call.features)
    if not bases:
        raise BadInput("BASES: not given; name the bases of TABLE to be stacked, divided by commas: BASES=llm_1,tfidf")
    config.check_names(bases)
    return {"train": None, "table": {**_input("TABLE", call.table), "bases": bases, "features": features}}


def _names(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


def _kept_input(variable: str, path: str, prepared: Path, stamp: Path) -> dict[str, Any] | None:
    """A file of battles; one that is gone since it was prepared is not needed any more."""
    if not path:
        return None
    if not Path(path).exists() and prepared.exists():
        earlier = config.read_stamp(stamp)
        known = earlier.get(variable.lower())
        if known and known["path"] == path:
            return {key: known[key] for key in ("path", "sha256")}
    return _input(variable, path)


def _input(variable: str, path: str) -> dict[str, Any]:
    if not Path(path).is_file() and not Path(path).is_dir():
        raise BadInput(f"{variable}: {path}: no such file")
    return {"path": path, "sha256": input_hash(path)}
