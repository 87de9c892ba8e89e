"""Checks that a submission is what its run's files give: `python -m stages.verify --run RUN`.

Recomputes every hash of `submission/<run>/manifest.json`, the submission from the stack's test table and once more from
the saved stacker, and the nested log loss from the stack's out-of-fold table. Writes nothing.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from battles.errors import BadInput
from battles.files import file_hash, read_json, read_table
from battles.paths import RunPaths
from battles.schema import ID, labels
from models.stacking.settings import STACK
from oof import table
from stages.common import guarded, parser, stamp
from stages.run_tables import read_figures, read_split
from submission.table import build, to_csv

Check = Callable[[], None]
# Failed checks that the last line names; each has a line of its own above.
SHOWN = 10


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--files", action="store_true", help="only the hashes of the files, and no line for each")
    given = arguments.parse_args()
    paths = RunPaths(given.run)
    path = paths.manifest
    manifest = read_json(path, sealed=True, fix=f"delete {path} and run `make submission` again")
    checks = _file_checks(manifest)
    if not given.files:
        checks |= _computed(paths, manifest)
    failed = []
    for name, run_check in checks.items():
        try:
            run_check()
        except BadInput as difference:
            print(f"FAILED  {name}: {difference}")
            failed.append(name)
        else:
            if not given.files:
                print(f"ok      {name}")
    if failed:
        more = f" and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
        raise BadInput(
            f"{path}: {len(failed)} of {len(checks)} checks failed: {', '.join(failed[:SHOWN])}{more}; delete what was "
            "changed and run `make submission` again"
        )


def _file_checks(manifest: dict[str, Any]) -> dict[str, Check]:
    """A check of the hash of each file that the manifest names."""
    submission = manifest["submission"]
    files = {submission["file"]: submission["sha256"], **manifest["artefacts"]}
    return {name: partial(_check_hash, Path(name), sha256) for name, sha256 in files.items()}


def _check_hash(path: Path, sha256: str) -> None:
    try:
        actual = file_hash(path)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})") from None
    if actual != sha256:
        raise BadInput("it was cut off, changed or made again after the submission")


def _computed(paths: RunPaths, manifest: dict[str, Any]) -> dict[str, Check]:
    """What follows from the files' content."""
    return {
        "submission.csv holds the stack's test table": lambda: _check_submission(paths, manifest),
        "the saved stacker predicts submission.csv": lambda: _check_stacker(paths),
        "the nested log loss follows from the stack's table": lambda: _check_loss(paths, manifest),
    }


def _test_ids(paths: RunPaths) -> pd.Series:
    return read_table(paths.test_battles, columns=[ID])[ID]


def _check_submission(paths: RunPaths, manifest: dict[str, Any]) -> None:
    path, ids = paths.submission_file, _test_ids(paths).tolist()
    if manifest["submission"]["rows"] != len(ids):
        raise BadInput(f"the manifest says {manifest['submission']['rows']} rows, there are {len(ids)} test battles")
    _compare(path, build(ids, table.read_test(paths.test_predictions(STACK), ids).probabilities))


def _check_stacker(paths: RunPaths) -> None:
    from models.stacking import inputs, serialization  # LightGBM: only where trees are asked
    from oof.probabilities import softmax

    ids = _test_ids(paths)
    bases = {name: paths.test_predictions(name) for name in stamp(paths.name, "run")["bases"]}
    meta = inputs.test_inputs(bases, paths.test_features, ids)
    probabilities = softmax(serialization.load(paths.stack).logits(meta))
    _compare(paths.submission_file, build(ids.tolist(), probabilities))


def _compare(path: Path, expected: pd.DataFrame) -> None:
    actual, wanted = path.read_text(encoding="utf-8", errors="replace").splitlines(), to_csv(expected).splitlines()
    for row, (have, want) in enumerate(zip(actual, wanted, strict=False)):
        if have != want:
            raise BadInput(f"{path}: row {row} is {have[:80]!r}, it should be {want[:80]!r}")
    if len(actual) != len(wanted):
        raise BadInput(f"{path}: {len(actual) - 1} rows instead of {len(wanted) - 1}")


def _check_loss(paths: RunPaths, manifest: dict[str, Any]) -> None:
    battles, folds = read_split(paths.name)
    figures = read_figures(paths.name, table.read(paths.predictions(STACK), folds, partial=True), labels(battles))
    nested = figures["candidates"][STACK]["log_loss"]
    if manifest["nested_log_loss"] != nested:
        raise BadInput(f"the manifest says {manifest['nested_log_loss']!r}, metrics.json {nested!r}")


if __name__ == "__main__":
    guarded(main)
