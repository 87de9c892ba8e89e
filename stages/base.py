"""Cross-fits one base model: `models/runs/<run>/<name>/`, `oof/<run>/<name>.parquet`, `<name>.test.parquet`.

With `--pairs` it makes the rows that the base's clean students learn from: `oof/<run>/<name>.pairs.parquet`.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.files import content_hash, file_hash
from battles.folds import fold_hash
from battles.paths import RunPaths
from battles.reading import read_battles
from battles.schema import labels
from battles.settings import Section
from models.tfidf.settings import Tfidf
from models.transformer.library_warnings import quiet
from models.transformer.settings import Transformer
from oof import table
from oof.crossfit import FitFold, crossfit
from oof.nested import cross_pairs
from oof.pairs import read_pairs, write_pairs
from stages.common import code_version, guarded, library_versions, parser, read_split, read_unvoted, stamp
from stages.config import BASE_KINDS

# But for rounding no prediction of a fold depends on these: folds that are there stay good when they are changed.
TECHNICAL = {"test_from", "checkpoint_minutes", "tokens_per_batch"}


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--name", required=True)
    arguments.add_argument("--processes", type=int, default=1, help="processes that were started for this base")
    arguments.add_argument("--pairs", action="store_true", help="only what clean students of this base learn from")
    given = arguments.parse_args()
    run, name = given.run, given.name
    value = stamp(run, name)
    settings = BASE_KINDS[value["settings"]["kind"]].model_validate(value["settings"])
    paths = RunPaths(run)
    battles, folds = read_split(run)
    test = None if given.pairs else read_unvoted(run)
    source = settings.extra_train if isinstance(settings, Transformer) else None
    extra = None if source is None else read_battles(source, voted=True, soft=True)
    guides = _guides(paths, settings, folds)
    key = {
        "params": content_hash({field: kept for field, kept in value["settings"].items() if field not in TECHNICAL}),
        "folds": fold_hash(folds),
        "train": file_hash(paths.battles / "train.parquet"),
        "test": file_hash(paths.battles / "test.parquet") if test is not None else None,
        "backbone": _backbone_hash(settings),
        "extra": None if source is None else file_hash(source),
        "teacher": hashlib.sha256(guides.tobytes()).hexdigest() if guides is not None else None,
    }
    folder = paths.base(name)
    jointly = _in_step(given.processes, settings)
    with jointly(_fit_folds(name, settings, battles, test, extra, guides, folder)) as fit_folds:
        if fit_folds is None:  # the leading process does the rest
            return
        if given.pairs:
            values = cross_pairs(folds, key, folder, fit_folds, _say(name))
            write_pairs(paths.pairs(name), folds, values, {"base": name})
            return
        test_from = settings.test_from if isinstance(settings, Transformer) and test is not None else "mean"
        result = crossfit(folds, value["folds"], key, folder, fit_folds, _say(name), test_from, labels(battles))
    metadata: dict[str, Any] = {
        "base": name,
        "backbone": getattr(settings, "backbone", settings.model_dump()["kind"]),
        "params_hash": value["hash"],
        "code_version": code_version(),
        "libraries": library_versions(),
        "device": result.device,
        "train_seconds": round(result.train_seconds, 3),
        "inference_seconds": round(result.inference_seconds, 3),
        "folds_run": result.folds_run,
        "test_of": result.test_of,
        "fold_hash": fold_hash(folds),
    }
    table.write(paths.predictions(name), folds, result.valid, metadata)
    if test is not None and result.test is not None:
        table.write_test(paths.test_predictions(name), test["id"].tolist(), result.test, metadata)


def _guides(paths: RunPaths, settings: Section, folds: pd.DataFrame) -> np.ndarray | None:
    """The teacher's rows (models, battles, 3) for the model of each fold, the last for one trained on all folds."""
    if not isinstance(settings, Transformer) or settings.teacher is None:
        return None
    teacher, count = settings.teacher, int(folds["fold"].max()) + 1
    plain = table.read(paths.predictions(teacher.base), folds, partial=True).probabilities[None]
    # A model of all rows is not scored, so that no fold can leak into its score: plain out-of-fold rows do.
    if teacher.clean:
        return np.concatenate([read_pairs(paths.pairs(teacher.base), folds), plain])
    return np.repeat(plain, count + 1, axis=0)


def _in_step(asked: int, settings: Section) -> Callable[[FitFold], AbstractContextManager[FitFold | None]]:
    """What keeps the processes of a base in step; a base without torch has one."""
    if not isinstance(settings, Transformer):
        return nullcontext
    quiet()
    from models.transformer.engine import distributed

    distributed.require(asked)
    return distributed.in_step


def _fit_folds(name: str, settings: Section, battles: Any, test: Any, extra: Any, guides: Any, folder: Path) -> FitFold:
    """The base's fold function; its libraries are imported only here, as torch takes seconds."""
    if isinstance(settings, Transformer):
        from models.transformer import base_model

        return base_model.fit_folds(name, settings, battles, test, folder, extra, guides)
    assert isinstance(settings, Tfidf)
    from models.tfidf import model

    return model.fit_folds(settings, battles, test)


def _backbone_hash(settings: Section) -> str | None:
    """What a local checkpoint holds; a hub name is told apart by its name and revision in the params."""
    weights = Path(getattr(settings, "backbone", ""), "model.safetensors")
    return file_hash(weights) if weights.is_file() else None


def _say(name: str) -> Any:
    return lambda text: print(f"{name} {text}", flush=True)


if __name__ == "__main__":
    guarded(main)
