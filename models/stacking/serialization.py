"""Saves and loads fitted candidates without pickle: linear models in JSON, boosters in LightGBM's text format, forests
and kernels in arrays of numbers."""

import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from battles.errors import BadInput
from battles.files import atomic, damaged, file_hash, read_json, write_json, write_text
from models.calibration import Calibration
from models.stacking.blend import Pool
from models.stacking.forest import Forest
from models.stacking.inner_cv import MetaModel
from models.stacking.kernel import KernelRidge
from models.stacking.logistic import Regression
from models.stacking.mixture import Mixture
from models.stacking.residual_booster import Design, Residual
from models.stacking.settings import STACK
from models.stacking.smoothing import Smoothed
from models.stacking.two_classes import WithoutTie
from oof.saved_models import made_again

MANIFEST = "stack.json"
# What the names of the files beside it end in.
TREES, ARRAYS = ".trees.txt", ".npz"


def save(directory: Path, models: Mapping[str, MetaModel], shipped: str, about: Mapping[str, Any]) -> None:
    """Writes every candidate, the name of the one that ships, and `about` (JSON values) to `directory`.

    Removes files of an earlier stack that this one does not have.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    described = {name: _describe(model, models, directory, name, written) for name, model in models.items()}
    write_json(directory / MANIFEST, {"shipped": shipped, "models": described, **about}, sealed=True)
    for old in directory.iterdir():
        if old.name.endswith((TREES, ARRAYS)) and old.name not in written:
            old.unlink()


def load(directory: Path, name: str | None = None) -> MetaModel:
    """The saved candidate `name`, by default the one that ships.

    Raises BadInput when there is none, or a damaged file.
    """
    path = directory / MANIFEST
    manifest = read_json(path, sealed=True, fix=_fix(directory))
    chosen = name or manifest["shipped"]
    if chosen not in manifest["models"]:
        raise BadInput(f"{path}: no candidate {chosen}; choose one of {', '.join(manifest['models'])}")
    return _restore(manifest["models"], manifest["models"][chosen], directory)


def read(directory: Path) -> dict[str, Any]:
    """The manifest of what `save` wrote: `shipped`, the described `models`, and what it was told about them.

    Raises BadInput where there is none, or a damaged one.
    """
    return read_json(directory / MANIFEST, sealed=True, fix=_fix(directory))


def about(directory: Path) -> dict[str, Any]:
    """What `save` was told about the stack that lies in `directory`; empty where there is none, or a damaged one."""
    try:
        return read_json(directory / MANIFEST, sealed=True)
    except BadInput:
        return {}


def _describe(
    model: MetaModel, models: Mapping[str, MetaModel], directory: Path, name: str, written: set[str]
) -> dict[str, Any]:
    match model:
        case Pool():
            return {"kind": "pool", **model.to_json()}
        case Regression():
            return {"kind": "regression", **model.to_json()}
        case Residual():
            trees = {}
            for number, booster in enumerate(model.boosters):
                file, text = f"{name}-{number}{TREES}", booster.model_to_string()
                write_text(directory / file, text)
                trees[file] = hashlib.sha256(text.encode()).hexdigest()
            written.update(trees)
            return {
                "kind": "residual",
                "margin": _name_of(model.margin, models),
                "trees": trees,
                "tree_weight": model.tree_weight,
                "symmetric": model.design.symmetric,
                "bases": model.design.bases,
            }
        case KernelRidge():
            return {
                "kind": "kernel",
                "gamma": model.gamma,
                "calibration": model.calibration.values(),
                "arrays": _write_arrays(model.arrays(), directory, f"{name}.kernel{ARRAYS}", written),
            }
        case Forest():
            return {
                "kind": "forest",
                "margin": _name_of(model.margin, models),
                "symmetric": model.symmetric,
                "scale": model.scale,
                "arrays": _write_arrays(model.arrays(), directory, f"{name}.forest{ARRAYS}", written),
            }
        case Mixture():
            return {
                "kind": "mixture",
                "members": list(model.members),
                "weights": model.weights.tolist(),
                "bias": model.bias.tolist(),
            }
        case Smoothed():
            inside = _describe(model.model, models, directory, name, written)
            return {"kind": "smoothed", "rows": model.rows, "model": inside}
        case WithoutTie():
            return {"kind": "without_tie", "model": _describe(model.model, models, directory, name, written)}
    raise TypeError(f"cannot save a {type(model).__name__}")


def _name_of(margin: MetaModel, models: Mapping[str, MetaModel]) -> str:
    return next(name for name, candidate in models.items() if candidate is margin)


def _write_arrays(arrays: Mapping[str, Any], directory: Path, file: str, written: set[str]) -> dict[str, str]:
    """Writes arrays to `directory` and adds the file to `written`; returns its hash by its name."""
    with atomic(directory / file) as path, path.open("wb") as handle:
        np.savez_compressed(handle, **arrays)
    written.add(file)
    return {file: file_hash(directory / file)}


def _restore(described: Mapping[str, Any], value: Mapping[str, Any], directory: Path) -> MetaModel:
    match value["kind"]:
        case "pool":
            return Pool.from_json(value)
        case "regression":
            return Regression.from_json(value)
        case "residual":
            trees = [_read_trees(directory / file, sha256) for file, sha256 in value["trees"].items()]
            return Residual(
                _restore(described, described[value["margin"]], directory),
                trees,
                value["tree_weight"],
                Design(value["bases"], value["symmetric"]),
            )
        case "kernel":
            arrays = _read_arrays(directory, value["arrays"])
            return KernelRidge.of(arrays, value["gamma"], Calibration.of(value["calibration"]))
        case "forest":
            margin = _restore(described, described[value["margin"]], directory)
            return Forest.of(_read_arrays(directory, value["arrays"]), margin, value["symmetric"], value["scale"])
        case "mixture":
            members = {member: _restore(described, described[member], directory) for member in value["members"]}
            return Mixture(members, np.array(value["weights"]), np.array(value["bias"]))
        case "smoothed":
            return Smoothed(_restore(described, value["model"], directory), value["rows"])
        case "without_tie":
            return WithoutTie(_restore(described, value["model"], directory))
    raise BadInput(f"{directory / MANIFEST}: unknown kind {value['kind']}; {_fix(directory)}")


def _read_trees(path: Path, sha256: str) -> lgb.Booster:
    return lgb.Booster(model_str=_read_bytes(path, sha256).decode("utf-8"))


def _read_arrays(directory: Path, written: Mapping[str, str]) -> dict[str, np.ndarray]:
    ((file, sha256),) = written.items()
    with np.load(BytesIO(_read_bytes(directory / file, sha256)), allow_pickle=False) as arrays:
        return dict(arrays)


def _read_bytes(path: Path, sha256: str) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise damaged(path, error, _fix(path.parent)) from None
    if hashlib.sha256(raw).hexdigest() != sha256:  # LightGBM reads many a changed file without a word
        raise damaged(path, "it is not what was written", _fix(path.parent))
    return raw


def _fix(directory: Path) -> str:
    """What makes the files of a folder again: those of its sub-folders are made with the whole stack."""
    whole = next((folder for folder in (directory, *directory.parents) if folder.name == STACK), directory)
    return made_again(whole / MANIFEST)
