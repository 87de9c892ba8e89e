"""Cross-fits one base model: `models/<run>/<name>/`, `oof/<run>/<name>.parquet`, `<name>.test.parquet`."""

from pathlib import Path
from typing import Any

from battles.files import file_hash, read_table
from battles.folds import fold_hash
from battles.settings import Section
from models.crossfit import FitFold, crossfit
from models.quiet import quiet
from models.settings import Transformer
from models.tfidf_settings import Tfidf
from oof import table
from stages.common import code_version, guarded, has_test, library_versions, parser, stamp
from stages.config import BASE_KINDS


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--name", required=True)
    given = arguments.parse_args()
    run, name = given.run, given.name
    value = stamp(run, name)
    settings = BASE_KINDS[value["settings"]["kind"]].model_validate(value["settings"])
    room = Path("battles", run)
    battles, folds = read_table(room / "train.parquet"), read_table(room / "folds.parquet")
    test = read_table(room / "test.parquet") if has_test(run) else None
    key = {
        "params": value["hash"],
        "folds": fold_hash(folds),
        "train": file_hash(room / "train.parquet"),
        "test": file_hash(room / "test.parquet") if test is not None else None,
        "backbone": _backbone_hash(settings),
    }
    folder = Path("models", run, name)
    result = crossfit(folds, value["folds"], key, folder, _fit_folds(name, settings, battles, test, folder), _say(name))
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
        "fold_hash": fold_hash(folds),
    }
    table.write(Path("oof", run, f"{name}.parquet"), folds, result.valid, metadata)
    if test is not None and result.test is not None:
        table.write_test(Path("oof", run, f"{name}.test.parquet"), test["id"].tolist(), result.test, metadata)


def _fit_folds(name: str, settings: Section, battles: Any, test: Any, folder: Path) -> FitFold:
    """The base's fold function; its libraries are imported only here, as torch takes seconds."""
    if isinstance(settings, Transformer):
        quiet()
        from models import transformer

        return transformer.fit_folds(name, settings, battles, test, folder)
    assert isinstance(settings, Tfidf)
    from models import tfidf

    return tfidf.fit_folds(settings, battles, test)


def _backbone_hash(settings: Section) -> str | None:
    """What a local checkpoint holds; a hub name is told apart by its name and revision in the params."""
    weights = Path(getattr(settings, "backbone", ""), "model.safetensors")
    return file_hash(weights) if weights.is_file() else None


def _say(name: str) -> Any:
    return lambda text: print(f"{name} {text}", flush=True)


if __name__ == "__main__":
    guarded(main)
