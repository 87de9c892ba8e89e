"""The manifest beside a submission: which files, hashes and params it came from."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from battles.errors import BadInput
from battles.files import file_hash


def manifest(
    submission: Path, rows: int, artefacts: Iterable[Path], params: Mapping[str, Any], about: Mapping[str, Any]
) -> dict[str, Any]:
    """A JSON value: the submission's hash and rows, `about` (code version, libraries, figures), the hash of
    every artefact that it was computed from, and the resolved params of each section."""
    return {
        "submission": {"file": submission.as_posix(), "sha256": file_hash(submission), "rows": rows},
        **about,
        "artefacts": {path.as_posix(): file_hash(path) for path in sorted(artefacts)},
        "params": dict(params),
    }


def check_submission(submission: Path, manifest: Path) -> None:
    """Raises BadInput unless `submission` is byte for byte the file that `manifest` describes.

    A file that was cut short, edited or taken from another run has another hash.
    """
    again = f"delete {submission} and run `make submission` again"
    for path in (submission, manifest):
        if not path.is_file():
            raise BadInput(f"{path}: no such file; {again}")
    try:
        recorded = json.loads(manifest.read_text(encoding="utf-8"))["submission"]["sha256"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise BadInput(f"{manifest}: not a manifest that the submission step wrote; {again}") from None
    actual = file_hash(submission)
    if actual != recorded:
        raise BadInput(
            f"{submission}: its SHA-256 is {actual[:16]}…, {manifest.name} has {str(recorded)[:16]}…: the file was "
            f"changed after it was made; {again}"
        )
