"""What a report tells beside a run's tables: the saved stacker's reasons, its studies, files, machine, settings."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from battles.files import read_json, read_metadata, read_table
from battles.paths import RunPaths
from battles.schema import ID, WINNERS, labels
from features.drift import Drift, drift
from models.stacking import inputs as stack_inputs
from models.stacking import journal, serialization
from models.stacking.contributions import base_weights, nested_contributions, tree_gains
from models.stacking.inputs import TrainingInputs
from models.stacking.settings import STACK
from models.stacking.study_trials import read_trials
from oof.table import read_test
from report.gap import Reached, reached
from report.inputs import Explanation, Inputs, StudyTrials
from stages.common import stamp
from stages.config import STAGES
from stages.run_tables import TOLERANCE, has_ties, has_truth, nested_rows

# Battles drawn at random that stand for all in what the stacker's inputs contribute: trees take long to explain.
SAMPLED = 500
_SEED = 1


def training_inputs(inputs: Inputs, names: list[str]) -> TrainingInputs:
    """What the stacker learnt from, nested rows included."""
    paths = inputs.paths
    bases = {name: paths.predictions(name) for name in names}
    pairs = nested_rows(paths, stamp(paths.name, "run")["clean"], inputs.folds)
    votes, ties = labels(inputs.battles), has_ties(paths.name)
    return stack_inputs.training_inputs(bases, paths.train_features, inputs.folds, votes, ties, pairs)


def explanation(inputs: Inputs, training: TrainingInputs, chosen: Mapping[str, np.ndarray]) -> Explanation:
    """Why the stack predicts what it does, of the chosen battles and of a random sample.

    Each battle is explained by the stacker of its fold, which has not learnt from it. The weights of the bases and the
    gain are those of the stacker that ships.
    """
    paths = inputs.paths
    places = np.flatnonzero(training.covered)
    drawn = np.sort(np.random.default_rng(_SEED).permutation(places)[:SAMPLED])
    rows = np.unique(np.concatenate([drawn, *chosen.values()]))
    at = np.searchsorted(places, rows)
    meta, folds = training.data.meta.rows(at), training.data.folds[at]
    models = {int(fold): serialization.load(paths.stack_without(int(fold))) for fold in np.unique(folds)}
    found = nested_contributions(models, folds, meta)
    # Only the chosen ones are shown in both orders.
    shown = np.flatnonzero(np.isin(rows, np.concatenate([*chosen.values()])))
    both = nested_contributions(models, folds[shown], meta.rows(shown).exchanged())
    exchanged = np.full(found.values.shape, np.nan)
    exchanged[shown] = 0.0  # what only models of other folds have
    for name, values in zip(both.names, both.values.transpose(1, 0, 2), strict=True):
        exchanged[shown, found.names.index(name)] = values
    shipped = serialization.load(paths.stack)
    return Explanation(
        rows=rows,
        sampled=np.isin(rows, drawn),
        names=found.names,
        values=found.values,
        exchanged=exchanged,
        weights=base_weights(shipped, meta.bases),
        gains=tree_gains(shipped, meta.bases),
    )


def studies(run: str, database: str) -> list[StudyTrials]:
    """The studies of the run's stacker: of its journal, or of the database that STORAGE names."""
    folder = RunPaths(run).stack
    path = folder / "study.journal"
    if not database and (repaired := journal.repair(path, serialization.about(folder).get("journal"))):
        print(f"report: {repaired}")
    if not database and not path.exists():
        return []
    found = read_trials(database, f"{run}: ") if database else read_trials(path)
    return [StudyTrials(one.name, one.trials, one.importances, one.chosen) for one in found]


def splits(paths: RunPaths, scores: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The figures over several splits, unless there are none or they are of an earlier stack than these scores."""
    if not paths.splits.exists():
        return None
    found = read_json(paths.splits, sealed=True, fix="delete it and run `make stack` with SPLITS again")
    if abs(found["models"][STACK]["splits"][0] - scores["candidates"][STACK]["log_loss"]) > TOLERANCE:
        print(f"note: {paths.splits} is of an earlier stack and not shown; run `make stack` with SPLITS again")
        return None
    return found


def table_rows(paths: RunPaths) -> int:
    """The rows of the table that a run of predictions made elsewhere is of, scored by every base or not; else 0."""
    rows: int = read_metadata(paths.train_battles).get("rows", 0)
    return rows


def test_drift(paths: RunPaths) -> tuple[Drift | None, int]:
    """How the test battles differ from the training battles, and how many they are; None and 0 without them."""
    tables = [paths.features / f"{kind}.parquet" for kind in ("train", "test")]
    if stamp(paths.name, "test")["test"] is None or not all(path.exists() for path in tables):
        return None, 0
    train, test = (read_table(path) for path in tables)
    return drift(train, test), len(test)


def of_the_truth(paths: RunPaths, names: list[str], votes: np.ndarray) -> dict[str, Reached]:
    """What each model reaches on the test battles of the embedded sample; empty for other runs, and without a truth.

    `votes` (n,) of the training battles give the prior.
    """
    tables = {name: paths.test_predictions(name) for name in (*names, STACK)}
    if not has_truth(paths.name) or not all(path.exists() for path in tables.values()):
        return {}
    ids = read_table(paths.test_battles, columns=[ID])[ID].tolist()
    predictions = {name: read_test(path, ids).probabilities for name, path in tables.items()}
    truth = read_table(paths.truth).set_index(ID).loc[ids][list(WINNERS)].to_numpy()
    shares = np.bincount(votes, minlength=3) / len(votes)
    return reached(predictions, truth, shares)


def facts(run: str, metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of files, machine and code; paths as they were given."""
    given = stamp(run, "inputs")
    test = stamp(run, "test")["test"]
    told = [
        ("training battles", _file(given["table"] or given["train"])),
        ("test battles", "" if test is None else _file(test)),
        ("code", str(metadata.get("code_version", ""))),
        ("folds", str(metadata.get("fold_hash", ""))),
        ("processor", f"{_processor()}, {os.cpu_count()} cores"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"),
        ("system", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"),
        ("GPU", _gpus()),
        ("libraries", ", ".join(f"{name} {version}" for name, version in metadata.get("libraries", {}).items())),
    ]
    return [(name, value) for name, value in told if value]


def _file(source: Mapping[str, Any]) -> str:
    path = str(source["path"])
    return f"{path}, sha256 {source['sha256'][:16]}" if source["sha256"] else "the embedded sample"


def _processor() -> str:
    names = Path("/proc/cpuinfo")
    if names.exists():
        for line in names.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> str:
    """Names of the GPUs, without importing torch, which takes seconds."""
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    names = [
        line.partition(":")[2].strip()
        for card in cards
        for line in card.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("Model")
    ]
    return ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names)) or "none"


def settings(run: str, names: list[str]) -> dict[str, Any]:
    """Section → its resolved settings, of the stages that the run has and of its bases."""
    sections = {}
    for name in (*STAGES, *names):
        if RunPaths(run).stamp(name).exists():
            value = stamp(run, name).get("settings")
            if value:
                sections[name] = value
    given = stamp(run, "inputs")
    if given["table"] or given["train"]["sha256"] is not None:
        sections.pop("sample", None)
    if not sections.get("tiny", {}).get("backbones"):
        sections.pop("tiny", None)
    return sections
