"""What the bundle's `predict.py` runs, without a network: finds the test file, predicts it, writes `submission.csv`."""

import argparse
import csv
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.checks import TEST_COLUMNS
from battles.errors import BadInput
from battles.reading import read_battles
from battles.schema import CLASSES, ID
from models.stacking.subsets import FOLDER, Subsets
from models.transformer.library_warnings import quiet
from oof.model_store import Variants
from submission.cascade import Cascade
from submission.predict import Predictor
from submission.readers import open_readers, with_second_order
from submission.replicas import Engine, Replicas, ThisProcess
from submission.table import build, write
from submission.threads import limited_threads

# Where the image mounts competition and data sets.
INPUT = Path("/kaggle/input")
TEST = "test.csv"
OUTPUT = Path("submission.csv")
# Seconds before the end at which the process leaves whatever it does.
LAST = 1.0


def main(bundle: Path) -> None:
    """Predicts as the command line says; what a user can mend ends as one line and exit code 2."""
    given = _arguments()
    try:
        _predict(bundle, given.input, given.hours, given.replicas)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description="Writes submission.csv into the working folder.")
    arguments.add_argument("--input", type=Path, default=INPUT, help=f"folder that holds {TEST}, at any depth")
    arguments.add_argument("--hours", type=float, default=8.5, help="time from now on that must not be passed")
    arguments.add_argument("--replicas", type=int, default=0, help="processes that read, one a GPU; 0: one for each")
    given = arguments.parse_args()
    if given.replicas < 0:
        arguments.error(f"--replicas: {given.replicas} must be 0 or more")
    if not 0 < given.hours < float("inf"):
        arguments.error(f"--hours: {given.hours} must be more than 0")
    return given


def _predict(bundle: Path, folder: Path, hours: float, replicas: int) -> None:
    began = time.monotonic()
    end = began + 3600 * hours
    path = find_test(folder, bundle)
    battles = read_battles(path, voted=False)
    ids = battles[ID].tolist()
    print(f"{path}: {len(ids)} battles to predict", flush=True)

    def publish(probabilities: np.ndarray) -> None:
        write(OUTPUT, build(ids, probabilities), ids)

    publish(np.full((len(ids), CLASSES), 1 / CLASSES))  # valid from the first seconds on
    # Whatever hangs, a valid file is there and the notebook ends in time.
    watch = threading.Timer(max(end - time.monotonic() - LAST, 0.0), _leave)
    watch.daemon = True
    watch.start()
    _install(bundle / "wheels")
    predictor = Predictor(bundle / "run", find_backbones(bundle, folder))
    if predictor.language_models:
        with _engine(replicas, predictor.threads) as engine:
            _predict_under_clock(predictor, battles, publish, end, engine)
    else:
        publish(predictor.probabilities(battles))
    watch.cancel()
    print(f"{OUTPUT.resolve()}: {len(ids)} rows after {time.monotonic() - began:.0f} s", flush=True)


def _engine(replicas: int, threads: int) -> AbstractContextManager[Engine]:
    """What reads: this process, or as many as there are cards, or as were asked for."""
    quiet()
    import torch

    count = replicas or torch.cuda.device_count()
    return Replicas(count, threads, partial(print, flush=True)) if count > 1 else nullcontext(ThisProcess())


def _predict_under_clock(
    predictor: Predictor, battles: pd.DataFrame, publish: Callable[[np.ndarray], None], end: float, engine: Engine
) -> None:
    subsets = Subsets.load(predictor.folder / "stack" / FOLDER)
    publish(np.tile(np.array(subsets.shares), (len(battles), 1)))
    with limited_threads(predictor.threads, torch_too=True):
        columns, swap = predictor.features.columns(battles)
        columns = columns.drop(columns=ID)
        early = [name for name in predictor.names if name not in subsets.late]
        variants = {name: predictor.variants(name, battles) for name in early}

        def combine(late: Mapping[str, Variants]) -> np.ndarray:
            late = {name: predictor.possible(values) for name, values in late.items()}
            return subsets.probabilities({**variants, **late}, columns, swap, predictor.stack)

        publish(combine({}))
        readers = open_readers(predictor, battles, engine, _say_failed)
        cascade = Cascade(readers, subsets, combine, publish, end, with_second_order(predictor))
        cascade.say, cascade.failed = partial(print, flush=True), _say_failed
        cascade.run()


def _say_failed(name: str, error: Exception) -> None:
    """Why a base or a stage is left out. A notebook that ended here would have no score: the file without it has."""
    traceback.print_exception(error)
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    print(f"{name}: LEFT OUT, as it failed: {reason}", flush=True)


def _leave() -> None:
    print(f"the time is over: {OUTPUT.resolve()} is what was read until now", flush=True)
    os._exit(0)


def find_test(folder: Path, bundle: Path) -> Path:
    """The one test file below a folder, by its name and its columns. Raises BadInput for none or several."""
    if not folder.is_dir():
        raise BadInput(f"--input: {folder} is no folder; give the one that holds {TEST}")
    found = [path for path in sorted(folder.rglob(TEST)) if bundle not in path.parents and _has_battles(path)]
    # The folder itself before what lies deeper.
    nearest = [path for path in found if len(path.parts) == min(len(other.parts) for other in found)]
    if len(nearest) != 1:
        raise BadInput(
            f"--input: {folder} holds {len(nearest)} files {TEST} with the columns {', '.join(TEST_COLUMNS)}; "
            "give the folder of one"
        )
    return nearest[0]


def _has_battles(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return set(TEST_COLUMNS) <= set(next(csv.reader(file), []))


def find_backbones(bundle: Path, folder: Path) -> dict[str, str]:
    """Base → folder of its backbone, of those that the bundle names but does not hold.

    They are told apart by their configuration, wherever below `folder` they are mounted. Raises BadInput for one that
    is not there.
    """
    wanted: dict[str, dict[str, Any]] = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["backbones"]
    if not wanted:
        return {}
    configs = {path.parent: _config(path) for path in sorted(folder.rglob("config.json"))}
    found = {}
    for name, backbone in wanted.items():
        same = [place for place, config in configs.items() if backbone["config"].items() <= config.items()]
        # Instruction-tuned and plain models have the same configuration: the name decides, where it tells.
        words = backbone["hub"].lower().split("/")[-1]
        same = [place for place in same if words in str(place).lower()] or same
        if not same:
            raise BadInput(
                f"--input: {folder} has no folder with the backbone of {name}, {backbone['hub']} (configuration, "
                "tokenizer and weights); add it to the notebook's inputs as a model or a data set"
            )
        found[name] = str(same[0])
    return found


def _config(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _install(wheels: Path) -> None:
    """Makes the bundle's wheels importable where the image lacks them, without touching the image's packages."""
    missing = [
        str(wheel) for wheel in sorted(wheels.glob("*.whl")) if not importlib.util.find_spec(wheel.name.split("-")[0])
    ]
    if missing:
        folder = tempfile.mkdtemp()
        words = ["pip", "install", "--quiet", "--no-index", "--no-deps", "--target", folder, *missing]
        subprocess.run([sys.executable, "-m", *words], check=True)
        sys.path.append(folder)
