"""The kinds of base models: the settings of each, and how one is opened. Imports no torch until one is opened."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from battles.files import content_hash, file_hash
from battles.paths import RunPaths
from battles.reading import read_battles
from battles.settings import Section
from models.tfidf.settings import Tfidf
from models.transformer.library_warnings import quiet
from models.transformer.settings import Transformer
from oof.model_store import FitModel, PredictTest

if TYPE_CHECKING:
    from models.transformer.data.training_set import TrainingSet

T = TypeVar("T")

# A further kind of base is a package beside these two, with settings and an `open_base`.
BASE_KINDS: dict[str, type[Section]] = {"transformer": Transformer, "tfidf": Tfidf}

# Settings that no prediction of a model depends on, but for rounding: models stay good when they are changed.
TECHNICAL = frozenset({"test_from", "checkpoint_minutes", "tokens_per_batch"})


@dataclass(frozen=True)
class BaseData:
    """What a base learns from and predicts, all of one run. `test` is None without test battles."""

    paths: RunPaths
    battles: pd.DataFrame
    folds: pd.DataFrame
    test: pd.DataFrame | None


def base_settings(values: dict[str, Any]) -> Section:
    """The typed settings of a base from its stamp's values."""
    return BASE_KINDS[values["kind"]].model_validate(values)


def predictive(settings: Section) -> dict[str, Any]:
    """The settings that a model's predictions depend on, as JSON values."""
    return settings.model_dump(mode="json", exclude=set(TECHNICAL))


def backbone_hash(settings: Section) -> str | None:
    """SHA-256 of a local backbone's weights; a hub name is told apart by its name and revision in the settings."""
    if not isinstance(settings, Transformer):
        return None
    weights = Path(settings.backbone, "model.safetensors")
    return file_hash(weights) if weights.is_file() else None


def start_hash(settings: Section) -> str | None:
    """SHA-256 of the saved models that a base starts from; None where it starts from none, or they are not there."""
    if not isinstance(settings, Transformer) or settings.init_from is None:
        return None
    weights = sorted(Path().glob(f"{settings.init_from.replace('{fold}', '*')}/adapter_model.safetensors"))
    return content_hash([[path.as_posix(), file_hash(path)] for path in weights]) if weights else None


def teacher_hash(settings: Section, data: BaseData) -> str | None:
    """SHA-256 of the teacher's probabilities that a base learns from; None without a teacher."""
    if not isinstance(settings, Transformer) or settings.teacher is None:
        return None
    from models.transformer.data.teacher import teacher_probabilities

    taught = teacher_probabilities(data.paths, settings.teacher, data.folds)
    return hashlib.sha256(taught.tobytes()).hexdigest()


def open_base(name: str, settings: Section, data: BaseData) -> tuple[FitModel, PredictTest]:
    """The functions that fit one model of a base and that predict the test battles with a saved one."""
    if isinstance(settings, Tfidf):
        from models.tfidf import base_model as tfidf

        return tfidf.open_base(settings, data.battles, data.test)
    assert isinstance(settings, Transformer)
    quiet()
    from models.transformer import base_model as transformer

    return transformer.open_base(name, settings, _training_set(settings, data), data.test, data.paths.base(name))


def open_mean(name: str, settings: Transformer, data: BaseData, folds: Sequence[int]) -> FitModel:
    """The function that makes one model of the finished models of these folds, by the mean of their adapters."""
    quiet()
    from models.transformer import base_model as transformer

    training_set = _training_set(settings, data)
    return transformer.open_mean(name, settings, training_set, data.test, data.paths.base(name), folds)


def _training_set(settings: Transformer, data: BaseData) -> "TrainingSet":
    from models.transformer.data.teacher import teacher_probabilities
    from models.transformer.data.training_set import TrainingSet

    extra, weights = read_extra(settings)
    taught = None
    if settings.teacher is not None:
        taught = teacher_probabilities(data.paths, settings.teacher, data.folds)
    return TrainingSet.of(data.battles, extra, taught, weights)


def read_extra(settings: Transformer) -> tuple[pd.DataFrame | None, np.ndarray | None]:
    """The further battles of a base and the weights of their losses (battles,); None where there are none, or all 1."""
    tables = [read_battles(extra.path, voted=True, soft=True) for extra in settings.extra_files]
    if not tables:
        return None, None
    weights = np.repeat([extra.weight for extra in settings.extra_files], [len(table) for table in tables])
    return pd.concat(tables, ignore_index=True), None if (weights == 1).all() else weights


def open_saved(name: str, settings: Section, battles: pd.DataFrame, folder: Path) -> PredictTest:
    """The function that predicts these battles with saved models of a base, of which `folder` holds one."""
    if isinstance(settings, Tfidf):
        from models.tfidf import base_model as tfidf

        return tfidf.open_saved(settings, battles)
    assert isinstance(settings, Transformer)
    quiet()
    from models.transformer import base_model as transformer
    from models.transformer import fold

    return partial(fold.predict_test, transformer.open_saved(name, settings, battles, folder))


def in_step(
    work: Callable[..., T], settings: Section, processes: int
) -> AbstractContextManager[Callable[..., T] | None]:
    """Keeps the processes of a base in step: the main process gets a function that calls `work` in all of them at once;
    the others get None, when that has left the context.

    Raises BadInput for another number of processes than were asked for. A base without torch has one.
    """
    if not isinstance(settings, Transformer):
        return nullcontext(work)
    quiet()
    from models.transformer.engine import distributed

    distributed.require(processes)
    return distributed.in_step(work)
