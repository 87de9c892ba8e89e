"""Writes the offline bundle of a run: `make bundle RUN=name [OWNER=you] [COMPETITION=name] [MODEL_SOURCES=a,b]`.

`submission/<run>/bundle/` is made anew, from `models/runs/<run>/` and the project's source alone.
"""

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from battles.errors import BadInput
from battles.paths import RunPaths, check_run
from stages.common import guarded
from stages.variables import given, note_exported
from submission.bundle import OWNER_TO_FILL_IN, WHEELS, Target, commands, size, write_bundle
from submission.kaggle import COMPETITION
from submission.predict import Predictor

# The image's Pythons; bitsandbytes' wheels are for any Python 3, of this platform.
PYTHONS, PLATFORM = ("3.12", "3.13"), "manylinux_2_24_x86_64"


def main() -> None:
    run = given("RUN")
    check_run(run)
    note_exported()
    paths = RunPaths(run)
    target = Target(_word("OWNER", OWNER_TO_FILL_IN), _word("COMPETITION", COMPETITION), _model_sources())
    if not paths.models.is_dir():
        raise BadInput(f"RUN: there are no models of a run {run!r} ({paths.models}); train it with make submission")
    folder, fresh = paths.submission / "bundle", paths.submission / ".bundle.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        outside = write_bundle(paths.models, fresh, target)
        notes = _wheelhouse(Predictor(paths.models), fresh / WHEELS)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    notes += [f"{base} needs the backbone {name} among the notebook's inputs" for base, name in outside.items()]
    if outside and not target.model_sources:
        notes.append("give MODEL_SOURCES=owner/model/framework/variation/version of Kaggle's models, divided by commas")
    if target.owner == OWNER_TO_FILL_IN:
        notes.append(f"OWNER is not given: put your Kaggle name in place of {OWNER_TO_FILL_IN} in both metadata files")
    print(f"bundle: {folder}, {size(folder) / 1e6:.1f} MB, for {target.competition}")
    for note in notes:
        print(f"bundle: {note}")
    print("bundle: to be typed, in this order:")
    print("\n".join(f"  {command}" for command in commands(folder)))


def _word(variable: str, otherwise: str) -> str:
    value = given(variable) or otherwise
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise BadInput(f"{variable}: {value!r} must be letters, digits, '-' and '_', as in Kaggle's addresses")
    return value


def _model_sources() -> tuple[str, ...]:
    sources = tuple(given("MODEL_SOURCES").replace(",", " ").split())
    for source in sources:
        if len(source.split("/")) != 5:
            raise BadInput(f"MODEL_SOURCES: {source!r} must be owner/model/framework/variation/version")
    return sources


def _wheelhouse(predictor: Predictor, folder: Path) -> list[str]:
    """Downloads what the image lacks for this run; returns what could not be had, one line each."""
    quantised = [name for name in predictor.language_models if predictor.bases[name].settings["quantization"] != "none"]
    if not quantised:
        return []
    package = f"bitsandbytes=={version('bitsandbytes')}"
    for python in PYTHONS:
        words = ["pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--retries", "1", "--timeout", "15"]
        words += ["--python-version", python, "--platform", PLATFORM, "--dest", str(folder), package]
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            return [
                f"{', '.join(quantised)} needs {package}, which the image lacks and which could not be downloaded; put "
                f"its wheel into {WHEELS}/ of the bundle, or call make bundle again with a network"
            ]
    return []


if __name__ == "__main__":
    guarded(main)
