"""The record of a base's finished models that predict battles to come: what is needed beside them, and nothing else.

`base.json` lies in the base's folder. It is written when the base's out-of-fold table is, and read by whoever predicts
from the saved models alone: no table of the run is needed for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from battles.files import check_files, file_hashes, read_json, write_json
from oof.crossfit import mean_of_models
from oof.model_store import Job, PredictTest, Variants

RECORD = "base.json"


@dataclass(frozen=True)
class SavedModel:
    """A saved model: the battles that it scored, and SHA-256 of the files in its folder, by their names in it."""

    scored: int
    files: Mapping[str, str]


@dataclass(frozen=True)
class SavedBase:
    """The saved models of a base, whose mean predicts.

    folder: of the base. settings: JSON values. models: sub-folder → model. test_of: in words which they are.
    """

    folder: Path
    settings: Mapping[str, Any]
    models: Mapping[str, SavedModel]
    test_of: str

    def predict(self, predict: PredictTest) -> Variants:
        """Probabilities (battles, 3) by variant: the mean over the models."""
        return mean_of_models([predict(self.folder / name, model.scored) for name, model in self.models.items()])

    def check(self, fix: str) -> None:
        """Raises BadInput for a file of a model that is missing or changed."""
        for name, model in self.models.items():
            check_files(self.folder / name, model.files, fix)


def made_again(record: Path) -> str:
    """What to do about a record that is damaged, or whose files are: `make` looks whether the record is there, and the
    step that writes it checks the files."""
    return f"delete {record} and run `make stack` again"


def write_record(folder: Path, settings: Mapping[str, Any], jobs: Sequence[Job], test_of: str) -> None:
    """Records the finished models of `jobs`, in the sub-folders of a base's folder, as those that predict."""
    models = {}
    for job in jobs:
        place = folder / job.name
        paths = [path for path in (place / "model").rglob("*") if path.is_file()]
        names = [path.relative_to(place).as_posix() for path in paths]
        models[job.name] = {"scored": len(job.valid_rows), "files": file_hashes(place, names)}
    write_json(folder / RECORD, {"settings": dict(settings), "models": models, "test_of": test_of}, sealed=True)


def read_record(folder: Path, fix: str) -> SavedBase:
    """What `write_record` wrote; raises BadInput, with `fix` as what to do, where it is missing or damaged."""
    value = read_json(folder / RECORD, sealed=True, fix=fix)
    models = {name: SavedModel(model["scored"], model["files"]) for name, model in value["models"].items()}
    return SavedBase(folder, value["settings"], models, value["test_of"])
