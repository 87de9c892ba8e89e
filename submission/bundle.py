"""The offline bundle of a run: a folder that becomes a private Kaggle data set, from which a notebook predicts.

It holds the project's source, the models that predict, the resolved params and two scripts of metadata; no battle of
the training file, no votes, no out-of-fold rows, no token. Files are copied as they are, so the hashes that the saved
models carry still hold.
"""

import json
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from battles.errors import BadInput
from battles.files import write_json, write_text
from models.stacking import serialization, subsets
from oof.saved_models import RECORD
from submission.predict import Predictor

ROOT = Path(__file__).parents[1]
ROOMS = ("battles", "features", "models", "oof", "submission")
# The bundle's own parts.
SOURCE, RUN, WHEELS, ABOUT = "source.zip", "run", "wheels", "bundle.json"
BACKBONES = "backbones"
NOTEBOOK = "submit.ipynb"
# Kaggle's limits for a data set (its documentation of data sets): bytes, and entries at the top.
MAX_BYTES, MAX_ENTRIES = 200 * 10**9, 50
# Titles of data sets and notebooks have 6 to 50 characters.
_TITLE = 50
OWNER_TO_FILL_IN = "INSERT_USERNAME_HERE"
# What tells a backbone apart from others, of its configuration.
IDENTITY = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

_SCRIPT = '''"""Writes submission.csv into the working folder: python predict.py [--input DIR] [--hours H]."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # a data set is mounted read-only
# Kaggle unpacks archives of a data set; elsewhere Python imports from the archive.
sys.path.insert(0, str(HERE / ("source" if (HERE / "source").is_dir() else "source.zip")))

from submission.kernel import main  # noqa: E402

if __name__ == "__main__":
    main(HERE)
'''
_CELL = """import subprocess
import sys
from pathlib import Path

scripts = sorted(Path("/kaggle/input").rglob("predict.py"))
script = next(path for path in scripts if (path.parent / "bundle.json").exists())
subprocess.run([sys.executable, str(script), "--hours", "{hours}"], check=True)
"""


@dataclass(frozen=True)
class Target:
    """Where a bundle goes: the Kaggle user and competition, and models of Kaggle's own that its notebook mounts."""

    owner: str
    competition: str
    model_sources: tuple[str, ...] = ()
    hours: float = 8.5


def write_bundle(models: Path, folder: Path, target: Target) -> dict[str, str]:
    """Writes the bundle of the run whose models lie in `models` to a folder that is not there yet.

    Returns base → hub name of the backbones that are not in it, and must be mounted. Raises BadInput for models that
    are damaged or missing, and for a bundle over Kaggle's limits.
    """
    predictor = Predictor(models)
    _copy(ROOT / "LICENSE", folder / "LICENSE")
    _pack_source(folder / SOURCE)
    _copy_models(predictor, folder / RUN)
    outside = _copy_backbones(predictor, folder / RUN / BACKBONES)
    run = models.name
    write_json(folder / "params.json", _params(predictor))
    write_json(folder / ABOUT, {"run": run, "backbones": {name: identity(hub) for name, hub in outside.items()}})
    write_text(folder / "predict.py", _SCRIPT)
    write_metadata(folder, run, target, bool(predictor.language_models))
    _check_size(folder)
    return outside


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def slug(run: str, suffix: str = "") -> str:
    """The name of a run's data set, or with a suffix of its notebook, as Kaggle makes it of the title."""
    words = re.sub("[^a-z0-9]+", "-", f"arena-stack {run}".lower()).strip("-")
    return words[: _TITLE - len(suffix)].strip("-") + suffix


def write_metadata(folder: Path, run: str, target: Target, gpu: bool) -> None:
    """The notebook and both files of metadata; the titles are the slugs, as Kaggle compares the two."""
    name, kernel = slug(run), slug(run, "-submit")
    write_json(
        folder / "dataset-metadata.json",
        {"title": name, "id": f"{target.owner}/{name}", "licenses": [{"name": "other"}]},
    )
    metadata: dict[str, Any] = {
        "id": f"{target.owner}/{kernel}",
        "title": kernel,
        "code_file": NOTEBOOK,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": gpu,
        "enable_tpu": False,
        "enable_internet": False,
        "dataset_sources": [f"{target.owner}/{name}"],
        "competition_sources": [target.competition],
        "kernel_sources": [],
        "model_sources": list(target.model_sources),
    }
    if gpu:
        metadata["machine_shape"] = "NvidiaTeslaT4"
    write_json(folder / "kernel-metadata.json", metadata)
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": "predict",
        "metadata": {},
        "outputs": [],
        "source": _CELL.format(hours=target.hours).splitlines(keepends=True),
    }
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": python}, "nbformat": 4, "nbformat_minor": 5}
    write_text(folder / NOTEBOOK, json.dumps(notebook, indent=1) + "\n")


def commands(folder: Path) -> list[str]:
    """What to type, in this order. Without `-r zip` the client leaves sub-folders out."""
    return [
        f"kaggle datasets create -p {folder} -r zip",
        f"kaggle kernels push -p {folder}",
        f"# the next time: kaggle datasets version -p {folder} -r zip -m 'what is new'",
    ]


def identity(backbone: str) -> dict[str, Any]:
    """What a backbone's configuration is told apart by, and its name. Raises BadInput where it cannot be had."""
    from models.transformer.backbone.pretrained import load_config
    from models.transformer.settings import Transformer

    config = load_config(Transformer(backbone=backbone, max_length=16)).to_dict()
    return {"hub": backbone, "config": {key: config.get(key) for key in IDENTITY}}


def _pack_source(path: Path) -> None:
    """Every module of the rooms that predict, as an archive: beside run outputs no second tree of packages appears."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for room in ROOMS:
            for module in sorted(_modules(ROOT / room)):
                # A fixed time: the same source gives the same bytes.
                info = zipfile.ZipInfo(module.relative_to(ROOT).as_posix(), (2026, 1, 1, 0, 0, 0))
                archive.writestr(info, module.read_bytes(), zipfile.ZIP_DEFLATED)


def _modules(package: Path) -> Iterator[Path]:
    """The modules of a package and of those in it; what lies there of runs is in no package."""
    yield from package.glob("*.py")
    for inner in package.glob("*/__init__.py"):
        yield from _modules(inner.parent)


def _copy_models(predictor: Predictor, folder: Path) -> None:
    models = predictor.folder
    for path in _files(models / "stack"):
        if path.name == serialization.MANIFEST or path.name.endswith((serialization.TREES, serialization.ARRAYS)):
            _copy(path, folder / "stack" / path.name)
    if predictor.language_models:  # the stackers of a prediction that stops early
        for path in _files(models / "stack" / subsets.FOLDER):
            _copy(path, folder / "stack" / subsets.FOLDER / path.name)
    for path in _files(models / "features"):
        _copy(path, folder / "features" / path.name)
    for name, base in predictor.bases.items():
        _copy(base.folder / RECORD, folder / name / RECORD)
        for model, saved in base.models.items():
            for file in saved.files:
                _copy(base.folder / model / file, folder / name / model / file)


def _copy_backbones(predictor: Predictor, folder: Path) -> dict[str, str]:
    """Copies the backbones that are folders of this machine; returns base → hub name of the others.

    A full fine-tune needs none.
    """
    outside = {}
    for name in predictor.language_models:
        if predictor.bases[name].settings["lora"] is None:
            continue
        backbone = predictor.backbone(name)
        if Path(backbone).is_dir():
            for path in _files(Path(backbone)):
                _copy(path, folder / name / path.name)
        else:
            outside[name] = backbone
    return outside


def _params(predictor: Predictor) -> dict[str, Any]:
    """The resolved settings of what predicts."""
    about = serialization.about(predictor.folder / "stack")
    bases: Mapping[str, Any] = {name: dict(base.settings) for name, base in predictor.bases.items()}
    return {"features": predictor.features.settings.model_dump(mode="json"), "stack": about["settings"], **bases}


def _check_size(folder: Path) -> None:
    total, entries = size(folder), len(list(folder.iterdir()))
    if total > MAX_BYTES or entries > MAX_ENTRIES:
        raise BadInput(
            f"{folder}: {total / 1e9:.1f} GB in {entries} entries; a data set holds {MAX_BYTES / 1e9:.0f} GB and "
            f"{MAX_ENTRIES} at its top; mount backbones as models of Kaggle (MODEL_SOURCES), or bundle fewer bases"
        )


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
