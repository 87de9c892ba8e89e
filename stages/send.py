"""Checks a run's submission and hands it to Kaggle's client: `make submit RUN=name MESSAGE=text [KERNEL=…]`.

Without a client or a token it prints the command instead, and ends with exit code 2, as nothing was handed in.
"""

import re
import shlex
from pathlib import Path

from battles.errors import BadInput
from battles.files import read_json, read_table
from battles.paths import RunPaths, check_run
from battles.schema import ID
from stages.common import guarded
from stages.variables import given, note_exported
from submission import kaggle
from submission.manifest import check_submission
from submission.table import check, read

_LONGEST_MESSAGE = 500
_KERNEL = re.compile(r"([\w-]+/[\w-]+)(?:/(\d+))?")


def main() -> None:
    run, message = given("RUN"), given("MESSAGE")
    competition = given("COMPETITION") or kaggle.COMPETITION
    check_run(run)
    note_exported()
    kaggle.check_slug(competition)
    if not message.strip() or len(message) > _LONGEST_MESSAGE or not message.isprintable():
        raise BadInput(f"MESSAGE: {len(message)} characters; describe the submission in one line, at most 500")
    kernel = _kernel(given("KERNEL"))
    paths = RunPaths(run)
    rows = _check(paths)
    path = paths.submission_file
    print(f"submit: {path} is what the run made: {rows:,} rows, the test file's ids in its order, sums of 1")
    # With a notebook the client wants the name of the file that the notebook wrote.
    file = path.name if kernel else str(path)
    words = ["submit", "-c", competition, "-f", file, "-m", message, *kernel]
    if competition in kaggle.COMPETITIONS and not kernel:
        print(
            f"note: {competition} takes notebooks only; make bundle, run its notebook there, then add KERNEL=you/name/1"
        )
    if missing := kaggle.unready():
        print(shlex.join(["kaggle", "competitions", *words]))
        raise BadInput(f"submit: nothing was handed in: {missing}; or type the command above where the client is")
    said = kaggle.call(competition, *words)
    print(f"submit: handed to {competition}: {said.splitlines()[-1] if said else 'done'}")


def _kernel(text: str) -> list[str]:
    """The client's words for a notebook `you/notebook` or `you/notebook/version`; none for no notebook."""
    if not text:
        return []
    found = _KERNEL.fullmatch(text)
    if found is None:
        raise BadInput(f"KERNEL: {text!r}; give a notebook and its version: KERNEL=you/notebook/3")
    name, version = found.groups()
    return ["-k", name, "-v", version or "1"]


def _check(paths: RunPaths) -> int:
    """How many rows the submission has; raises BadInput unless it is what the run wrote and the competition takes."""
    path, manifest = paths.submission_file, paths.manifest
    if not path.is_file():
        raise BadInput(f"{path}: no such file; make submission RUN={paths.name} writes it")
    check_submission(path, manifest)
    ids = read_table(paths.test_battles, columns=[ID])[ID].tolist()
    check(read(path), ids)
    stated = read_json(manifest, sealed=True, fix=f"delete {manifest} and run `make submission` again")["submission"]
    if Path(stated["file"]) != path:
        raise BadInput(f"{manifest}: it is of {stated['file']}; run `make submission RUN={paths.name}` again")
    return len(ids)


if __name__ == "__main__":
    guarded(main)
