"""One base of a run as its stages need it.

Settings, data and the store of its models, from the stamp and the tables.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from battles.files import table_hash
from battles.folds import fold_hash
from battles.paths import RunPaths
from battles.settings import Section
from models.base_kinds import (
    BaseData,
    backbone_hash,
    base_settings,
    open_base,
    open_mean,
    start_hash,
    teacher_hash,
)
from models.transformer.settings import Transformer
from oof.first_stage import check_start
from oof.model_store import FitModel, ModelStore, PredictTest
from stages.common import stamp
from stages.input_files import unchanged
from stages.run_tables import read_split, read_unvoted


@dataclass(frozen=True)
class BaseRun:
    """A base of a run.

    `wanted` are the folds to run, None for all; `depends_on` is the stamp's part of a model's key.
    """

    name: str
    kind: str
    settings: Section
    params_hash: str
    wanted: list[int] | None
    depends_on: dict[str, Any]
    data: BaseData

    @classmethod
    def of(cls, run: str, name: str, with_test: bool) -> "BaseRun":
        """Reads the stamp and the tables; the test battles only `with_test`, and where the run has some."""
        value, paths = stamp(run, name), RunPaths(run)
        data = BaseData(paths, *read_split(run), read_unvoted(run) if with_test else None)
        settings = base_settings(value["settings"])
        kind: str = value["settings"]["kind"]
        return cls(name, kind, settings, value["hash"], value["folds"], value["depends_on"], data)

    @property
    def folds(self) -> list[int]:
        """The folds to run, in their order."""
        every = sorted(set(self.data.folds["fold"].tolist()))
        return every if self.wanted is None else sorted(self.wanted)

    def open(self) -> tuple[FitModel, PredictTest]:
        """What fits a model of the base, and what predicts with a saved one.

        Raises BadInput where a file of further battles or of a teacher is not the one that the stamp has the hash of,
        and where a model to start from has learnt from prompts that it would be scored on.
        """
        if isinstance(self.settings, Transformer) and self.settings.init_from is not None:
            check_start(self.settings.init_from, self.data.folds, self.folds)
        with self._reading_files():
            return open_base(self.name, self.settings, self.data)

    def open_mean(self) -> FitModel:
        """What makes one model of those of all folds to run; raises BadInput as `open` does."""
        assert isinstance(self.settings, Transformer)
        with self._reading_files():
            return open_mean(self.name, self.settings, self.data, self.folds)

    @contextmanager
    def _reading_files(self) -> Iterator[None]:
        with ExitStack() as reading:
            for setting, path, sha256 in self._files():
                reading.enter_context(unchanged(f"{self.name}.{setting}", {"path": path, "sha256": sha256}))
            yield

    def _files(self) -> Iterator[tuple[str, str, str]]:
        """The files that training reads beside the battles: setting, path, and the hash in the stamp."""
        if not isinstance(self.settings, Transformer):
            return
        hashes = self.depends_on.get("extra_train", {}).get("sha256", [])
        hashes = [hashes] if isinstance(hashes, str) else hashes
        for extra, sha256 in zip(self.settings.extra_files, hashes, strict=True):
            yield "extra_train", extra.path, sha256
        files = [] if self.settings.teacher is None else self.settings.teacher.files
        for path, sha256 in zip(files, self.depends_on.get("teacher_files", []), strict=True):
            yield "teacher.file", path, sha256

    def store(self, replace: bool = False) -> ModelStore:
        """Where the base's models lie, and what they depend on: the stamp's part, and what only the files tell."""
        of_files = {
            "fold_hash": fold_hash(self.data.folds),
            "backbone_weights": backbone_hash(self.settings),
            "teacher_rows": teacher_hash(self.settings, self.data),
        }
        started = start_hash(self.settings)
        if started is not None:  # not named where it is not used: finished models of earlier versions stay good
            of_files["init_weights"] = started
        test = None if self.data.test is None else table_hash(self.data.paths.test_battles)
        folder = self.data.paths.base(self.name)
        return ModelStore(
            folder,
            {**self.depends_on, **of_files},
            test,
            replace,
            say=lambda text: print(f"{self.name} {text}", flush=True),
        )
