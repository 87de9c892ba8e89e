"""Saves and loads fitted candidates without pickle: linear models in JSON, trees in LightGBM's text format."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from battles.errors import BadInput
from battles.files import write_json, write_text
from models.stacking.blend import Pool
from models.stacking.inner_cv import MetaModel
from models.stacking.logistic import Regression
from models.stacking.mixture import Mixture
from models.stacking.residual_booster import Design, Residual
from models.stacking.smoothing import Smoothed

MANIFEST = "stack.json"


def save(directory: Path, models: Mapping[str, MetaModel], shipped: str, about: Mapping[str, Any]) -> None:
    """Writes every candidate, the name of the one that ships, and `about` (JSON values) to `directory`.

    Removes tree files of an earlier stack that this one does not have.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written: set[str] = set()
    described = {name: _describe(model, models, directory, name, written) for name, model in models.items()}
    write_json(directory / MANIFEST, {"shipped": shipped, "models": described, **about})
    for old in directory.glob("*.trees.txt"):
        if old.name not in written:
            old.unlink()


def load(directory: Path, name: str | None = None) -> MetaModel:
    """The saved candidate `name`, by default the one that ships; raises BadInput when there is none."""
    path = directory / MANIFEST
    if not path.exists():
        raise BadInput(f"{path}: no such file; run `make stack` first")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    chosen = name or manifest["shipped"]
    if chosen not in manifest["models"]:
        raise BadInput(f"{path}: no candidate {chosen}; choose one of {', '.join(manifest['models'])}")
    return _restore(manifest["models"], manifest["models"][chosen], directory)


def _describe(
    model: MetaModel, models: Mapping[str, MetaModel], directory: Path, name: str, written: set[str]
) -> dict[str, Any]:
    match model:
        case Pool():
            return {"kind": "pool", **model.to_json()}
        case Regression():
            return {"kind": "regression", **model.to_json()}
        case Residual():
            trees = []
            for number, booster in enumerate(model.boosters):
                file = f"{name}-{number}.trees.txt"
                write_text(directory / file, booster.model_to_string())
                trees.append(file)
            written.update(trees)
            margin = next(other for other, candidate in models.items() if candidate is model.margin)
            return {
                "kind": "residual",
                "margin": margin,
                "trees": trees,
                "tree_weight": model.tree_weight,
                "symmetric": model.design.symmetric,
                "bases": model.design.bases,
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
    raise TypeError(f"cannot save a {type(model).__name__}")


def _restore(described: Mapping[str, Any], value: Mapping[str, Any], directory: Path) -> MetaModel:
    match value["kind"]:
        case "pool":
            return Pool.from_json(value)
        case "regression":
            return Regression.from_json(value)
        case "residual":
            trees = [lgb.Booster(model_str=(directory / file).read_text(encoding="utf-8")) for file in value["trees"]]
            return Residual(
                _restore(described, described[value["margin"]], directory),
                trees,
                value["tree_weight"],
                Design(value["bases"], value["symmetric"]),
            )
        case "mixture":
            members = {member: _restore(described, described[member], directory) for member in value["members"]}
            return Mixture(members, np.array(value["weights"]), np.array(value["bias"]))
        case "smoothed":
            return Smoothed(_restore(described, value["model"], directory), value["rows"])
    raise BadInput(f"{directory / MANIFEST}: unknown kind {value['kind']}; run `make stack` again")
